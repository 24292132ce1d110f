"""What is pushed to us: stored before it is answered, then read in full from its source and landed."""
