"""Verdicts about events."""
