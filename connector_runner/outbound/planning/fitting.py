"""Whether a sink's settings and the mappings of its system fit together: what does not would silently do nothing. Pure.

The settings alone cannot tell, for entity types are an open set and mappings are files of the installation.
"""

from __future__ import annotations

from connector_runner.connectors.settings import SourceSettings
from connector_runner.kernel.errors import Misconfigured
from connector_runner.unification.loader import MappingSet


def require_fit(settings: SourceSettings, mappings: MappingSet, *, file: str, at: str) -> None:
    """Raise Misconfigured, with the key, for an entity type that no mapping writes, or a field that its own does not.

    ``at`` is where the settings are in the file.
    """
    types = settings.sink.entity_types if settings.sink is not None else {}
    for name, entity in types.items():
        if not entity.enabled:
            continue
        key = f"{at}.sink.entity_types.{name}"
        mapping = mappings.outbound(settings.mapping, name)
        if mapping is None:
            raise _misfit(f"no mapping of {settings.mapping} writes such a type", file, key)
        unknown = sorted(set(entity.owns or ()) - mapping.fields().keys())
        if unknown:
            raise _misfit("names a field that the mapping does not write", file, f"{key}.owns")


def _misfit(message: str, file: str, key: str) -> Misconfigured:
    return Misconfigured(message, code="settings", where=": ".join(part for part in (file, key) if part))
