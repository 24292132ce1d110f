"""Judging cases: by rules, then where rules leave something to doubt by a model, whose word is verified.

The model is asked with no transaction open, a bounded number of questions at once, within what the hour may cost, and
each question is on record before it leaves. When it is away, slow, too dear or talks nonsense, what rules alone prove
is all that passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import Any, Final, Protocol

from connector_runner.infra.database import Database
from connector_runner.infra.http import HTTP
from connector_runner.infra.llm import LanguageModel, Nonsense, Question
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import counter
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import Misconfigured, RunnerError
from connector_runner.review.judge import prompt, speech
from connector_runner.review.judge.case import MODEL, UNCLEAR, Case, FieldVerdict, Judge, Judgement
from connector_runner.review.judge.leave_store import SqlLeave
from connector_runner.review.judge.rules import LONGEST, RULES_VERSION, Point, decide, unreadable
from connector_runner.review.judge.speech import Speech
from connector_runner.review.judge.verifying import verified
from connector_runner.review.transcript import Material
from connector_runner.settings import Settings

NO_MODEL: Final = "no_model"
TOO_DEAR: Final = "spent"

JUDGED = counter("judged_fields", "Claims that the judge looked at, by its word", ("outcome", "code"))
log = get_logger(__name__)


class Leave(Protocol):
    """Says whether a question may leave, and keeps that it did."""

    def take(self, workspace_id: str, tokens: int, now: datetime, *, session: str, about: Mapping[str, Any]) -> bool:
        """Take tokens from what the hour has left, and note the disclosure; False, and neither, where that is less."""


@dataclass(frozen=True, slots=True)
class RulesThenModel:
    """The judge. ``open_model`` answers None where the installation has no model, and raises Misconfigured."""

    open_model: Callable[[], LanguageModel | None]
    leave: Leave
    concurrency: int = 4
    clock: Clock = utc_now

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """A word for every atom of every event, in the order of the cases."""
        now, read = self.clock(), _Reading()
        decided = [list(decide(case, *read.of(case.material), now)) for case in cases]
        points = [found for case in decided for found in case if isinstance(found, Point)]
        model, trouble = self._model() if points else (None, NO_MODEL)
        words: dict[int, FieldVerdict] = {}
        if model is not None:
            self._ask_all(model, _questions(points, read), words, now)
        version = f"rules-{RULES_VERSION}"
        answers = []
        for found in decided:
            fields = tuple(
                words.get(id(one)) or one.verdict(UNCLEAR, "rules", trouble) if isinstance(one, Point) else one
                for one in found
            )
            asked = model is not None and any(isinstance(one, Point) for one in found)
            stamp = f"{version}+prompt-{prompt.PROMPT_VERSION}+{model.model}" if model and asked else version
            answers.append(Judgement(fields, stamp))
            for one in fields:
                JUDGED.labels(outcome=one.verdict, code=one.code).inc()
        return answers

    def _model(self) -> tuple[LanguageModel | None, str]:
        try:
            return self.open_model(), NO_MODEL
        except Misconfigured as error:
            log.warning("review.model_misconfigured", code=error.code, where=error.where)
            return None, error.code

    def _ask_all(
        self, model: LanguageModel, questions: Sequence[prompt.Asked], words: dict[int, FieldVerdict], now: datetime
    ) -> None:
        """Ask them side by side; after the first that finds the model away, no further one is begun."""
        down = Event()
        with ThreadPoolExecutor(max_workers=min(self.concurrency, len(questions)), thread_name_prefix="judge") as pool:
            answers = pool.map(lambda asked: self._ask(model, asked, down, now), questions)
            for asked, answer in zip(questions, answers, strict=True):
                words.update({id(point): word for point, word in zip(asked.points, answer, strict=True)})

    def _ask(self, model: LanguageModel, asked: prompt.Asked, down: Event, now: datetime) -> list[FieldVerdict]:
        question = Question(
            "review",
            prompt.RULES,
            asked.said,
            prompt.answer_schema(len(asked.points)),
            most_tokens=prompt.TOKENS_A_CLAIM * len(asked.points) + 100,
        )
        code = "llm_down"
        try:
            if not down.is_set():
                workspace_id, session = asked.points[0].case.workspace_id, asked.speech.material.session
                about = {**asked.about, "model": model.model, "host": model.host}
                if self.leave.take(workspace_id, question.tokens, now, session=session, about=about):
                    return verified(asked, model.ask(question))
                code = TOO_DEAR
        except Nonsense as error:
            code = error.code
        except RunnerError as error:
            down.set()
            code = error.code
        log.warning("review.model_useless", code=code, claims=len(asked.points))
        return [point.verdict(UNCLEAR, MODEL, code) for point in asked.points]


@dataclass(slots=True)
class _Reading:
    """Conversations, each read once."""

    known: dict[int, tuple[Speech | None, str | None]] = field(default_factory=dict)

    def of(self, material: Material | None) -> tuple[Speech | None, str | None]:
        if material is None:
            return None, None
        found = self.known.get(id(material))
        if found is None:
            if len(material.text) > LONGEST:
                found = speech.read(Material(material.session, "", ())), "too_long"
            else:
                heard = speech.read(material)
                found = heard, unreadable(heard)
            self.known[id(material)] = found
        return found


def _questions(points: Sequence[Point], read: _Reading) -> list[prompt.Asked]:
    """Points of the same workspace and conversation go together, a bounded number in a question."""
    together: dict[tuple[str, int], list[Point]] = {}
    for point in points:
        together.setdefault((point.case.workspace_id, id(point.case.material)), []).append(point)
    questions = []
    for found in together.values():
        heard, _ = read.of(found[0].case.material)
        for at in range(0, len(found), prompt.MOST_CLAIMS):
            if heard is not None:
                questions.append(prompt.asked(found[at : at + prompt.MOST_CLAIMS], heard))
    return questions


def open_judge(settings: Settings, http: HTTP, database: Database) -> Judge:
    """The judge of this installation."""
    return RulesThenModel(
        open_model=lambda: LanguageModel.of(settings, http),
        leave=SqlLeave(database, settings.llm_tokens_per_hour),
        concurrency=settings.llm_share,
    )
