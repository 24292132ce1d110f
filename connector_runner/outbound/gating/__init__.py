"""What may leave for a sink: the gates, and the choice between claims that they let through."""
