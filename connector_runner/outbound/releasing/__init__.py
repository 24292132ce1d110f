"""From an entity that changed to the lanes of the sinks that shall hear of it."""
