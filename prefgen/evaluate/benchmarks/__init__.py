"""Benchmarks of models: answers, scores, and comparisons of two models."""
