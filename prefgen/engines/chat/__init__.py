"""Chat models behind an API: paid calls that are bought once, within a budget, and never hold up other engines."""
