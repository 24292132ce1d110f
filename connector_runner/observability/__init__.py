"""Read-only questions: what flows, what changed and why."""
