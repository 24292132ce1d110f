"""Logging: JSON lines on stderr, or coloured text on a terminal, every one of them through the redaction.

Lines of libraries that use the standard logging (celery, uvicorn, sqlalchemy) take the same way, and so do
exceptions that nobody caught.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from connector_runner.infra.redaction import exception_facts, foreign_message, redact

_OWN_KEYS: Final = frozenset({"event", "level", "timestamp", "logger"})
# Chatty below warning, with statements, URLs and bodies in what they chat.
_QUIET: Final = ("sqlalchemy", "urllib3", "requests", "asyncio", "botocore", "fsspec", "multipart", "httpx", "amqp")
_LEVELS: Final = {name: getattr(logging, name) for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger: ``log.info("source.polled", source="ehr", records=12)``.

    The event is a constant dotted name, values are ids, codes and counts. In a process that nobody configured,
    a shell or a script, warnings go out redacted: the library's own way to show an error prints local variables.
    """
    if not structlog.is_configured():
        configure("WARNING", uncaught=False)
    return cast(FilteringBoundLogger, structlog.stdlib.get_logger(name))


@contextmanager
def bind(**ids: str | int | None) -> Iterator[None]:
    """Add ids to every line that is logged inside, in this thread or task."""
    with structlog.contextvars.bound_contextvars(**{key: value for key, value in ids.items() if value is not None}):
        yield


def configure(
    level: str = "INFO", *, stream: TextIO | None = None, json: bool | None = None, uncaught: bool = True
) -> None:
    """Route everything through the redaction; call it once, first in a process, again in a forked child if need be.

    ``json`` None means: unless ``stream`` (standard error) is a terminal. ``uncaught``: log what nobody catches
    in the same way; a person at a Python prompt is better told as Python does. Raises ValueError for an unknown level.
    """
    number = _LEVELS.get(level.upper())
    if number is None:
        raise ValueError(f"not a log level; one of {', '.join(_LEVELS)}")
    target = stream if stream is not None else sys.stderr
    as_json = not target.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_to_json)
        if as_json
        else structlog.dev.ConsoleRenderer(exception_formatter=_no_traceback)
    )
    handler = _SafeHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_filter_foreign, *shared],
            processors=[
                _facts_of_exception,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact,
                renderer,
            ],
            use_get_message=False,
            pass_foreign_args=True,
        )
    )
    _take_over(handler, number)
    if uncaught:
        _hook_uncaught()


class _SafeHandler(logging.StreamHandler[TextIO]):
    """Says that a line failed without saying what was in it, unlike the standard handler."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        exc = sys.exc_info()[1]
        kind = type(exc).__name__ if exc is not None else "unknown"
        line = {"event": "log.failed", "level": "error", "logger": record.name, "exception_type": kind}
        line["place"] = f"{record.filename}:{record.lineno}"
        try:
            self.stream.write(_to_json(line) + "\n")
        except (OSError, ValueError):
            self.stream = sys.__stderr__ or self.stream  # the target is closed: the next line has a chance there


def _take_over(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.handlers.clear()
    root.addHandler(handler)
    root.setLevel(level)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if logger.handlers:
            logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


def _filter_foreign(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    event["event"] = foreign_message(record.name, record.msg, event.pop("positional_args", ()))
    event["place"] = f"{record.filename}:{record.lineno}"
    return event


def _facts_of_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    exc = info if isinstance(info, BaseException) else None
    if isinstance(info, tuple):
        exc = info[1]
    elif info and exc is None:
        exc = sys.exc_info()[1]
    if exc is not None:
        event["error"] = exception_facts(exc)
    return event


def _redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    error = event.pop("error", None)
    clean: MutableMapping[str, Any] = {k: v if k in _OWN_KEYS else redact(v, k) for k, v in event.items()}
    if error is not None:
        clean["error"] = error if isinstance(error, dict) and "stack" in error else redact(error, "error")
    return clean


def _to_json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=lambda value: f"<{type(value).__qualname__}>").decode()


def _no_traceback(stream: TextIO, _: Any) -> None:
    stream.write("")


def _hook_uncaught() -> None:
    """Python's own hooks print messages and values of exceptions; ours log what may be logged."""
    log = get_logger("connector_runner.uncaught")

    def uncaught(kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, exc, traceback)
            return
        log.critical("process.failed", exc_info=exc)

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            log.critical("thread.failed", thread=args.thread.ident if args.thread else None, exc_info=args.exc_value)

    def unraisable(args: Any) -> None:
        log.error("cleanup.failed", exc_info=args.exc_value)

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
    sys.unraisablehook = unraisable
