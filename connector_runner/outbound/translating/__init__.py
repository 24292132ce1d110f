"""Values that rules alone do not translate to a sink's codes: a model or a person finds the code."""
