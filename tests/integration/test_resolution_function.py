"""What is kept at the end is a function of the records: not of when who came, changed, waited or was taken along."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector_runner.infra.database import Database, rows
from connector_runner.resolution import service, store
from tests.integration.test_resolution import ADA, NOW, grouped, say

NAMES = [f"{source}:Patient:{number}" for source in ("ehr", "crm") for number in range(1, 5)]
PEOPLE = st.fixed_dictionaries(
    {},
    optional={
        "name": st.builds(
            lambda given, family: [{"given": [given], "family": family}],
            st.sampled_from(["Adaeze", "Ada", "Emeka"]),
            st.sampled_from(["Okafor", "Okafor", "Okafor-Bright", "DONOTUSE"]),
        ),
        "birthDate": st.sampled_from(["1982-03-04", "1982-04-03", "1979-11-20"]),
        "telecom": st.lists(
            st.sampled_from(
                [
                    {"system": "phone", "value": "+16175550101"},
                    {"system": "phone", "value": "+16175550177"},
                    {"system": "email", "value": "a.okafor@mail.example.org"},
                ]
            ),
            unique_by=str,
            max_size=2,
        ),
        "address": st.sampled_from([ADA["address"], [{"postalCode": "02139"}]]),
    },
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        PEOPLE,
        st.sampled_from(["wait", "wait", "compare one", "compare two", "identify", "weigh all anew", "read all anew"]),
    ),
    min_size=6,
    max_size=22,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, at_last=st.sampled_from([1, 2, 100]), seed=st.integers(0, 9))
def test_clusters_evidence_and_questions_are_what_the_records_come_to(
    database: Database,
    new_workspace: Callable[[], str],
    steps: list[tuple[str, dict[str, Any], str]],
    at_last: int,
    seed: int,
) -> None:
    one_by_one, at_once = new_workspace(), new_workspace()
    final: dict[str, dict[str, Any]] = {}
    for minute, (name, said, then) in enumerate(steps):
        say(database, one_by_one, name, said, at=NOW + timedelta(minutes=minute))
        final[name] = said
        _do(database, one_by_one, then)
    _work_off(database, one_by_one, at_last)
    order = sorted(final)
    random.Random(seed).shuffle(order)
    for name in order:
        say(database, at_once, name, final[name])
    _work_off(database, at_once, 100)
    assert grouped(database, one_by_one) == grouped(database, at_once)
    assert _evidence(database, one_by_one) == _evidence(database, at_once)
    assert _asked(database, one_by_one) == _asked(database, at_once)


def _do(database: Database, workspace: str, then: str) -> None:
    if then.startswith("compare"):
        service.resolve(database, workspace, now=NOW, limit=1 if then == "compare one" else 2)
    elif then == "identify":
        service.identify(database, workspace, "patient")
    elif then.endswith("anew"):
        with database.begin(workspace) as tx:
            (store.request_all if then.startswith("weigh") else store.request_anew)(tx, workspace, "patient")


def _work_off(database: Database, workspace: str, limit: int) -> None:
    while service.resolve(database, workspace, now=NOW, limit=limit).compared:
        pass


def _names(database: Database, workspace: str) -> Mapping[str, str]:
    with database.begin(workspace) as tx:
        return {row["entity_id"]: row["canonical_id"] for row in rows(tx, "SELECT entity_id, canonical_id FROM entity")}


def _evidence(database: Database, workspace: str) -> set[tuple[frozenset[str], float, str | None, str | None, bool]]:
    names = _names(database, workspace)
    with database.begin(workspace) as tx:
        found = rows(tx, "SELECT one, other, bits, held, veto, linked FROM pair_evidence")
    return {
        (frozenset({names[e["one"]], names[e["other"]]}), round(e["bits"], 6), e["held"], e["veto"], e["linked"])
        for e in found
    }


def _asked(database: Database, workspace: str) -> set[frozenset[frozenset[str]]]:
    """The clusters of which people are asked whether they are one."""
    of = {name: cluster for cluster in grouped(database, workspace) for name in cluster}
    names = _names(database, workspace)
    with database.begin(workspace) as tx:
        found = rows(
            tx,
            "SELECT entity_id, other_id FROM review_item WHERE kind = 'match' AND status IN ('pending', 'in_progress')",
        )
    return {frozenset({of[names[item["entity_id"]]], of[names[item["other_id"]]]}) for item in found}
