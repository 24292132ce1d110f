"""Invented calls of which it is known what is true, for everything that judges claims."""
