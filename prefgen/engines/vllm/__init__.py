"""The vLLM engine: the same restricted images, scheduled by vLLM."""
