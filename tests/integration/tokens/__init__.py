"""Tokens of a strict authorization server, of all the kinds there are."""
