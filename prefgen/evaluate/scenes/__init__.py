"""The scenes: a world of drawn pictures whose truth is known, and how well a model knows it."""
