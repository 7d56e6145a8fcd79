"""Chat models behind an API: each reply is paid for once, within a budget, while other engines go on working."""
