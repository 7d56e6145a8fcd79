"""The data-set card of a finished run: figures, samples, and publication."""
