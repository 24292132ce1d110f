"""Simulated systems to run against; shares no code with what it tests."""
