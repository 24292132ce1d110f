"""What every task does around its one call: check, log, count, decide on errors, send follow-up hints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from celery import Task

from connector_runner.audit.acting import Authority, acting
from connector_runner.infra import metrics
from connector_runner.infra.logging import bind, get_logger
from connector_runner.infra.queue import Hint, check_arguments
from connector_runner.kernel.errors import (
    BadRecord,
    Conflict,
    Forbidden,
    Misconfigured,
    NotYet,
    RunnerError,
    TokenExpired,
    TryAgain,
)
from tasks import running
from tasks.process import runner, tell_counters

log = get_logger(__name__)

ATTEMPTS = 3


class Action(Enum):
    """What a task does about an error. Nothing is re-sent: what is still to do has a due time in Postgres."""

    WAIT = "wait"
    """Leave it; the row that the work belongs to is due again later."""
    REPEAT = "repeat"
    """Run the body again at once, as the next look reads what moved."""
    STOP = "stop"
    """Leave it to a person; the service has recorded why."""
    FAIL = "fail"
    """An error of ours: log where, show the task as failed."""


ACTIONS: dict[type[RunnerError], Action] = {
    TryAgain: Action.WAIT,
    TokenExpired: Action.WAIT,
    Conflict: Action.REPEAT,
    NotYet: Action.WAIT,
    BadRecord: Action.STOP,
    Misconfigured: Action.STOP,
    Forbidden: Action.STOP,
    RunnerError: Action.FAIL,
}


def action_for(error: BaseException) -> Action:
    """The action of the error's nearest class; FAIL for what is not ours."""
    for kind in type(error).__mro__:
        if kind in ACTIONS:
            return ACTIONS[kind]
    return Action.FAIL


class TaskFailed(Exception):
    """What Celery and Flower get to see of a failure: a code."""


class RunnerTask(Task):  # type: ignore[misc]
    """Base of all tasks. ``follow_ups`` turns what the body returned into hints, sent after its commits."""

    abstract = True
    typing = True
    follow_ups: Callable[[Any, dict[str, Any]], Iterable[Hint]] | None = None

    def apply_async(self, args: Any = None, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """As Celery's, for keyword arguments that are ids; raises BadRecord for any other."""
        if args:
            raise BadRecord("tasks take keyword arguments only", code="task_argument", where=self.name)
        check_arguments(kwargs or {})
        options |= {"argsrepr": "()", "kwargsrepr": repr(kwargs or {})}
        return super().apply_async((), kwargs or {}, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run the body; nothing that it raises gets out but a code."""
        started = time.monotonic()
        outcome = "ok"
        authority = Authority("system", self.name, str(self.request.id or ""))
        with bind(task=self.name, task_id=self.request.id, **kwargs), running.slice_of(self.name), acting(authority):
            try:
                check_arguments(dict(enumerate(args)) | kwargs)  # type: ignore[arg-type]
                runner().publisher.started(Hint.of(self.name, **kwargs))
                self._follow(self._attempt(kwargs), kwargs)
            except Exception as error:
                action = action_for(error)
                outcome = error.code if isinstance(error, RunnerError) else "error"
                self._report(error, action, outcome)
                if action is Action.FAIL:
                    raise TaskFailed(outcome) from None
            finally:
                metrics.TASKS.labels(task=self.name, outcome=outcome).inc()
                metrics.TASK_SECONDS.labels(task=self.name).observe(time.monotonic() - started)
                tell_counters()

    def _attempt(self, kwargs: dict[str, Any]) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self.run(**kwargs)
            except RunnerError as error:
                if action_for(error) is not Action.REPEAT or attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _follow(self, outcome: Any, kwargs: dict[str, Any]) -> None:
        follow_ups = type(self).follow_ups
        if follow_ups is not None:
            for hint in follow_ups(outcome, kwargs):
                runner().publisher.send(hint)

    def _report(self, error: Exception, action: Action, code: str) -> None:
        if action is Action.FAIL:
            log.error("task_failed", code=code, exc_info=error)
        else:
            log.warning("task_ended_early", code=code, action=action.value)
