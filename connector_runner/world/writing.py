"""What an event says, made ready for the tables.

A page's records are worked on one after the other, each until only this is left of it: to hold the parsed records
of a page and come back to them one stage after the other would have each of them fetched from memory anew, for a
third of the CPU that a record needs from its bytes to here.
"""

from __future__ import annotations

from connector_runner.infra import quick_json
from connector_runner.kernel import exact_json
from connector_runner.world import relationships
from connector_runner.world.atoms import normalised
from connector_runner.world.events import Facts, Written


def of_record(workspace_id: str, resource_type: str, facts: Facts) -> Written:
    """What a source record says, which was parsed by ``exact_json``."""
    facts = normalised(facts)
    references = relationships.references(workspace_id, facts)
    return Written(quick_json.compact(facts), references, relationships.tokens(workspace_id, resource_type, facts))


def of_statement(workspace_id: str, resource_type: str | None, facts: Facts) -> Written:
    """What somebody else says. It may hold what only the exact text refuses."""
    facts = normalised(facts)
    references = relationships.references(workspace_id, facts)
    return Written(exact_json.compact(facts), references, relationships.tokens(workspace_id, resource_type, facts))


def of_verdict(facts: Facts) -> Written:
    """A verdict: what it names are the fields of another event."""
    return Written(exact_json.compact(facts), [], [])
