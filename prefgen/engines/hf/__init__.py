"""The transformers engine: batched generation with hidden image tokens, in this process."""
