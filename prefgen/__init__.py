"""prefgen builds preference datasets for multimodal LLMs."""

__version__ = "0.1.0"
