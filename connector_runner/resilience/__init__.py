"""Limits on what we do to others: limiter, retry as a value, quarantine."""
