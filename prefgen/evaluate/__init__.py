"""Which answers and which settings are better: a judge's verdicts, paired comparisons, tuning."""
