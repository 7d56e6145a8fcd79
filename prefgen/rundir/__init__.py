"""A run on disk: its layout, its shards and records, who may write, and the check that trusts nothing."""
