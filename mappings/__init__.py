"""Mapping rules and vocabularies, as data; the rules are explained in README.md."""
