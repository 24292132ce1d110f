"""Entity resolution against records of known truth."""
