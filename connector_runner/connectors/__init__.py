"""The outside world, both ways: one folder per system."""
