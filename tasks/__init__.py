"""One thin module a step: a task's body is one call of the service that does the work."""
