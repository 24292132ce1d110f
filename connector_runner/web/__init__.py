"""The HTTP face: what is pushed to us, health, metrics and what flows."""
