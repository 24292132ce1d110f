"""The ways of finding what changed, each a module: what it searches for, and what that proves."""
