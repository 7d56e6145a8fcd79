"""The viewer of pairs: a static page of a sample, and a local server for all rows."""
