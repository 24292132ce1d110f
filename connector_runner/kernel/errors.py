"""Errors named by what to do next.

    RunnerError
    |-- TryAgain            transient: back off, or wait until a stated time
    |   |-- RateLimited
    |   `-- Unavailable
    |-- TokenExpired        refresh once, then try again
    |-- Conflict            the remote version moved: re-read, re-translate
    |-- NotYet              a dependency or a window is missing: defer, not an attempt
    |-- BadRecord           this record only: quarantine, go on
    |-- Misconfigured       this data source only: stop it, tell its owner
    `-- Forbidden           policy or consent refused: audit, stop

An error carries a code, a message made of our own words, and ids. It never carries
a body, a name or any other text that came from outside: what is raised may be logged.
"""

from __future__ import annotations


class RunnerError(Exception):
    """Root of everything this product raises on purpose.

    ``code`` is a short snake_case word for machines, ``message`` a sentence for people,
    ``where`` says what it is about (a file, an entry index, a settings key, a dot-path).
    """

    default_code = "error"

    def __init__(self, message: str, *, code: str | None = None, where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class TryAgain(RunnerError):
    """Transient. ``retry_after_s`` is set when the other side stated a time."""

    default_code = "try_again"

    def __init__(
        self, message: str, *, code: str | None = None, where: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, code=code, where=where)
        self.retry_after_s = retry_after_s


class RateLimited(TryAgain):
    """The other side, or our own limiter, says: too fast."""

    default_code = "rate_limited"


class Unavailable(TryAgain):
    """The other side cannot be reached, or answers that it cannot serve."""

    default_code = "unavailable"


class TokenExpired(RunnerError):
    """The credential was refused as expired."""

    default_code = "token_expired"


class Conflict(RunnerError):
    """The remote version moved since it was read."""

    default_code = "conflict"


class NotYet(RunnerError):
    """A dependency or a time window is missing."""

    default_code = "not_yet"


class BadRecord(RunnerError):
    """One record cannot be used; its neighbours can."""

    default_code = "bad_record"


class Misconfigured(RunnerError):
    """One data source, or this installation, is set up in a way that cannot work."""

    default_code = "misconfigured"


class Forbidden(RunnerError):
    """Policy, consent or scope refuses."""

    default_code = "forbidden"
