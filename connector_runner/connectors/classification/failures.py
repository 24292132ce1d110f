"""What it means when a request has no answer at all."""

from __future__ import annotations

from connector_runner.connectors.gate import PACED
from connector_runner.connectors.sinks import Outcome, Reply
from connector_runner.infra.http import AnswerLost
from connector_runner.kernel.errors import Forbidden, Misconfigured, RunnerError, TryAgain


def reply_to_failure(error: RunnerError) -> Reply:
    """UNKNOWN when the request left, AUTH when the settings cannot work (a secret, an address),
    FORBIDDEN when what was granted does not reach so far, QUOTA when it is not our turn yet, else NOT_SENT."""
    if isinstance(error, AnswerLost):
        return Reply(Outcome.UNKNOWN, error.code, cause=error.code)
    if isinstance(error, Forbidden):
        return Reply(Outcome.FORBIDDEN, error.code, cause=error.code, where=error.where)
    if error.code == PACED:
        outcome = Outcome.QUOTA
    else:
        outcome = Outcome.AUTH if isinstance(error, Misconfigured) else Outcome.NOT_SENT
    wait = error.retry_after_s if isinstance(error, TryAgain) else None
    return Reply(outcome, error.code, retry_after_s=wait, cause=error.code)
