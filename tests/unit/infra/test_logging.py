"""Nothing that came from outside reaches a log line."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from decimal import Decimal

import pytest
import structlog

from connector_runner.infra.logging import bind, configure, get_logger
from connector_runner.infra.redaction import REDACTED, WITHHELD, is_content_key
from connector_runner.kernel.errors import BadRecord, Misconfigured

CANARY = "Zebulon Quatermass"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What was logged during a test; the process's logging is put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook)
    target = io.StringIO()
    configure("DEBUG", stream=target)
    yield target
    root.handlers[:], sys.excepthook, threading.excepthook, sys.unraisablehook = before[0], *before[2:]
    root.setLevel(before[1])
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_ids(stream: io.StringIO) -> None:
    with bind(workspace_id="w1", lane_id=None):
        get_logger("connector_runner.intake").info("source.polled", source="ehr", records=12, took_s=0.5)
    (line,) = lines(stream)
    assert line["event"] == "source.polled"
    assert line["level"] == "info"
    assert line["logger"] == "connector_runner.intake"
    assert (line["workspace_id"], line["source"], line["records"], line["took_s"]) == ("w1", "ehr", 12, 0.5)
    assert "lane_id" not in line
    assert "timestamp" in line


@pytest.mark.parametrize(
    "key",
    [
        "name", "patient_name", "patientName", "given", "family", "phone", "homePhone", "email", "address",
        "birth_date", "body", "facts", "state", "access_token", "token", "Authorization", "password", "value",
        "file_name", "url", "mrn", "exception", "kwargs", "api_key",
    ],
)  # fmt: skip
def test_content_keys_are_redacted_at_any_depth(stream: io.StringIO, key: str) -> None:
    get_logger("connector_runner.x").info("seen", **{key: CANARY}, deep={"list": [{key: {"inner": CANARY}}]})
    assert CANARY not in stream.getvalue()
    (line,) = lines(stream)
    assert line[key] == REDACTED


def test_operational_keys_stay() -> None:
    for key in (
        "source",
        "sink_name",
        "records",
        "workspace_id",
        "lane_state",
        "queue",
        "code",
        "facts_count",
        "hostname",
    ):
        assert not is_content_key(key), key


def test_objects_are_not_spelled_out(stream: io.StringIO) -> None:
    class Person:
        def __repr__(self) -> str:
            return CANARY

    get_logger("connector_runner.x").info(
        "seen",
        thing=Person(),
        raw=CANARY.encode(),
        patient={"resourceType": "Patient", "x": CANARY},
        dose=Decimal("1.0"),
    )
    assert CANARY not in stream.getvalue()
    (line,) = lines(stream)
    assert line["raw"] == f"[{len(CANARY)} bytes]"
    assert line["dose"] == "1.0"


def fail_with(exc: Exception) -> None:
    raise exc


def test_a_foreign_exception_is_its_type_and_its_places(stream: io.StringIO) -> None:
    try:
        try:
            fail_with(ValueError(CANARY))
        except ValueError as exc:
            raise BadRecord("the birth date is not a date", code="bad_date", where=f"{CANARY}.json") from exc
    except BadRecord:
        get_logger("connector_runner.x").exception("record.refused")
    assert CANARY not in stream.getvalue()
    error = lines(stream)[0]["error"]
    assert isinstance(error, dict)
    assert error["type"] == "connector_runner.kernel.errors.BadRecord"
    assert (error["code"], error["message"]) == ("bad_date", "the birth date is not a date")
    assert "where" not in error
    assert error["caused_by"][0]["type"] == "ValueError"
    assert error["caused_by"][0]["stack"][-1].startswith("tests/unit/infra/test_logging.py:")
    assert error["caused_by"][0]["stack"][-1].endswith(":fail_with")


def test_a_misconfiguration_says_where(stream: io.StringIO) -> None:
    try:
        raise Misconfigured("must be a URL", where="DATABASE_URL")
    except Misconfigured as exc:
        get_logger("connector_runner.x").error("start.refused", exc_info=exc)
    error = lines(stream)[0]["error"]
    assert isinstance(error, dict)
    assert error["where"] == "DATABASE_URL"


def test_celery_lines_lose_arguments_and_exceptions(stream: io.StringIO) -> None:
    logging.getLogger("celery.app.trace").error(
        "Task %(name)s[%(id)s] %(description)s: %(exc)s\n%(traceback)s",
        {"name": "tasks.poll", "id": "7f", "description": "raised", "exc": CANARY, "traceback": CANARY, "args": CANARY},
        exc_info=(ValueError, ValueError(CANARY), None),
        extra={"data": {"kwargs": CANARY}},
    )
    logging.getLogger("celery.worker.strategy").info("Task %s received", ValueError(CANARY))
    logging.getLogger("celery.worker").warning("Received unknown message: %s", {"body": CANARY})
    assert CANARY not in stream.getvalue()
    assert "Task tasks.poll[7f] raised" in stream.getvalue()


def test_access_lines_lose_the_query(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.access").info(
        '%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/entities?name=Quatermass", "1.1", 200
    )
    (line,) = lines(stream)
    assert line["event"] == '127.0.0.1:1 - "GET /entities HTTP/1.1" 200'


def test_other_libraries_keep_their_template_only(stream: io.StringIO) -> None:
    configure("DEBUG", stream=stream)  # pytest's own handlers raise on a line that cannot be formatted
    log = logging.getLogger("some.library")
    log.warning("row %d of %s", 7, CANARY)
    log.warning(f"row of {CANARY}")
    log.warning("broken %d", CANARY)
    warnings.warn(CANARY, UserWarning, stacklevel=1)
    assert CANARY not in stream.getvalue()
    events = [line["event"] for line in lines(stream)]
    assert events[:3] == [f"row 7 of {REDACTED}", WITHHELD, WITHHELD]


def test_sql_statements_are_not_logged(stream: io.StringIO) -> None:
    logging.getLogger("sqlalchemy.engine.Engine").info("INSERT %s", CANARY)
    logging.getLogger("urllib3.connectionpool").debug("GET %s", CANARY)
    assert stream.getvalue() == ""


def test_a_url_loses_its_credentials(stream: io.StringIO) -> None:
    get_logger("connector_runner.x").info("seen", place="postgresql://app:hunter2@host/db")
    logging.getLogger("kombu.connection").error("Cannot connect to %s", "redis://:hunter2@host:1/0")
    assert "hunter2" not in stream.getvalue()
    assert "host/db" in stream.getvalue()


def test_uncaught_exceptions_lose_their_message(stream: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        fail_with(ValueError(CANARY))
    except ValueError as exc:
        sys.excepthook(ValueError, exc, exc.__traceback__)
    thread = threading.Thread(target=fail_with, args=(ValueError(CANARY),))
    thread.start()
    thread.join()
    assert [line["event"] for line in lines(stream)] == ["process.failed", "thread.failed"]
    assert CANARY not in stream.getvalue() + "".join(capfd.readouterr())


def test_a_line_that_cannot_be_written_says_so_without_content(stream: io.StringIO) -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError(CANARY)

    configure("DEBUG", stream=stream)  # pytest's own handlers raise on a line that cannot be formatted
    logging.getLogger("connector_runner.x").error(Bad(), "x")
    assert CANARY not in stream.getvalue()
    assert lines(stream)[0]["event"] == "log.failed"


def test_text_on_a_terminal_is_redacted_too(stream: io.StringIO) -> None:
    configure("INFO", stream=stream, json=False)
    try:
        fail_with(ValueError(CANARY))
    except ValueError:
        get_logger("connector_runner.x").exception("failed", patient_name=CANARY)
    text = stream.getvalue()
    assert "failed" in text
    assert "ValueError" in text
    assert CANARY not in text


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="log level"):
        configure("LOUD")
