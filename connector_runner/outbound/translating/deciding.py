"""Codes for what rules alone could not translate: by a language model where one may be asked, else by a person.

The model is asked with no transaction open. Whatever becomes of it, what does not wait for the answer is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from connector_runner.audit import log as audit
from connector_runner.infra.database import Database, Tx
from connector_runner.infra.llm import LanguageModel, Nonsense, Question
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import counter
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import BadRecord, Misconfigured, TryAgain
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.outbound.translating import translation_store as store
from connector_runner.outbound.translating.translating import UNTRANSLATED, bound
from connector_runner.outbound.translating.translation_store import Request
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.unification.translation import MOST_CANDIDATES, Untranslated, translate
from connector_runner.unification.translation_prompt import PROMPT_VERSION, accepted, answer_schema, minimised, rules
from connector_runner.unification.vocabularies import Vocabulary

STAGE: Final = "translation"
MOST_ATTEMPTS: Final = 3
"""So often the model is tried before a person is asked instead."""
BATCH: Final = 8
_LEASE_S: Final = 300.0
_FIRST_RETRY_S: Final = 10.0
NO_MODEL, NO_CODE_FITS, VOCABULARY_CHANGED = "no_model", "no_code_fits", "vocabulary_changed"

TRANSLATIONS = counter(
    "translations", "Texts that rules alone could not translate, by what became of them", ("outcome",)
)
log = get_logger(__name__)


@dataclass(slots=True)
class Decided:
    """What a round did. ``more``: requests may be due still."""

    outcomes: Counter[str] = field(default_factory=Counter)
    more: bool = False

    def __bool__(self) -> bool:
        return self.outcomes["decided"] > 0


@dataclass(frozen=True, slots=True)
class Deciding:
    """The parts. ``open_model`` answers None where the installation has no model, and raises Misconfigured."""

    database: Database
    sealer: Sealer
    quarantine: Quarantine
    vocabularies: Mapping[str, Vocabulary]
    open_model: Callable[[], LanguageModel | None]
    clock: Clock = utc_now

    def work_off(self, workspace_id: str) -> Decided:
        """Answer requests that are due, at most ``BATCH``; stop asking at the first sign that the model is down."""
        with self.database.begin(workspace_id) as tx:
            claimed = store.claim(tx, workspace_id, limit=BATCH, lease_s=_LEASE_S)
            texts = {request.digest: self._text(tx, workspace_id, request) for request in claimed}
        done = Decided(more=len(claimed) == BATCH)
        model, down = self._model() if claimed else (None, None)
        for request in claimed:
            answer = self._answer(model, request, texts[request.digest], down)
            down = answer.down or down
            keep = partial(self._keep, workspace_id=workspace_id, request=request, text=texts[request.digest])
            outcome = self.database.retrying(workspace_id, partial(keep, answer=answer))
            done.outcomes[outcome] += 1
            TRANSLATIONS.labels(outcome=outcome).inc()
        done.more = done.more and down is None
        return done

    def _text(self, tx: Tx, workspace_id: str, request: Request) -> str:
        return self.sealer.open(tx, workspace_id, request.sealed, bound(request.digest)).decode()

    def _model(self) -> tuple[LanguageModel | None, str | None]:
        """The model, or why it cannot be asked though there is to be one."""
        try:
            return self.open_model(), None
        except Misconfigured as error:
            log.warning("translation.model_misconfigured", code=error.code, where=error.where)
            return None, error.code

    def _answer(self, model: LanguageModel | None, request: Request, text: str, down: str | None) -> _Answer:
        vocabulary = self.vocabularies.get(request.vocabulary)
        if vocabulary is None or vocabulary.version != request.vocabulary_version:
            return _Answer(drop=VOCABULARY_CHANGED)
        if down is not None and request.llm:
            return _Answer(reason=down, down=down)
        if model is None or not request.llm:
            return _Answer(reason=NO_MODEL)
        shown = minimised(text)
        if not shown.strip("# "):
            return _Answer(reason=NO_CODE_FITS)
        question = Question("translation", rules(vocabulary), shown, answer_schema(vocabulary))
        try:
            code = accepted(model.ask(question), vocabulary)
        except Nonsense as error:
            return _Answer(reason=error.code)
        except (TryAgain, Misconfigured) as error:
            log.warning("translation.model_down", code=error.code)
            return _Answer(reason=error.code, down=error.code)
        return _Answer(code=code, reason=None if code else NO_CODE_FITS, model=model.model)

    def _keep(self, tx: Tx, *, workspace_id: str, request: Request, text: str, answer: _Answer) -> str:
        if answer.code is not None:
            waiting = store.decide(
                tx,
                workspace_id,
                request.digest,
                code=answer.code,
                method="llm",
                decided_by="llm",
                model=answer.model,
                prompt_version=PROMPT_VERSION,
            )
            self._revive(tx, workspace_id, waiting or [])
            return "decided"
        if answer.drop is not None:
            store.set_state(tx, workspace_id, request.digest, "dropped", answer.drop)
            return "dropped"
        if answer.down is not None and request.attempts < MOST_ATTEMPTS:
            delay_s = _FIRST_RETRY_S * 3 ** (request.attempts - 1)
            store.set_state(tx, workspace_id, request.digest, "asked", answer.reason, delay_s=delay_s)
            return "later"
        if not request.blocking:
            store.set_state(tx, workspace_id, request.digest, "dropped", answer.reason)
            return "dropped"
        self._to_person(tx, workspace_id, request, text, answer.reason or NO_CODE_FITS)
        return "person"

    def _to_person(self, tx: Tx, workspace_id: str, request: Request, text: str, reason: str) -> None:
        store.set_state(tx, workspace_id, request.digest, "person", reason)
        candidates = self.candidates(request, text)
        self.quarantine.put(
            tx,
            workspace_id,
            stage=STAGE,
            subject=request.digest.hex(),
            code=UNTRANSLATED,
            message="no code for certain; `outbound translate` sets one",
            place=request.vocabulary,
            body=exact_json.dumps({"text": text}).encode(),
            context={"vocabulary": request.vocabulary, "reason": reason, "candidates": candidates},
            now=self.clock(),
        )
        # What was to fail once nobody but a person can help fails now.
        self._revive(tx, workspace_id, store.waiting(tx, workspace_id, request.digest))

    def candidates(self, request: Request, text: str) -> list[str]:
        """The codes that a text is most like, best first."""
        vocabulary = self.vocabularies.get(request.vocabulary)
        found = translate(text, vocabulary) if vocabulary is not None else Untranslated()
        listed = found.candidates if isinstance(found, Untranslated) else ()
        return [candidate.code for candidate in listed[:MOST_CANDIDATES]]

    def waiting(self, workspace_id: str, limit: int = 100) -> list[dict[str, Any]]:
        """What has no code yet, with the text, for a person to read."""
        with self.database.begin(workspace_id) as tx:
            found = store.open_requests(tx, workspace_id, limit)
            texts = [self._text(tx, workspace_id, request) for request in found]
        return [
            {
                "id": request.digest.hex(),
                "vocabulary": request.vocabulary,
                "text": text,
                "candidates": self.candidates(request, text),
                "state": request.state,
                "reason": request.reason,
                "entities": request.entities,
                "asked_at": request.asked_at,
            }
            for request, text in zip(found, texts, strict=True)
        ]

    def set_code(self, workspace_id: str, request_id: str, code: str | None, *, actor: str, now: datetime) -> int:
        """A person's answer, None for "none fits"; how many entities are looked at again.

        Raises BadRecord for an id that is not there, or a code that the vocabulary does not have.
        """
        try:
            digest = bytes.fromhex(request_id)
        except ValueError:
            digest = b""

        def work(tx: Tx) -> int:
            request = store.request_of(tx, workspace_id, digest)
            if request is None:
                raise BadRecord(
                    "nothing of this id waits for a code", code="no_such_translation", where=request_id[:64]
                )
            vocabulary = self.vocabularies.get(request.vocabulary)
            if code is not None and (vocabulary is None or code not in vocabulary.displays):
                raise BadRecord("the vocabulary has no such code", code="no_such_code", where=request.vocabulary)
            waiting = store.decide(tx, workspace_id, digest, code=code, method="person", decided_by=actor) or []
            self._revive(tx, workspace_id, waiting)
            self.quarantine.settle(tx, workspace_id, STAGE, [digest.hex()])
            audit.append(
                tx,
                workspace_id,
                actor=actor,
                action="translation.decided",
                object=digest.hex(),
                detail={"vocabulary": request.vocabulary, "code": code or "", "entities": len(waiting)},
                now=now,
            )
            return len(waiting)

        return self.database.retrying(workspace_id, work)

    @staticmethod
    def _revive(tx: Tx, workspace_id: str, entity_ids: list[str]) -> None:
        """Have release look again at the entities that waited: their lanes go where they belong by now."""
        if entity_ids:
            sink_store.request_release(tx, workspace_id, entity_ids)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of one request: a code, a reason why not, the model being down, or nobody wanting it any more."""

    code: str | None = None
    reason: str | None = None
    down: str | None = None
    drop: str | None = None
    model: str | None = None
