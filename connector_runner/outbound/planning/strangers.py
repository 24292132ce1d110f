"""Is the record that is about to be changed still that of the person whom we wrote there? Pure.

A sink that was moved to another address, or gives an id out again, has somebody else where we know our patient to be.
"""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.sinks import Json
from connector_runner.outbound.planning.duplicates import SEARCHED, Facts, unlike
from connector_runner.outbound.planning.plans import Wanted
from connector_runner.world.atoms import join

OTHER_PERSON: Final = "other_person"


def is_stranger(wanted: Wanted, held: Facts, confirmed: Json | None) -> bool:
    """Whether a sink's record has nothing by which people are known in common with what it was known to hold.

    Known by what was last seen there, and by what it ``confirmed`` (as facts).
    """
    if wanted.entity_type not in SEARCHED:
        return False
    known = [facts for facts in (join(wanted.choice.own), confirmed) if facts]
    return bool(known) and all(unlike(facts, held) for facts in known)
