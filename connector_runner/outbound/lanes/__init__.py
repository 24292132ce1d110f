"""One write at a time for each record of a sink: lanes, intents, the drain, and what follows from an answer."""
