"""Imports on real Postgres: in process and by workers, resumed, repeated, damaged."""
