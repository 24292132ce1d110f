"""The machinery under the rules: database, queue, HTTP, sealing, logging."""
