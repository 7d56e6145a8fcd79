"""The transformers engine: a VLM in this process, with image tokens hidden, in a running batch."""
