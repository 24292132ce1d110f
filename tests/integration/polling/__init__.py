"""Polls into a real Postgres, through what goes wrong on the way."""
