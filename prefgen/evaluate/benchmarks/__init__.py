"""Benchmarks of trained models: answers first, scores second, and two models compared."""
