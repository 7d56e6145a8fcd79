"""A run on disk: layout, schema, shards and records, locks, reader, and an independent check."""
