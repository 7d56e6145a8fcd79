"""The scenes: drawn pictures with known truth, and measures of a model on them."""
