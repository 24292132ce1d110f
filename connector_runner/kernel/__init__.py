"""What every layer may use; imports the standard library only."""
