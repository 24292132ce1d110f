"""Telephone numbers in E.164, with the extension apart."""

from __future__ import annotations

from functools import lru_cache

import phonenumbers

DEFAULT_REGION = "US"
_AS_PLAIN = frozenset({"US", "CA"})
"""Where ten digits are a whole number, under country code 1."""
_PUNCTUATION = str.maketrans("", "", " -.()/")


@lru_cache(maxsize=65536)
def normalise_phone(raw: str, region: str = DEFAULT_REGION) -> tuple[str, str | None] | None:
    """The E.164 text of ``raw`` and its extension; None when it cannot be a telephone number.

    Numbers without a country code are read as those of ``region``. A number need not be assigned: test
    systems are full of 555 numbers, and a person may still tell them apart.
    """
    plain = _north_american(raw) if region in _AS_PLAIN else None
    if plain is not None:
        return plain, None
    try:
        number = phonenumbers.parse(raw, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164), number.extension or None


def _north_american(raw: str) -> str | None:
    """The common case without the full parser: ten digits, or eleven that begin with 1."""
    digits = raw.translate(_PUNCTUATION)
    if digits.startswith("+1"):
        digits = digits[1:]
    if not digits.isascii() or not digits.isdigit():
        return None
    if len(digits) == 11 and digits[0] == "1":
        digits = digits[1:]
    return "+1" + digits if len(digits) == 10 and digits[0] not in "01" else None
