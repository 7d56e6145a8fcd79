"""Preference training of a vision-language model on the rows of runs: thin, over transformers' own `Trainer`."""
