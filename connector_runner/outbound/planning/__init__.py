"""What a sink shall hold of an entity, and by which change it gets there."""
