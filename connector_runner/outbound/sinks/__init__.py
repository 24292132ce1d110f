"""The sinks of a workspace: their terms, whether they may be written to now, and how fast."""
