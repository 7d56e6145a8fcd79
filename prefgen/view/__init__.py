"""Looking at pairs in a browser: a static page of a sample, and a local server for all rows."""
