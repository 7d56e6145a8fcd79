"""What prefgen reads and writes."""
