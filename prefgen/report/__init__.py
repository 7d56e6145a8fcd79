"""What a run made: its figures, for the terminal and as JSON, and its dataset card."""
