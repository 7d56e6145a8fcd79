"""`prefgen reproduce`: tables and figures of arXiv 2407.02477 as recipes, lists of prefgen commands."""
