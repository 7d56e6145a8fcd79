"""Engines answer requests; they know nothing of methods. Only here are the heavy packages imported."""
