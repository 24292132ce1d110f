"""From what a body returned to the hints that follow it. They are sent after its transactions committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from connector_runner.connectors import directory
from connector_runner.infra.queue import (
    DRAIN,
    IMPORT,
    POLL,
    PROBE_SOURCE,
    RECEIVE,
    RECONCILE_SINK,
    RECOUNT_WORKSPACE,
    RELEASE,
    RESOLVE,
    REVIEW,
    REVIEW_TEND_WORKSPACE,
    SAMPLE,
    SHELVE,
    TRANSLATE,
    Hint,
    sink_queue,
)
from connector_runner.intake.polling import Polled
from connector_runner.observability import store
from tasks.process import runner


def all_of(outcome: Iterable[Hint], arguments: dict[str, Any]) -> Iterable[Hint]:
    """The outcome is the hints."""
    return outcome


def changed(workspace_id: str) -> Iterator[Hint]:
    """Entities of a workspace changed: they may have to leave, and may be the same as others."""
    yield Hint.of(RELEASE, workspace_id=workspace_id)
    yield Hint.of(RESOLVE, workspace_id=workspace_id)


def after_change(outcome: object, arguments: dict[str, Any]) -> Iterator[Hint]:
    """What landed or was folded anew is released and compared."""
    if outcome:
        yield from changed(arguments["workspace_id"])


def after_import(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """What the slice landed is compared; an import that the slice cut off goes on."""
    yield Hint.of(RESOLVE, workspace_id=arguments["workspace_id"])
    if outcome.more:
        yield Hint.of(IMPORT, **arguments)


def after_poll(outcome: Sequence[Polled], arguments: dict[str, Any]) -> Iterator[Hint]:
    """What landed is released and compared; a poll that its slice cut off goes on."""
    for workspace_id in dict.fromkeys(polled.workspace_id for polled in outcome if polled.outcome):
        yield from changed(workspace_id)
    for polled in outcome:
        if polled.outcome.more:
            yield Hint.of(
                POLL,
                workspace_id=polled.workspace_id,
                data_source_id=polled.data_source_id,
                resource_type=polled.resource_type,
            )


def after_push(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """What landed is released and compared; what could not be read by itself is polled; a slice cut off goes on."""
    if outcome:
        yield from changed(arguments["workspace_id"])
    yield from polls_after(sorted(outcome.polls), arguments)
    if outcome.more:
        yield Hint.of(RECEIVE, **arguments)


def polls_after(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """The outcome is record types of the source that are due."""
    for resource_type in outcome:
        yield Hint.of(POLL, resource_type=resource_type, **arguments)


def drain_after(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """Each sink that got something to do; and the release itself, when more entities wait for it."""
    workspace_id = arguments["workspace_id"]
    for sink in outcome.sinks:
        queue = sink_queue(_slug(workspace_id), sink.name)
        yield Hint.of(DRAIN, queue=queue, workspace_id=workspace_id, sink_id=sink.sink_id)
    if outcome.more:
        yield Hint.of(RELEASE, workspace_id=workspace_id)


def drain_again(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """A drain that its slice cut off goes on, behind others in its queue; one that could do nothing waits."""
    if outcome.more and outcome.outcomes:
        yield Hint.of(DRAIN, queue=_queue_of(**arguments), **arguments)


def reconcile_due(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """Each sink's walk on the common queue, as it asks the sink nothing; its sample where its own requests wait."""
    for due in outcome:
        ids = {"workspace_id": due.workspace_id, "sink_id": due.sink_id}
        if due.walk:
            yield Hint.of(RECONCILE_SINK, **ids)
        if due.sample:
            yield Hint.of(SAMPLE, queue=sink_queue(due.slug, due.name), **ids)


def after_reconcile(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """What was found is released or drained; a walk that its slice cut off goes on."""
    if outcome.release:
        yield Hint.of(RELEASE, workspace_id=arguments["workspace_id"])
    if outcome.drain:
        yield Hint.of(DRAIN, queue=_queue_of(**arguments), **arguments)
    if outcome.more:
        yield Hint.of(RECONCILE_SINK, **arguments)


def after_sample(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """What somebody else edited is planned anew."""
    if outcome.release:
        yield Hint.of(RELEASE, workspace_id=arguments["workspace_id"])


def probes_due(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """Each source whose turn it is."""
    for due in outcome:
        yield Hint.of(PROBE_SOURCE, workspace_id=due.workspace_id, data_source_id=due.data_source_id)


def after_translation(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """What waited for an answer is released; more of them are asked for at once."""
    if outcome.outcomes:
        yield Hint.of(RELEASE, workspace_id=arguments["workspace_id"])
    if outcome.more:
        yield Hint.of(TRANSLATE, **arguments)


@lru_cache(maxsize=10_000)
def _slug(workspace_id: str) -> str:
    """A workspace's slug, which never changes."""
    with runner().database.begin(workspace_id) as tx:
        return str(store.workspaces(tx)[0]["slug"])


@lru_cache(maxsize=10_000)
def _queue_of(workspace_id: str, sink_id: str) -> str:
    """The queue of a sink; neither its name nor the slug ever changes."""
    with runner().database.begin(workspace_id) as tx:
        return sink_queue(_slug(workspace_id), directory.load(tx, workspace_id, sink_id).name)


def after_resolution(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """More of them are compared at once; sinks may wait for those that were."""
    if outcome.more:
        yield Hint.of(RESOLVE, **arguments)
    if outcome.compared:
        yield Hint.of(RELEASE, workspace_id=arguments["workspace_id"])


def counts_due(outcome: Iterable[str], arguments: dict[str, Any]) -> Iterator[Hint]:
    """Each workspace by itself, its names and its keys."""
    for workspace_id in outcome:
        yield Hint.of(RECOUNT_WORKSPACE, workspace_id=workspace_id)
        yield Hint.of(SHELVE, workspace_id=workspace_id)


def after_count(outcome: int, arguments: dict[str, Any]) -> Iterator[Hint]:
    """Who waits for the new count is compared at once."""
    if outcome:
        yield Hint.of(RESOLVE, **arguments)


def after_shelving(outcome: bool, arguments: dict[str, Any]) -> Iterator[Hint]:
    """The keys that are left go on at once."""
    if outcome:
        yield Hint.of(SHELVE, workspace_id=arguments["workspace_id"], turn=arguments.get("turn", 0) + 1)


def after_review(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """What is believed more by now is released; more of them are judged at once."""
    if outcome:
        yield Hint.of(RELEASE, **arguments)
    if outcome.more:
        yield Hint.of(REVIEW, **arguments)


def reviews_to_tend(outcome: Iterable[str], arguments: dict[str, Any]) -> Iterator[Hint]:
    """Each workspace by itself."""
    for workspace_id in outcome:
        yield Hint.of(REVIEW_TEND_WORKSPACE, workspace_id=workspace_id)


def after_tending(outcome: Any, arguments: dict[str, Any]) -> Iterator[Hint]:
    """What nobody had noted is judged at once."""
    if outcome.found:
        yield Hint.of(REVIEW, **arguments)
