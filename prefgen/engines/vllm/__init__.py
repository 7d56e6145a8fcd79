"""The vLLM engine: the same restriction, drawn by vLLM's scheduler."""
