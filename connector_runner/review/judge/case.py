"""What the judge is shown, and what it answers. Nouns only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from connector_runner.review.transcript import Material
from connector_runner.world.events import StoredEvent
from connector_runner.world.reading import EntityView

Word = Literal["supported", "contradicted", "unclear"]
By = Literal["rules", "model"]

SUPPORTED: Final = "supported"
CONTRADICTED: Final = "contradicted"
UNCLEAR: Final = "unclear"
RULES: Final = "rules"
MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class Case:
    """Events of one entity that want judging, what is known of it, and what was said when they were made.

    ``view`` is of all that counts for the entity; ``material`` is None where there is no transcript.
    """

    workspace_id: str
    entity_id: str
    entity_type: str
    events: tuple[StoredEvent, ...]
    view: EntityView
    material: Material | None = None


@dataclass(frozen=True, slots=True)
class FieldVerdict:
    """The judge's word about one atom of one event. ``path`` is the atom's name, as a verdict may name it.

    ``code`` tells why, in a word of ours; ``quotes`` are places (from, up to) in the material's text that bear it out.
    """

    event_id: str
    path: str
    verdict: Word
    by: By
    code: str
    quotes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """One word for every atom of every event of a case. ``version`` stamps rules, prompt and model."""

    fields: tuple[FieldVerdict, ...]
    version: str


class Judge(Protocol):
    """Judges. Call it with no transaction open; whatever becomes of a model, there is an answer for every case."""

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """The judgements, in the order of the cases."""
