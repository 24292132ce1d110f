"""A vendor's quirk: where it is told of, what must hold, and how it is when its handling is taken away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from connector_runner.connectors.classification import classify
from connector_runner.connectors.fhir.client import FHIRClient
from tests.conformance.clinic import Clinic

Check = Callable[[Clinic], None]
Without = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Quirk:
    """``check`` holds with the handling and fails after ``without``; its docstring cites the source."""

    check: Check
    without: Without

    @property
    def name(self) -> str:
        """What the quirk is called."""
        return self.check.__name__


def profile(module: Any, **changed: Any) -> Without:
    """Without some of what a vendor's profile says."""

    def taken(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(module, "PROFILE", replace(module.PROFILE, **changed))

    return taken


def offers(module: Any, **changed: Any) -> Without:
    """Without some of what is known that a vendor takes."""

    def taken(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(module, "OFFERS", replace(module.OFFERS, **changed))

    return taken


def plain_client(module: Any) -> Without:
    """With the client that knows no vendor."""

    def taken(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(module, "VendorClient", FHIRClient)

    return taken


def rules_but(*codes: str) -> Without:
    """Without the rules of the classification that these causes name."""

    def taken(patch: pytest.MonkeyPatch) -> None:
        left = tuple(rule for rule in classify.RULES if rule.cause not in codes)
        patch.setattr(classify, "_rules_of", lambda *about: tuple(rule for rule in left if rule.may_hold(*about)))

    return taken


def attribute(target: Any, name: str, value: Any) -> Without:
    """With another value in place of what handles it."""

    def taken(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(target, name, value)

    return taken
