"""Lists of prefgen commands that run resumably: recipes of the tables and figures of arXiv 2407.02477, and rounds."""
