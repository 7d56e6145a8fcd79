"""Carries a run out: plans and opens it, drives the engine, fills shards in one process or in many."""
