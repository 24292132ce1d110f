"""What every adapter that writes must do when it does."""

from __future__ import annotations

import pytest

from connector_runner.connectors.sinks import FindsCreated, Json, Outcome, Reply, Sink
from tests.conformance.clinic import Clinic, Write
from tests.conformance.conftest import Say

OURS = "0a8f8b52-0000-4000-8000-00000000c0de"


@pytest.fixture
def writing(clinic: Clinic) -> Clinic:
    """An adapter that writes, as its vendor would be set up for that."""
    if not clinic.adapter.writes:
        pytest.skip("the vendor takes no writes that are told of")
    clinic.adapter.ready(clinic)
    return clinic


def look(sink: Sink, body: Json) -> Reply:
    """As the read-back of a lost create looks."""
    if isinstance(sink, FindsCreated):
        return sink.find_created(sink.identified(body, OURS), OURS)
    return sink.find(body["resourceType"], OURS)


def made(clinic: Clinic, write: Write, sink: Sink) -> str:
    """The reference of a record that was created."""
    reply = sink.create(write.body(clinic), OURS)
    assert reply.outcome is Outcome.LANDED, reply.cause
    assert reply.ref is not None
    return reply.ref


def test_a_create_lands_once(writing: Clinic, say: Say) -> None:
    for write in writing.adapter.writes:
        before = writing.records(write.resource_type)
        ref = made(writing, write, writing.sink())
        after = writing.records(write.resource_type)
        assert {record["id"] for record in after} - {record["id"] for record in before} == {ref.partition("/")[2]}
    say(writing, "creates", note=", ".join(write.resource_type for write in writing.adapter.writes))


def test_a_create_whose_answer_was_lost_is_found(writing: Clinic, say: Say) -> None:
    for write in writing.adapter.writes:
        sink, body = writing.sink(), write.body(writing)
        before = len(writing.records(write.resource_type))
        writing.fault(writing.adapter.create_call(write, OURS), "drop_answer", next=1)
        assert sink.create(body, OURS).outcome is Outcome.UNKNOWN
        found = look(sink, body)
        assert found.outcome is Outcome.LANDED, (write.resource_type, found.cause)
        assert found.ref is not None
        assert len(writing.records(write.resource_type)) == before + 1
    say(writing, "finds a create whose answer was lost")


def test_a_create_that_never_arrived_is_known_to_be_absent(writing: Clinic, say: Say) -> None:
    for write in writing.adapter.writes:
        sink, body = writing.sink(), write.body(writing)
        writing.fault(writing.adapter.create_call(write, OURS), "reset", next=1)
        assert sink.create(body, OURS).outcome is Outcome.UNKNOWN
        assert look(sink, body).outcome is Outcome.ABSENT
        assert sink.create(body, OURS).outcome is Outcome.LANDED
    say(writing, "tells that a lost create never arrived")


def test_an_update_changes_what_was_read(writing: Clinic, say: Say) -> None:
    changing = [write for write in writing.adapter.writes if write.change is not None]
    for write in changing:
        assert write.change is not None
        sink = writing.sink()
        ref = made(writing, write, sink)
        shown = sink.read(ref)
        assert shown.body is not None
        wanted = write.change(shown.body)
        reply = sink.update(ref, wanted, shown.etag, before=shown.body)
        assert reply.outcome is Outcome.LANDED, reply.cause
        again = sink.read(ref)
        assert again.body is not None
        assert write.change(again.body) == again.body
    changed = ", ".join(write.resource_type for write in changing)
    say(writing, "updates", "yes" if changing else "not offered", changed)


def test_an_edit_of_another_is_not_overwritten(writing: Clinic, say: Say) -> None:
    for write in writing.adapter.writes:
        if write.change is None:
            continue
        sink = writing.sink()
        ref = made(writing, write, sink)
        shown = sink.read(ref)
        assert shown.body is not None
        assert shown.etag is not None
        kept = next(one for one in writing.records(write.resource_type) if one["id"] == ref.partition("/")[2])
        writing.put(writing.marked(kept, "theirs"))
        reply = sink.update(ref, write.change(shown.body), shown.etag, before=shown.body)
        assert reply.outcome is Outcome.CONFLICT, reply.cause
        kept = next(one for one in writing.records(write.resource_type) if one["id"] == ref.partition("/")[2])
        assert kept["extension"][-1]["valueString"] == "theirs"
    changes = any(write.change is not None for write in writing.adapter.writes)
    say(writing, "keeps an edit of another", "yes" if changes else "not offered")


def test_what_the_vendor_does_not_take_is_not_sent(writing: Clinic, say: Say) -> None:
    sink = writing.sink()
    for write in writing.adapter.refuses:
        body = write.body(writing)
        sent = len(writing.journal())
        if write.change is None:
            reply = sink.create(body, OURS)
        else:
            reply = sink.update(f"{write.resource_type}/1", write.change(body), 'W/"1"', before=body)
        assert reply.outcome is Outcome.POISON
        assert reply.cause == "not_offered"
        assert len(writing.journal()) == sent
    if writing.adapter.refuses:
        say(writing, "sends nothing that is not taken")


def test_a_write_that_is_refused_for_its_content_is_not_tried_again(writing: Clinic, say: Say) -> None:
    write = writing.adapter.writes[0]
    writing.fault(writing.adapter.create_call(write, OURS), "status", status=422)
    reply = writing.sink().create(write.body(writing), OURS)
    assert reply.outcome is Outcome.POISON
    say(writing, "tells content that is refused")


def test_a_write_that_is_too_fast_is_put_off(writing: Clinic, say: Say) -> None:
    write = writing.adapter.writes[0]
    writing.fault(writing.adapter.create_call(write, OURS), "status", status=429, retry_after=3)
    reply = writing.sink().create(write.body(writing), OURS)
    assert reply.outcome is Outcome.REFUSED
    assert reply.retry_after_s is not None
    say(writing, "puts off a write that is too fast")
