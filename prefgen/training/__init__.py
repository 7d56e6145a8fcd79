"""Preference training of vision-language models on runs, as a thin layer over transformers' `Trainer`."""
