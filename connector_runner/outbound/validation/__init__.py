"""Checks before sending, in layers: is it the standard's, can it be meant, may we say so. Pure.

The sink's own ``$validate`` is the last layer; it is asked by whoever has the sink, and its answer read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector_runner.outbound.validation import policy
from connector_runner.outbound.validation.moments import is_past
from connector_runner.outbound.validation.problems import LAYERS, POLICY, SEMANTIC, SINK, SYNTACTIC, Problem
from connector_runner.outbound.validation.schemas import schema_problems
from connector_runner.outbound.validation.structure import Found, resource_model, walk
from connector_runner.outbound.validation.transitions import is_legal

__all__ = ["LAYERS", "POLICY", "SEMANTIC", "SINK", "SYNTACTIC", "Problem", "Rules", "check", "refused_by_sink"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is known of the target. ``schema``: the text of a JSON Schema, for what is not FHIR.

    ``written``: the elements that are ours to write, None where all are. ``client_ref``: the identity that a
    create carries, None where it need not. ``transitions``: whether a status has to follow from the one before;
    not where a write is taken back.
    """

    fhir: bool = True
    schema: str | None = None
    written: frozenset[str] | None = None
    client_ref: str | None = None
    transitions: bool = True


def check(
    intent_body: Json,
    *,
    before: Json | None,
    now: datetime,
    rules: Rules | None = None,
) -> tuple[Problem, ...]:
    """What is wrong with a body that is about to be sent, of the first layer that finds anything; () when nothing.

    ``before`` is the resource as the sink holds it, None for a create. What it has wrong already is not ours to
    judge: only what changes is.
    """
    rules = rules or Rules()
    found: list[Problem]
    if rules.schema is not None:
        found = list(schema_problems(intent_body, rules.schema))
        known = set(schema_problems(before, rules.schema)) if found and before is not None else set()
    elif rules.fhir:
        found = _fhir(intent_body, before, now, rules.transitions)
        known = set(_fhir(before, None, now, True)) if found and before is not None else set()
    else:
        found, known = [], set()
    found = [problem for problem in found if problem not in known]
    for layer in LAYERS:
        first = tuple(dict.fromkeys(problem for problem in found if problem.layer == layer))
        if first:
            return first
    return tuple(_policy(intent_body, before, rules))


def _fhir(body: Json, before: Json | None, now: datetime, transitions: bool) -> list[Problem]:
    kind = body.get("resourceType")
    model = resource_model(kind)
    if model is None:
        return [Problem(SYNTACTIC, "resourceType", "unknown_type", "a type that R4 does not have")]
    path = model.name
    if before is not None and (before.get("resourceType"), before.get("id")) != (kind, body.get("id")):
        return [Problem(SEMANTIC, path, "another_resource", "the type and id of a resource never change")]
    found = Found(_contained(body))
    changed = None if before is None else frozenset(_changed(body, before))
    walk(body, model, path, found, changed)
    if not is_past(body.get("birthDate"), now):
        found.semantic(f"{path}.birthDate", "in_the_future", "a birth that is still to come")
    if before is not None and transitions and not is_legal(path, before.get("status"), body.get("status")):
        found.semantic(f"{path}.status", "status_transition", "a status that cannot follow the one in the sink")
    return found.problems


def _changed(body: Json, before: Json) -> set[str]:
    return {name for name in body.keys() | before.keys() if body.get(name) != before.get(name)}


def _contained(body: Json) -> frozenset[str]:
    listed = body.get("contained")
    ids = (item.get("id") for item in (listed if type(listed) is list else ()) if type(item) is dict)
    return frozenset(one for one in ids if type(one) is str)


def _policy(body: Json, before: Json | None, rules: Rules) -> list[Problem]:
    found: list[Problem] = []
    if rules.client_ref is not None and before is None:
        found += policy.our_identity(body, rules.client_ref)
    if rules.written is not None:
        found += policy.foreign_changes(body, before, rules.written)
    # Our identity is a digest: that a short name stands in it is chance.
    ours = before is None and body.get("id") != rules.client_ref
    found += policy.protected_data_in_addresses(body, ours=ours)
    return found


def refused_by_sink(code: str, where: str = "") -> tuple[Problem, ...]:
    """The problem that a sink's own validation answered, as its reply is classified."""
    return (Problem(SINK, where, code or "refused", "the sink's own validation does not accept this resource"),)
