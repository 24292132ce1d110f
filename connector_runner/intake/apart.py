"""Landing many things at once though one of them may make it fail: by halves, until what does it stands alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from connector_runner.infra.logging import get_logger
from connector_runner.kernel.errors import BadRecord, RunnerError

T = TypeVar("T")
INTERNAL = "internal_error"

log = get_logger(__name__)


def land_apart(
    items: Sequence[T],
    land: Callable[[Sequence[T], bool], None],
    set_aside: Callable[[T, Exception, str, bool], None],
    *,
    last: bool = True,
) -> None:
    """Land ``items``; those that cannot be are set aside one by one, and all others land.

    ``land`` is one transaction; it is told whether these are the last of all, so that what is true once everything
    has landed (a cursor, a position) is written with them. ``set_aside`` puts one item where a person finds it, with
    what it raised and a code; it raises that again when there is nowhere further to put it. One item must not hold up
    all others, whatever it brings to light: a fault of this program, too. Errors that speak of more than one item (an
    outage, a lease that was lost) are raised as they are.
    """
    try:
        land(items, last)
    except RunnerError as error:
        if not isinstance(error, BadRecord):
            raise
        _halve(items, land, set_aside, error, error.code, last=last)
    except Exception as error:
        log.error("landing_failed", items=len(items), exc_info=error)
        _halve(items, land, set_aside, error, INTERNAL, last=last)


def _halve(
    items: Sequence[T],
    land: Callable[[Sequence[T], bool], None],
    set_aside: Callable[[T, Exception, str, bool], None],
    error: Exception,
    code: str,
    *,
    last: bool,
) -> None:
    if not items:
        raise error
    if len(items) == 1:
        set_aside(items[0], error, code, last)
        return
    middle = len(items) // 2
    land_apart(items[:middle], land, set_aside, last=False)
    land_apart(items[middle:], land, set_aside, last=last)
