"""Epic, as its public statements and recorded answers show it."""

from __future__ import annotations

from ..bundle_pages import Behaviour
from ..store import Store
from . import Plain, Quirks


class Epic(Plain):
    """No conditional create, no ids of the client, no transactions."""

    def __init__(self, store: Store, behaviour: Behaviour) -> None:
        super().__init__()
        self.behaviour = {"client_ids": False, "conditional_create": False, "transactions": False}


def make(store: Store, behaviour: Behaviour) -> Quirks:
    """The quirks of one system."""
    return Epic(store, behaviour)
