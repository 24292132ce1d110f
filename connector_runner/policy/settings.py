"""What a workspace lays down: who may not be reached, whose records never leave, what labels ask for, its own rules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from connector_runner.policy.asking import Action, Channel
from connector_runner.policy.consent import Mode
from connector_runner.policy.labels import Category, Demand
from connector_runner.policy.purposes import Purpose

_MAX_LISTED: Final = 10_000
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_WORD: Final = re.compile(r"[a-z][a-z0-9_]*")
_ALIASES: Final = {"person": "patient"}
_PLACE: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _number(text: str) -> str:
    if not _E164.fullmatch(text):
        raise ValueError("must be a telephone number in E.164, as +16175550100")
    return text


Number = Annotated[str, AfterValidator(_number)]


def _entity_type(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError("must be an entity type, as appointment")
    return _ALIASES.get(text, text)


def _field_name(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError("must be a field of an entity as a whole, as telecom")
    return text


EntityType = Annotated[str, AfterValidator(_entity_type)]
FieldName = Annotated[str, AfterValidator(_field_name)]


def _aliased(place: str) -> str:
    kind, dot, field = place.partition(".")
    return f"{_ALIASES.get(kind, kind)}{dot}{field}"


class Unreachable(_Strict):
    """A number or an e-mail address that is not to be used; ``channels``: in these ways, all that it serves if none."""

    number: Number | None = None
    email: str | None = Field(None, pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)
    channels: tuple[Channel, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> Unreachable:
        if (self.number is None) == (self.email is None):
            raise ValueError("give a number or an email")
        return self

    def bars(self, channel: Channel) -> bool:
        """Whether it is not to be used in this way."""
        served = ("email",) if self.email is not None else ("phone", "sms")
        return channel in (self.channels or served)


class Rule(_Strict):
    """A refusal of the workspace's own: of what meets every condition that it states. It never permits.

    With ``fields`` it is about these alone, and the rest of the record is not touched. ``labels`` are categories.
    """

    name: str = Field(pattern=_NAME)
    actions: tuple[Action, ...] = Field(min_length=1)
    sinks: tuple[str, ...] = ()
    entity_types: tuple[EntityType, ...] = ()
    purposes: tuple[Purpose, ...] = ()
    channels: tuple[Channel, ...] = ()
    labels: tuple[Category, ...] = ()
    fields: tuple[FieldName, ...] = ()


class ConsentModes(_Strict):
    """Whether consent is asked for to read and to reach a patient; to write is a setting of each sink."""

    read: Mode = "opt_out"
    contact: Mode = "opt_out"


class PolicySettings(_Strict):
    """The policy of a workspace.

    ``test_callers``: whose records never leave for a sink. ``do_not_contact``: who is not to be reached.
    ``labels``: category -> action -> what it asks for, in place of what is usual. ``without_review``: a source (an
    agent's kind as ``voice_agent``, or a data source by name) -> entity types, or their fields, of which its word
    needs no review; a source that is named needs it for everything else.
    """

    version: Literal[1] = 1
    test_callers: tuple[Number, ...] = Field((), max_length=_MAX_LISTED)
    do_not_contact: tuple[Unreachable, ...] = Field((), max_length=_MAX_LISTED)
    labels: dict[Category, Demand | dict[Action, Demand]] = Field(default_factory=dict)
    consent: ConsentModes = ConsentModes()
    rules: tuple[Rule, ...] = Field((), max_length=1000)
    without_review: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @field_validator("rules")
    @classmethod
    def _named_once(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        if len({rule.name for rule in value}) != len(value):
            raise ValueError("two rules have the same name")
        return value

    @field_validator("without_review")
    @classmethod
    def _places(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for places in value.values():
            if not all(_PLACE.fullmatch(place) for place in places):
                raise ValueError("names entity types as `appointment`, or fields as `patient.telecom`")
        return {source: tuple(map(_aliased, places)) for source, places in value.items()}

    @cached_property
    def demands(self) -> dict[str, dict[Action, Demand]]:
        """``labels``, each action by itself."""
        return {
            kind: dict(stated) if isinstance(stated, dict) else {"read": stated, "contact": stated, "write": stated}
            for kind, stated in self.labels.items()
        }

    @cached_property
    def tested(self) -> frozenset[str]:
        """The numbers of test callers."""
        return frozenset(self.test_callers)

    def barred(self, channel: Channel, numbers: Iterable[str], emails: Iterable[str]) -> bool:
        """Whether one of these numbers or addresses is not to be used in this way."""
        known = {*numbers, *(email.lower() for email in emails)}
        return any(
            (each.number or (each.email or "").lower()) in known for each in self.do_not_contact if each.bars(channel)
        )

    def reviewed(self, source: str, entity_type: str, field: str) -> bool | None:
        """Whether what a source says of a field needs review; None where that is as usual for such a source."""
        places = self.without_review.get(source)
        if places is None:
            return None
        return entity_type not in places and f"{entity_type}.{field}" not in places
