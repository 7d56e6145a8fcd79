"""What a finished run says of itself: figures, samples, the data-set card, publication."""
