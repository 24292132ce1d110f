"""Gates, lanes, intents and the drain that writes to sinks."""
