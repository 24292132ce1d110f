"""What may be in a log line: our own words, ids and codes. Everything else is replaced. Pure.

Three rules. A value under a key that names content is replaced, however deep it stands. An exception is its
type, code and the places it passed; its message only when it is one of ours. A line of someone else's library
keeps the template it was written with, and of its values only numbers and, for libraries known to log plain
operational facts, short texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from connector_runner.kernel.errors import Misconfigured, RunnerError

REDACTED: Final = "[redacted]"
WITHHELD: Final = "[message withheld]"
_DEPTH: Final = 6
_FRAMES: Final = 25
_CAUSES: Final = 5


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# As any word of a key: patient_name, homePhone and email_address are content.
_CONTENT_WORDS: Final = _words(
    """name names given family prefix suffix phone telephone mobile fax sms telecom email mail address addresses
    street city postal zip birth birthdate birthday dob ssn mrn identifier identifiers gender sex race ethnicity
    body payload narrative diagnosis token tokens authorization password passwd secret secrets credential
    credentials cookie apikey assertion jwt signature"""
)
# As a whole key only: as part of one they are operational (lane_state, facts_count).
_CONTENT_KEYS: Final = _words(
    """fact facts state states data content text note notes comment comments description value values display
    answer response request resource record event_body key api_key params parameters query headers args kwargs
    argsrepr kwargsrepr return_value result exc exception traceback message filename file file_name path url uri
    dsn database_url redis_url"""
)
_OPERATIONAL_KEYS: Final = _words(
    "task_name queue_name source_name sink_name logger_name mapping_name metric_name setting_name body_hash"
    " body_bytes secret_reference tokens_left"
)
_TRUSTED_LOGGERS: Final = ("celery", "kombu", "amqp", "uvicorn", "alembic", "flower", "tornado.general", "honcho")
_OWN_LOGGERS: Final = ("connector_runner", "tasks", "beat_schedule")
_SPLIT = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_SHORT_PLAIN = re.compile(r"[\w.:@/+<>#-]{1,200}")
_EMAIL = re.compile(r"(?<![\w./@-])[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}(?![\w@.]*[:/])")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_ROOT = str(Path(__file__).resolve().parents[2]) + "/"


def is_content_key(key: str) -> bool:
    """Whether a value under ``key`` may be content, by the words of the key."""
    if key.lower() in _OPERATIONAL_KEYS:
        return False
    return key.lower() in _CONTENT_KEYS or any(word.lower() in _CONTENT_WORDS for word in _SPLIT.split(key))


def redact(value: Any, key: str = "", depth: int = 0) -> Any:
    """``value`` as it may be logged under ``key``."""
    if value is None or isinstance(value, bool):
        return value
    if key and is_content_key(key):
        return REDACTED
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return _CREDENTIALS.sub(f"{REDACTED}@", value)
    if isinstance(value, BaseException):
        return exception_facts(value)
    if depth >= _DEPTH:
        return REDACTED
    if isinstance(value, Mapping):
        if "resourceType" in value:
            return REDACTED
        return {str(name): redact(item, str(name), depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, "", depth + 1) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    kind = type(value)
    return str(value) if kind.__module__ in ("uuid", "datetime", "decimal", "pathlib") else f"<{kind.__qualname__}>"


def exception_facts(exc: BaseException) -> dict[str, Any]:
    """Type, code, message if it is ours, where it passed, and what caused it."""
    facts = _one(exc)
    causes: list[dict[str, Any]] = []
    seen, cause = {id(exc)}, _cause(exc)
    while cause is not None and id(cause) not in seen and len(causes) < _CAUSES:
        seen.add(id(cause))
        causes.append(_one(cause))
        cause = _cause(cause)
    if causes:
        facts["caused_by"] = causes
    if isinstance(exc, BaseExceptionGroup):
        facts["group"] = [_one(inner) for inner in exc.exceptions[:_CAUSES]]
    return facts


def _one(exc: BaseException) -> dict[str, Any]:
    kind = type(exc)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    facts: dict[str, Any] = {"type": f"{module}{kind.__qualname__}"}
    if isinstance(exc, RunnerError):
        facts["code"] = exc.code
        facts["message"] = exc.message
        # Elsewhere the place may be a file's name, and that a patient's.
        if isinstance(exc, Misconfigured) and exc.where:
            facts["where"] = exc.where
    elif isinstance(exc, OSError) and exc.errno is not None:
        facts["errno"] = exc.errno
    facts["stack"] = _stack(exc.__traceback__)
    return facts


def _cause(exc: BaseException) -> BaseException | None:
    if exc.__cause__ is not None:
        return exc.__cause__
    return None if exc.__suppress_context__ else exc.__context__


def _stack(traceback: TracebackType | None) -> list[str]:
    """``file:line:function``, outermost first; source text and values are left out."""
    frames: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename.removeprefix(_ROOT)}:{traceback.tb_lineno}:{code.co_name}")
        traceback = traceback.tb_next
    return frames[-_FRAMES:]


def foreign_message(logger: str, template: object, args: object) -> str:
    """The text of a line that a library wrote, with its values filtered."""
    if _under(logger, _OWN_LOGGERS):
        return _rendered(str(template), args, keep_text=True)
    trusted = _under(logger, _TRUSTED_LOGGERS)
    if not isinstance(template, str) or (not args and not trusted):
        # Without arguments a template may already hold the values.
        return WITHHELD
    return _EMAIL.sub(REDACTED, _CREDENTIALS.sub(f"{REDACTED}@", _rendered(template, args, keep_text=trusted)))


def _under(logger: str, names: tuple[str, ...]) -> bool:
    return any(logger == name or logger.startswith(name + ".") for name in names)


def _rendered(template: str, args: object, *, keep_text: bool) -> str:
    if not args:
        return template
    filtered: object
    if isinstance(args, Mapping):
        filtered = {key: _argument(value, keep_text and not is_task_content(str(key))) for key, value in args.items()}
    elif isinstance(args, tuple):
        filtered = tuple(_argument(value, keep_text) for value in args)
    else:
        filtered = _argument(args, keep_text)
    try:
        return template % filtered
    except (TypeError, ValueError, KeyError):
        return WITHHELD


def is_task_content(key: str) -> bool:
    """Whether this argument of a Celery line repeats what a task was given, returned or raised."""
    return key in ("args", "kwargs", "exc", "traceback", "return_value", "body", "headers", "data")


def _argument(value: object, keep_text: bool) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, BaseException):
        return f"{type(value).__name__}({value.code})" if isinstance(value, RunnerError) else type(value).__name__
    if isinstance(value, str) and keep_text:
        plain = value.partition("?")[0]
        return plain if _SHORT_PLAIN.fullmatch(plain) else REDACTED
    return REDACTED
