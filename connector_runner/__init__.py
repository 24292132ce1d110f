"""Keeps external clinical systems and an event-sourced world model in step, both ways."""
