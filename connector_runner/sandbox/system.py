"""One simulated system: its resources, how it behaves, and what befalls it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from .api import Api, CrmApi, FhirApi
from .authorization import Authorization
from .authorization.resource import with_addresses
from .bundle_pages import Behaviour
from .commits import CommitFile
from .contacts import Contacts
from .faults import Faults
from .fhir_json import Json, dumps, loads
from .journal import Journal
from .life import Life
from .limits import RateLimit
from .messages import Answer, Request
from .outcomes import FhirError
from .people import population
from .store import Store, wall_clock_ms
from .subscriptions import SubscribedInteractions, Subscriptions
from .vendors import Quirks, quirks_of


@dataclass(frozen=True, slots=True)
class Start:
    """How a system begins: without ``state`` it forgets everything when it ends. One named ``crm`` is a CRM.

    ``vendor``: whose EHR it is like. ``auth``: "smart" where it asks for tokens;
    ``clients`` is a file with those that are registered from the start.
    """

    name: str
    seed: int = 7
    patients: int = 0
    state: Path | None = None
    vendor: str = ""
    auth: str = ""
    clients: Path | None = None


@dataclass(slots=True)
class System:
    """Everything of one system."""

    start: Start
    behaviour: Behaviour = field(default_factory=Behaviour)
    limit: RateLimit = field(default_factory=RateLimit)
    authorization: Authorization = field(default_factory=Authorization)
    late: set[asyncio.Task[None]] = field(default_factory=set)
    store: Store = field(init=False)
    journal: Journal = field(init=False)
    faults: Faults = field(init=False)
    life: Life = field(init=False)
    api: Api = field(init=False)
    quirks: Quirks = field(init=False)
    subscriptions: Subscriptions = field(init=False)

    def __post_init__(self) -> None:
        state = self.start.state
        self.store = Store(CommitFile(state) if state else None)
        self.journal = Journal(state)
        self.faults = Faults(self.start.seed)
        self.life = Life(self.store, self.start.seed)
        self.quirks = quirks_of(self.start.vendor, self.store, self.behaviour)
        self.subscriptions = Subscriptions(self.store)
        self._behave({})
        self._register()
        if self.start.name == "crm":
            self.api = CrmApi(Contacts(self.store, self.behaviour))
        else:
            interactions = SubscribedInteractions(self.store, self.behaviour, self.start.name, self.subscriptions)
            self.api = FhirApi(interactions)
        if self.store.is_empty:
            self._seed()

    def _seed(self) -> None:
        people = list(population(self.start.seed, self.start.patients)) if self.start.patients else []
        resources = self.quirks.native(people)
        # The past in which they were written is as long in seconds as they are many.
        first = wall_clock_ms() - 1000 * (len(resources) + 1)
        for place, resource in enumerate(resources):
            self.store.put(resource["resourceType"], resource["id"], resource, "PUT", at_ms=first + 1000 * place)
        self.store.commit()

    def reset(self, *, empty: bool) -> None:
        """Back to the start: seeded resources or none, no faults, no limit, no journal, default behaviour."""
        for task in list(self.late):
            task.cancel()
        self.store.clear()
        self.store.resolution_ms = 1
        self.journal.clear()
        self.faults.replace([])
        self.limit.change(0, 1)
        self.authorization.reset()
        self._register()
        self._behave(vars_of(Behaviour()))
        self.quirks.reset()
        self.subscriptions.reset()
        self.life.restart()
        if not empty:
            self._seed()

    def _register(self) -> None:
        if self.start.clients is not None:
            self.authorization.register(loads(self.start.clients.read_bytes()))

    def _behave(self, usual: dict[str, str | int | bool]) -> None:
        for name, value in {**usual, "auth": self.start.auth, **self.quirks.behaviour}.items():
            setattr(self.behaviour, name, value)

    def _stated(self, request: Request, statement: Json) -> Json:
        if self.behaviour.auth and self.authorization.conduct.discovery == "metadata":
            return with_addresses(statement, request.base_url.removesuffix(self.api.base))
        return statement

    def perform(self, request: Request) -> Answer:
        """Answer a request in full: what it wrote is committed, or nothing is."""
        try:
            answer = self.quirks.routes[request.route](request) if request.route else self.api.perform(request)
        except FhirError as error:
            self.store.rollback()
            return self.quirks.after(request, self.api.refusal(error))
        except BaseException:
            self.store.rollback()
            raise
        answer.committed = tuple(version.reference for version in self.store.commit())
        if request.path == "metadata" and not request.route and answer.status == 200:
            answer.body = dumps(self._stated(request, self.quirks.capability(loads(answer.body))))
        return self.quirks.after(request, answer)


def vars_of(behaviour: Behaviour) -> dict[str, str | int | bool]:
    """The settings by name."""
    return {name: getattr(behaviour, name) for name in Behaviour.__dataclass_fields__}
