"""Evaluation: benchmarks, judges, comparisons of runs, and tuning."""
