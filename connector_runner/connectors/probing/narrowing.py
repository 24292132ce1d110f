"""What a server declares of writing, held against what the settings of its sink state. Pure.

Nothing of this is measured: to measure it would be to write. What a server says that it cannot is not relied on;
that it can do more is not believed. What the settings state wins, and a disagreement is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from connector_runner.connectors.probing.findings import NO, YES, Finding
from connector_runner.connectors.settings import CapabilitySettings, SinkSettings

_SWITCHES: Final = ("client_id", "conditional_create", "transaction")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A capability that the settings state one way and the server declares another."""

    capability: str
    stated: str
    declared: str


def narrowed(sink: SinkSettings, findings: Iterable[Finding]) -> SinkSettings:
    """The settings without what the server declares not to offer, where they do not state it themselves."""
    declared = _declared(findings)
    stated = _stated(sink)
    off: dict[str, Any] = {name: False for name in _SWITCHES if declared.get(name) == NO and name not in stated}
    if declared.get("if_match") == NO and "if_match" not in stated:
        off["if_match"] = "none"
    if not off:
        return sink
    kept = sink.capabilities.model_copy(update=off)
    return sink.model_copy(update={"capabilities": kept})


def disagreements(sink: SinkSettings, findings: Iterable[Finding]) -> list[Disagreement]:
    """What is stated and declared differently."""
    declared = _declared(findings)
    return [
        Disagreement(name, said, declared[name])
        for name, said in sorted(_stated(sink).items())
        if declared.get(name) in (YES, NO) and declared[name] != said
    ]


def _declared(findings: Iterable[Finding]) -> dict[str, str]:
    """What is declared of the server as a whole."""
    return {one.capability: one.declared for one in findings if not one.resource_type and one.declared is not None}


def _stated(sink: SinkSettings) -> dict[str, str]:
    capabilities: CapabilitySettings = sink.capabilities
    said: dict[str, str] = {}
    for name in _SWITCHES:
        value = getattr(capabilities, name)
        if value is not None:
            said[name] = YES if value else NO
    if capabilities.if_match is not None:
        said["if_match"] = NO if capabilities.if_match == "none" else YES
    if "client_id" in sink.model_fields_set:
        said.setdefault("client_id", YES if sink.client_id else NO)
    return said
