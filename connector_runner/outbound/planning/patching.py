"""The smallest change to a resource that turns what we meant before into what we mean now. Pure.

``before`` and ``after`` are what we would write for the record as it is and as it shall be; ``current`` is the
resource as the sink holds it, with whatever else it has: ids of elements, extensions, fields that are not ours.
Only the difference between the first two is applied to the third.
"""

from __future__ import annotations

from typing import Any


def patch(current: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """``current`` with the change from ``before`` to ``after``; arguments stay as they are."""
    result = dict(current)
    for key in before.keys() | after.keys():
        if key in before and key in after and before[key] == after[key]:
            continue
        if key not in after:
            result.pop(key, None)
        elif key not in current:
            result[key] = after[key]
        else:
            result[key] = _value(current[key], before.get(key), after[key])
    return result


def _value(current: Any, before: Any, after: Any) -> Any:
    if isinstance(current, dict) and isinstance(after, dict):
        return patch(current, before if isinstance(before, dict) else {}, after)
    if isinstance(current, list) and isinstance(after, list):
        return _elements(current, before if isinstance(before, list) else [], after)
    return after


def _elements(current: list[Any], before: list[Any], after: list[Any]) -> list[Any]:
    """Elements keep their places; changed ones are changed in place, new ones come last."""
    held = _matches(current, before)
    left = list(after)
    unchanged: set[int] = set()
    for place, element in enumerate(before):
        if element in left:
            left.remove(element)
            unchanged.add(place)
    changed = {place: held[place] for place in range(len(before)) if place not in unchanged and place in held}
    result: list[Any] = list(current)
    for place, target in _pairs(before, changed, left, alone=len(current) == 1):
        result[changed.pop(place)] = _value(current[held[place]], before[place], target)
        left.remove(target)
    for index in sorted(changed.values(), reverse=True):
        del result[index]
    known = [element for element in left if not any(_contains(item, element) for item in current)]
    return result + known


def _matches(current: list[Any], before: list[Any]) -> dict[int, int]:
    """Place in ``before`` -> index in ``current`` of the element that it was made from."""
    free = list(range(len(current)))
    held: dict[int, int] = {}
    for place, element in enumerate(before):
        index = next((i for i in free if _contains(current[i], element)), None)
        if index is not None:
            free.remove(index)
            held[place] = index
    return held


def _contains(whole: Any, part: Any) -> bool:
    """Whether everything in ``part`` stands in ``whole``."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and _contains(whole[k], v) for k, v in part.items())
    if isinstance(part, list):
        return (
            isinstance(whole, list)
            and len(part) <= len(whole)
            and all(any(_contains(item, element) for item in whole) for element in part)
        )
    return bool(whole == part)


def _pairs(before: list[Any], places: dict[int, int], targets: list[Any], *, alone: bool) -> list[tuple[int, Any]]:
    """Which changed element became which: the most alike first; those that share nothing are not
    paired, unless there is but one of each."""
    if alone and len(places) == len(targets) == 1 and not _unlike(before[next(iter(places))], targets[0]):
        return [(next(iter(places)), targets[0])]
    likeness = sorted(
        ((-_alike(before[place], target), place, number) for place in places for number, target in enumerate(targets)),
    )
    pairs: list[tuple[int, Any]] = []
    used: set[int] = set()
    taken: set[int] = set()
    for score, place, number in likeness:
        if score < 0 and place not in used and number not in taken:
            used.add(place)
            taken.add(number)
            pairs.append((place, targets[number]))
    return pairs


def _alike(one: Any, other: Any) -> int:
    if not isinstance(one, dict) or not isinstance(other, dict) or _unlike(one, other):
        return 0
    return sum(1 for key, value in one.items() if key in other and other[key] == value)


def _unlike(one: Any, other: Any) -> bool:
    """Whether two elements are of different kinds by what FHIR uses to say so: a phone, an e-mail; an extension."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    return any(one.get(key) != other.get(key) for key in ("system", "url"))
