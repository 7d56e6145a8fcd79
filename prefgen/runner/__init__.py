"""The runner: plans and opens a run, drives the engines, and fills shards in one or more processes."""
