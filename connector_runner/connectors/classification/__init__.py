"""What the answers of other systems mean: tables of rules, and what in an answer they look at."""
