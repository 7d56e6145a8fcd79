"""Several processes that fill the shards of one run: on this machine, or on those of a Ray cluster."""
