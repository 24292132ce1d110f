"""What rules alone cannot translate: looked up among what was decided, noted where it was not.

Nothing here asks a language model; that is for ``deciding``, outside of any drain and any transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connector_runner.infra.database import Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.outbound.lanes.lane import Withheld
from connector_runner.outbound.translating import translation_store as store
from connector_runner.unification.model import Ask, nothing_decided
from connector_runner.unification.outbound import FAIL, KEEP, WAIT, WITHHOLD, OutboundMapping
from connector_runner.unification.vocabularies import normalised

UNTRANSLATED: Final = "untranslated"
TRANSLATION_PENDING: Final = "translation_pending"


@dataclass(frozen=True, slots=True)
class Translations:
    """Answers to what an entity's state asks. Fields that are not written, make the write wait, or fail it."""

    answers: Mapping[tuple[str, str], str] = field(default_factory=dict)
    withheld: tuple[Withheld, ...] = ()
    waits_for: tuple[str, ...] = ()
    fails_for: tuple[str, ...] = ()

    def decided(self, vocabulary: str, text: str) -> str | None:
        """The code that was decided for a text."""
        return self.answers.get((vocabulary, normalised(text)))

    def listed(self) -> list[list[str]]:
        """For a digest of what is desired."""
        return sorted([vocabulary, text, code] for (vocabulary, text), code in self.answers.items())


def digest_of(sealer: Sealer, workspace_id: str, ask: Ask) -> bytes:
    """What stands for a text in a version of a vocabulary."""
    return sealer.keyed_digest(
        workspace_id, f"translation|{ask.vocabulary}|{ask.version}", normalised(ask.text) or ask.text
    )


def look_up(
    tx: Tx,
    sealer: Sealer,
    workspace_id: str,
    mapping: OutboundMapping,
    state: dict[str, Any],
    entity_id: str,
    *,
    note: bool = True,
) -> Translations:
    """What was decided for the texts of ``state``. With ``note``, what was not is asked for, and the entity waits."""
    asks = mapping.untranslated(state, nothing_decided)
    if not asks:
        return Translations()
    digests = {ask: digest_of(sealer, workspace_id, ask) for ask in asks}
    held = store.known(tx, workspace_id, [*set(digests.values())])
    answers: dict[tuple[str, str], str] = {}
    open_: dict[str, list[str]] = {WITHHOLD: [], WAIT: [], FAIL: [], KEEP: []}
    for ask, digest in digests.items():
        found = held.get(digest)
        if found is not None and found.code is not None:
            answers[ask.vocabulary, normalised(ask.text)] = found.code
            continue
        open_[_fate(ask, found)].append(ask.field)
        if note and not (found is not None and found.decided):
            _note(tx, sealer, workspace_id, ask, digest, entity_id)
    withheld = tuple(Withheld(name, UNTRANSLATED) for name in dict.fromkeys(open_[WITHHOLD]))
    return Translations(answers, withheld, tuple(dict.fromkeys(open_[WAIT])), tuple(dict.fromkeys(open_[FAIL])))


def _fate(ask: Ask, found: store.Known | None) -> str:
    """What becomes of a write for want of this answer; what is to fail is waited for while a model may know."""
    if ask.otherwise not in (WAIT, FAIL):
        return ask.otherwise
    if found is not None and found.decided:
        return FAIL
    asked = ask.llm and (found is None or found.state == "asked")
    return WAIT if ask.otherwise == WAIT or asked else FAIL


def _note(tx: Tx, sealer: Sealer, workspace_id: str, ask: Ask, digest: bytes, entity_id: str) -> None:
    store.ask(
        tx,
        workspace_id,
        digest,
        vocabulary=ask.vocabulary,
        version=ask.version,
        sealed=sealer.seal(tx, workspace_id, ask.text.encode(), bound(digest)),
        llm=ask.llm,
        blocking=ask.otherwise != KEEP,
    )
    store.wait(tx, workspace_id, digest, entity_id)


def bound(digest: bytes) -> str:
    """The context under which a text is sealed."""
    return f"translation|{digest.hex()}"
