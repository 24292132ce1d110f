"""Every action that the log knows: what it means, whether it is chained or noted, and what FHIR calls it.

``docs/audit.md`` is made of this table (``connector-runner audit actions --markdown``), and a test holds every call
in the code against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["read", "configuration", "credential", "record", "verdict", "operation", "log"]
Code = Literal["C", "R", "U", "D", "E"]

PROVENANCE: Final = frozenset({"record", "verdict"})
"""Kinds that say where a record has what it says from; FHIR's Provenance. All others are AuditEvents."""


@dataclass(frozen=True, slots=True)
class Action:
    """``code``: create, read, update, delete, execute (FHIR audit-event-action).

    ``noted``: written beside the chain and sealed into it within a second.
    """

    name: str
    kind: Kind
    code: Code
    meaning: str
    noted: bool = False


def _read(name: str, meaning: str) -> Action:
    return Action(name, "read", "R", meaning, noted=True)


_ALL: Final = (
    Action("workspace.created", "configuration", "C", "a workspace was made"),
    Action("source.apply", "configuration", "U", "a data source was created or changed, its sink among it"),
    Action("source.test", "operation", "E", "a source was probed by a person"),
    Action("source.sync", "operation", "E", "a poll was asked for, incremental or full"),
    Action("source.export", "operation", "E", "a bulk export was asked for"),
    Action("policy.applied", "configuration", "U", "rules of the workspace about consent and sources were changed"),
    Action("review.policy_changed", "configuration", "U", "what may pass without a person was changed"),
    Action("review.category_suspended", "configuration", "U", "a category of the judge goes to people again"),
    Action("review.category_restored", "configuration", "U", "the judge decides a category again"),
    Action("alert.acknowledged", "operation", "U", "a person has seen an alert"),
    Action("api_key.created", "credential", "C", "a key for the API was made"),
    Action("client_key.created", "credential", "C", "a signing key was made"),
    Action("client_key.imported", "credential", "C", "a signing key made elsewhere was taken in"),
    Action("client_key.rotated", "credential", "U", "a signing key is followed by the next"),
    Action("client_key.retired", "credential", "D", "a signing key signs no more"),
    Action("secret.set", "credential", "U", "a value of the encrypted table was set or replaced"),
    Action("secret.removed", "credential", "D", "a value of the encrypted table was deleted"),
    Action("push.secret_made", "credential", "C", "a secret for deliveries was made"),
    Action(
        "push.secret_rotated", "credential", "U", "a secret for deliveries was changed; the older counts for a while"
    ),
    Action("import.begun", "operation", "C", "files are imported"),
    Action("event.append", "record", "C", "events were appended, as an agent, a form or a person writes", noted=True),
    Action("material.added", "record", "C", "a transcript was kept"),
    Action("record.rolled_back", "record", "U", "an older version of a record was accepted as its present one"),
    Action("outbound.write", "record", "U", "a request to a sink and what came of it", noted=True),
    Action("outbound.retry", "operation", "E", "lanes were put back"),
    Action("outbound.undo", "record", "U", "writes were taken back"),
    Action("outbound.repair", "record", "U", "writes were taken back because a link was"),
    Action("outbound.adopted", "record", "U", "a record of a sink was said to be one of ours"),
    Action("outbound.not_a_duplicate", "record", "U", "a record of a sink was said to be none of ours"),
    Action("policy.refused", "operation", "E", "consent or policy kept a write from a sink"),
    Action("translation.decided", "verdict", "U", "a person gave a text its code"),
    Action("quarantine.replay_asked", "operation", "E", "quarantined entries are to be tried again"),
    Action("quarantine.replayed", "operation", "E", "what became of them"),
    Action("quarantine.discarded", "operation", "D", "quarantined entries were given up"),
    Action("verdict.approved", "verdict", "U", "an event was found true"),
    Action("verdict.rejected", "verdict", "U", "an event was found untrue"),
    Action("review.claimed", "operation", "U", "a person has taken an item of the queue"),
    Action("review.unclaimed", "operation", "U", "a person has given it back"),
    Action("review.approved", "verdict", "U", "a person has approved an item"),
    Action("review.rejected", "verdict", "U", "a person has rejected an item"),
    Action("review.corrected", "verdict", "U", "a person has corrected what an item says"),
    Action("review.refused", "operation", "E", "an answer came too late: what the item is about has changed"),
    Action("review.expired", "operation", "U", "an item was answered by nobody"),
    Action("review.reopened", "operation", "U", "an item that nobody answered is asked again"),
    Action("review.lapsed", "operation", "U", "an item was given back, as who had claimed it did not answer"),
    Action("link.same", "verdict", "C", "a person said that two records are one"),
    Action("link.different", "verdict", "D", "a person said that two records are not one"),
    Action("link.made", "record", "C", "two records count as one from now on", noted=True),
    Action("link.parted", "record", "D", "two records count as one no more", noted=True),
    _read("entity.list", "entities were listed"),
    _read("entity.show", "an entity was shown"),
    _read("entity.explain", "an entity was explained"),
    _read("entity.timeline", "the events of an entity were listed"),
    _read("entity.history", "what the events of an entity state was shown"),
    _read("link.list", "links were listed"),
    _read("clusters.export", "which records are one was exported"),
    _read("outbound.preview", "what a sink would be sent was shown"),
    _read("outbound.log", "what sinks were sent was shown"),
    _read("outbound.undo_shown", "what an undo would do was shown"),
    _read("outbound.gaps", "what is missing of records was listed"),
    _read("outbound.steps", "what one cause made was shown"),
    _read("quarantine.show", "a quarantined entry was shown"),
    _read("translation.list", "texts without a code were listed"),
    _read("review.show", "an item of the queue was shown"),
    _read("material.disclosed", "excerpts of a conversation were sent to the language model"),
    _read("policy.show", "the rules of the workspace were shown"),
    _read("policy.check", "whether something may be done for a patient was asked"),
    _read("audit.list", "the log was read"),
    Action("audit.export", "log", "R", "the log was exported"),
    Action("audit.anchored", "log", "C", "the chain was anchored"),
    Action("reads.sealed", "log", "C", "notes were sealed into the chain"),
    Action("purge", "log", "D", "records were deleted for retention or offboarding"),
)
ACTIONS: Final = {action.name: action for action in _ALL}


def action_of(name: str) -> Action:
    """The action of that name; one that this version does not know is an operation."""
    return ACTIONS.get(name) or Action(name, "operation", "E", "")


def markdown() -> str:
    """The table of ``docs/audit.md``."""
    lines = ["| action | kind | kept | what it says |", "|---|---|---|---|"]
    for action in _ALL:
        kept = "noted, sealed" if action.noted else "chained"
        lines.append(f"| `{action.name}` | {action.kind} | {kept} | {action.meaning} |")
    return "\n".join(lines) + "\n"
