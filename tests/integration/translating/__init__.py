"""Values without a code, on their way to a sink."""
