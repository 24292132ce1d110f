"""Events, entities, relationships and the fold that makes state of them."""
