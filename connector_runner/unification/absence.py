"""What a system says it does not know: the data-absent-reason of FHIR, and the words that stand in for a value.

R4, extension-data-absent-reason.html: the reason stands in an extension, on the primitive (``_family``) or on the
element around it. US Core (general guidance, "Missing Data") makes servers send it in required elements, where a code
is required as a code of the system itself. Whatever stands there is no value: never a name, a number or a code.
"""

from __future__ import annotations

from typing import Any, Final

Fact = dict[str, Any]

# Not sets: what is looked for in them may be of any shape.
EXTENSION_URLS: Final = (
    "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
    "http://hl7.org/fhir/StructureDefinition/iso21090-nullFlavor",
)
CODE_SYSTEMS: Final = (
    "http://terminology.hl7.org/CodeSystem/data-absent-reason",
    "http://hl7.org/fhir/data-absent-reason",
)
# http://hl7.org/fhir/R4/codesystem-data-absent-reason.html: the codes, and what each is called.
_WORDS: Final = frozenset(
    """unknown;asked unknown;asked but unknown;temp unknown;temporarily unknown;not asked;asked declined;
    asked but declined;masked;not applicable;unsupported;as text;error;not a number;not a number (nan);
    negative infinity;negative infinity (ninf);positive infinity;positive infinity (pinf);not performed;
    not permitted""".replace("\n", "")
    .replace("    ", "")
    .split(";")
)


def is_absent(element: Any) -> bool:
    """Whether an element (the twin of a primitive among them) bears an extension that says why it has no value."""
    extensions = element.get("extension") if type(element) is dict else None
    return type(extensions) is list and any(
        type(extension) is dict and extension.get("url") in EXTENSION_URLS for extension in extensions
    )


def is_word_for_absence(value: Any) -> bool:
    """Whether a text is a code or a name of the code system, whatever its case and its hyphens."""
    return type(value) is str and value.strip().casefold().replace("-", " ").replace("_", " ") in _WORDS


# Where absence can be told of in names, addresses, contact points, identifiers, codes and quantities.
_MARKS: Final = frozenset(
    """extension _family _given _prefix _suffix _text _use _system _value _line _city _district _state _postalCode
    _country _type _code _display _unit _rank _coding""".split()  # noqa: SIM905 - a list of words
)


def data_type(element: Fact) -> Fact:
    """An element of one of these data types without what is said in it to be absent; itself where nothing is."""
    return element if _MARKS.isdisjoint(element) else stated(element)


def stated(element: Fact) -> Fact:
    """Any element without what is said in it to be absent; itself where nothing is."""
    for key in element:
        if key == "extension" or key[:1] == "_":
            return _without_absent(element)
    return element


def says_absent(twin: Any) -> bool:
    """Whether the twin of a primitive, or of a list of primitives, says that there is no value."""
    return any(map(is_absent, twin)) if type(twin) is list else is_absent(twin)


def _without_absent(element: Fact) -> Fact:
    whole = is_absent(element)
    twins = {key for key, twin in element.items() if key[:1] == "_" and says_absent(twin)}
    if not whole and not twins:
        return element
    kept = {
        key: _known(value, element["_" + key] if "_" + key in twins else None, whole)
        for key, value in element.items()
        if key not in twins
    }
    return {key: value for key, value in kept.items() if value is not None}


def _known(value: Any, twin: Any, whole: bool) -> Any:
    """A member of an element less what is absent of it, None when nothing is left."""
    if type(value) is not list:
        return None if is_absent(twin) or (whole and is_word_for_absence(value)) else value
    twins = twin if type(twin) is list else []
    twins = [*twins, *[None] * (len(value) - len(twins))]
    left = [
        item
        for item, its_twin in zip(value, twins, strict=False)
        if not is_absent(its_twin) and not (whole and is_word_for_absence(item))
    ]
    return left or None
