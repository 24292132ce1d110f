"""Which entities are the same person, measured and reversible. A link joins entities; each keeps its id."""
