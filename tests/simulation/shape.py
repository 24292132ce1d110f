"""What a seed makes of a run: how many of what, how late, how often what goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, TypeVar

from tests.simulation.server import FAULTS, IN_TRANSACTIONS

T = TypeVar("T")


@dataclass(frozen=True)
class Shape:
    """What a seed makes of a run."""

    client_id: bool
    if_match: Literal[412, 409] | None
    workers: int
    entities: int
    changes: int
    late_s: float
    lag_s: float
    quiet_s: float
    timeout_s: float
    per_second: float
    burst: int
    concurrency: int
    disturbed_s: float
    crash: float
    freeze: float
    commit_lost: float
    faults: dict[str, float]
    appointments: bool = False
    transaction: bool = False
    round_s: float = 0.5
    slowness: float = 1.0
    """Of answers; a sink that answers at once is sent many requests on grants that were taken together."""

    @classmethod
    def of(cls, seed: int, *, small: bool = False) -> Shape:
        """Half of the seeds write to ids of ours, half by conditional create."""
        dice = random.Random(f"shape {seed}")
        client_id = seed % 2 == 0
        late_s, lag_s = dice.uniform(0.2, 6), dice.uniform(0.0, 4)
        chosen = dice.sample(FAULTS, dice.randint(1, 6))
        weight = dice.uniform(0.05, 0.45) / len(chosen)
        faults = dict.fromkeys(chosen, weight)
        # Drawn from dice of their own: what the other seeds meet stays as it was.
        more = random.Random(f"steps {seed}")
        appointments = more.random() < 0.5
        transaction = appointments and more.random() < 0.7
        if transaction:
            faults |= {fault: more.choice([0.0, 0.1]) for fault in IN_TRANSACTIONS}
        rounds = random.Random(f"rounds {seed}")
        round_s = rounds.choice([0.0, 0.5, 3.0, 20.0])
        # Enough that are due at once for one pair of hands to take several.
        crowd = rounds.randint(2, 5) if round_s == 20.0 else 0
        quick = crowd > 0 and rounds.random() < 0.5
        return cls(
            client_id=client_id,
            if_match=dice.choice([412, 412, 409, None]),
            workers=dice.randint(2, 4),
            entities=dice.randint(1, 2 if small else 4) + crowd,
            changes=dice.randint(1, 3 if small else 6),
            late_s=late_s,
            lag_s=lag_s,
            quiet_s=late_s + lag_s + 0.5,
            timeout_s=dice.choice([1.0, 2.0, 5.0]),
            per_second=_either(dice.choice([2.0, 5.0, 10.0, 40.0]), rounds.choice([50.0, 200.0]), quick),
            burst=_either(dice.randint(1, 5), rounds.randint(8, 16), quick),
            concurrency=1 if crowd else dice.randint(1, 3),
            disturbed_s=dice.uniform(5, 15 if small else 40),
            crash=dice.choice([0.0, 0.01, 0.04]),
            freeze=dice.choice([0.0, 0.01, 0.03, 0.1]),
            commit_lost=dice.choice([0.0, 0.0, 0.02]),
            faults=faults,
            appointments=appointments,
            transaction=transaction,
            round_s=round_s,
            slowness=0.03 if quick else 1.0,
        )


def _either(usual: T, other: T, instead: bool) -> T:
    """Both are drawn, so that what is drawn next is the same for all."""
    return other if instead else usual
