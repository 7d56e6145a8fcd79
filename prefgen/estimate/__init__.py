"""Estimates of a run before it starts: rows, tokens, time, memory, cost."""
