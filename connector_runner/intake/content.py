"""What a resource says, as a hash."""

from __future__ import annotations

from typing import Any

from connector_runner.infra import quick_json

# Not content: they change without anything having been said (FHIR R4, Resource.meta and DomainResource.text).
_VOLATILE_META = ("lastUpdated", "versionId")


def content_hash(resource: dict[str, Any]) -> bytes:
    """The digest of what a resource says, number tokens included; generated narrative and stamps left out.

    ``resource`` comes from ``exact_json.loads``.
    """
    content = resource.copy()
    text, meta = content.pop("text", None), content.pop("meta", None)
    if text is not None and not (isinstance(text, dict) and text.get("status") == "generated"):
        content["text"] = text
    if isinstance(meta, dict):
        meta = {key: value for key, value in meta.items() if key not in _VOLATILE_META}
    if meta:
        content["meta"] = meta
    return quick_json.digest(content)
