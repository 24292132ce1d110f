"""What is asked of policy, and what it answers. Nouns only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, get_args

Action = Literal["read", "contact", "write"]
"""To show a record to somebody, to call or write to the patient, to send a record to an external system."""

Channel = Literal["phone", "sms", "email"]
"""The ways to reach a patient; phone is a call by voice."""

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)

TEST_CALLER: Final = "test_caller"
TEST_DATA: Final = "test_data"
RULE: Final = "workspace_rule"
LABEL: Final = "sensitivity_label"
WITHDRAWN: Final = "consent_withdrawn"
UNCLEAR: Final = "consent_unclear"
MISSING: Final = "consent_missing"
OPTED_OUT: Final = "opted_out"
LISTED: Final = "do_not_contact"

CODES: Final = frozenset({TEST_CALLER, TEST_DATA, RULE, LABEL, WITHDRAWN, UNCLEAR, MISSING, OPTED_OUT, LISTED})
"""Every reason for which policy refuses."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done with a record (``entity_type`` and FHIR's ``resource_type``).

    ``purpose`` is a code of v3-PurposeOfUse. ``recipient`` is the sink, or who reads. ``labels`` are the security
    labels of the record, of those that count for the same entity and of the patient; ``codes`` the codes of what it
    says, ``refs`` the names that it goes by: None where they are not told, and then a condition on them limits a
    permission and does not limit a refusal.
    """

    entity_type: str
    resource_type: str
    recipient: str
    purpose: str = "TREAT"
    action: Action = "write"
    channel: Channel | None = None
    labels: frozenset[str] | None = None
    codes: frozenset[str] | None = None
    refs: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """One reason against it: a code, and what it rests on (``consent:<id>``, ``rule:<name>``, ``label:<category>``)."""

    code: str
    rests_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it may be done: no ``refused``, it may. The first is the reason that is kept.

    ``fields`` may not be shared though the rest may: field -> why. ``changes_at``: when time alone may change this.
    """

    refused: tuple[Refused, ...] = ()
    fields: dict[str, Refused] = field(default_factory=dict)
    changes_at: datetime | None = None

    @property
    def allowed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.refused

    @property
    def code(self) -> str | None:
        """The first reason."""
        return self.refused[0].code if self.refused else None
