"""The HTTP face: health, metrics and what flows."""
