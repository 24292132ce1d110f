"""What polling works with, and a data source opened for reading."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from connector_runner.auth.opening import Credentials
from connector_runner.connectors import registry
from connector_runner.connectors.base import DataSource, Opening, Source, site_of
from connector_runner.connectors.gate import through
from connector_runner.connectors.probing import capability_store
from connector_runner.connectors.probing.findings import Known, measured_of
from connector_runner.infra import secrets
from connector_runner.infra.database import Database
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.intake.landing import Intake, Origin, Rejects
from connector_runner.intake.read_gate import Gates, Patience, Turn
from connector_runner.intake.roster import KnownPatients


class Deps(Protocol):
    """What polling works with."""

    @property
    def database(self) -> Database:
        """Postgres."""

    @property
    def intake(self) -> Intake:
        """Lands records."""

    @property
    def quarantine(self) -> Rejects:
        """Keeps what is no record."""

    @property
    def http(self) -> HTTP:
        """The way out."""

    @property
    def sealer(self) -> Sealer:
        """Opens secrets."""

    @property
    def gates(self) -> Gates:
        """Keeps requests within what sources take."""


def open_source(
    deps: Deps,
    source: DataSource,
    *,
    turn: Turn = Turn.INTERACTIVE,
    waited: float = 0.0,
    patience: Patience | None = None,
    known: Sequence[Known] | None = None,
) -> Source:
    """The inbound side of a data source; Misconfigured (``not_polled``) when it has none.

    It is opened as ``opening_of`` says; raises what that does.
    """
    return registry.open_source(
        source, opening_of(deps, source, turn=turn, waited=waited, patience=patience, known=known)
    )


def opening_of(
    deps: Deps,
    source: DataSource,
    *,
    turn: Turn = Turn.INTERACTIVE,
    waited: float = 0.0,
    patience: Patience | None = None,
    known: Sequence[Known] | None = None,
) -> Opening:
    """What a connector of this data source is opened with.

    ``turn`` is what its requests are for, ``waited`` for how many cadences it is late and ``patience`` how long they
    wait for their turn: as ``Gates.of`` takes them.
    Its secrets are read when they are needed; only those of the table take a transaction. It is read as it was
    measured: as ``known`` says, or another transaction. Raises Unavailable when Postgres cannot be asked.
    """

    def reveal(reference: str) -> str:
        if not reference.startswith("secret:"):
            return secrets.resolve(reference)
        with deps.database.begin(source.workspace_id) as tx:
            return secrets.resolve(reference, tx, source.workspace_id, deps.sealer)

    if known is None:
        with deps.database.begin(source.workspace_id) as tx:
            known = capability_store.matrix(tx, source.workspace_id, source.data_source_id)
    roster = KnownPatients(deps.database, source.workspace_id, source.name)
    gate = deps.gates.of(source, turn, waited=waited, patience=patience)
    passage = partial(through, gate) if source.settings.tokens_in_quota else None
    credentials = Credentials(deps.database, deps.http, deps.sealer)
    return Opening(
        deps.http,
        reveal,
        measured=measured_of(known),
        roster=roster,
        open_credential=credentials.opener(site_of(source), reveal, passage=passage),
        gate=gate,
    )


def origin_of(source: DataSource) -> Origin:
    """How what a source says is to be taken."""
    settings = source.settings
    return Origin(
        data_source_id=source.data_source_id,
        name=source.name,
        system=settings.mapping,
        confidence=settings.confidence,
        base_url=settings.base,
        region=settings.default_region,
        numeric_versions=settings.numeric_versions,
    )
