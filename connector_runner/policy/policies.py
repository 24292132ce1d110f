"""The policy of a workspace as it holds now, read once a version in each process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from connector_runner.infra.database import Tx, once
from connector_runner.policy import store
from connector_runner.policy.settings import PolicySettings

USUAL: Final = PolicySettings()
"""Of a workspace that never laid anything down."""

_KEPT: Final = 256
_known: OrderedDict[tuple[str, int], PolicySettings] = OrderedDict()
_lock = threading.Lock()


def current(tx: Tx, workspace_id: str) -> PolicySettings:
    """What holds as of when the transaction first asked."""
    return once(tx, "policy", lambda: of_version(tx, workspace_id, store.version(tx, workspace_id)))


def of_version(tx: Tx, workspace_id: str, version: int) -> PolicySettings:
    """The policy whose version was seen in this transaction; a later one where it was changed since."""
    if version == 0:
        return USUAL
    with _lock:
        known = _known.get((workspace_id, version))
    if known is not None:
        return known
    found, document = store.body(tx, workspace_id)
    policy = PolicySettings.model_validate(document)
    with _lock:
        _known[workspace_id, found] = policy
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return policy
