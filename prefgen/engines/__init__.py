"""Engines: they answer requests and know nothing of methods. Heavy packages are imported only here."""
