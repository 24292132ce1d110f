"""Alembic's home: one module a change, each compatible with the running release."""
