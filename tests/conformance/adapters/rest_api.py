"""Any REST API, as the sandbox's CRM is one. It is written to, not read."""

from __future__ import annotations

from connector_runner.connectors.sinks import Json
from tests.conformance.clinic import Adapter, Clinic, Write


def a_contact(clinic: Clinic) -> Json:
    """A person whom nobody knows yet."""
    return {
        "resourceType": "Contact",
        "firstName": "Odalys",
        "lastName": "Quillfeather",
        "birthDate": "1961-02-03",
        "gender": "female",
    }


def renamed(body: Json) -> Json:
    """With another family name."""
    return {**body, "lastName": "Ravensworth"}


ADAPTER = Adapter(
    name="rest_api",
    source_type="rest_api",
    system="crm",
    settings=lambda origin: {
        "base_url": f"{origin}/api",
        "mapping": "crm",
        "records": {
            "Contact": {
                "path": "contacts",
                "external_id_field": "externalId",
                "create": "upsert",
                "upsert_path": "contacts/by-external-id/{external_id}",
                "search_param": "externalId",
                "list_field": "results",
                "version": "etag",
                "updated_field": "updatedAt",
                "read_only": ["createdAt", "version"],
                "known_by": {"lastName": "lastName", "birthDate": "birthDate"},
            }
        },
        "errors": {"code": "error.code", "field": "error.field", "outcomes": {"EXISTS": "poison"}},
        "sink": {"entity_types": ["patient"]},
    },
    reads=(),
    writes=(Write("Contact", a_contact, renamed),),
    create_calls={"Contact": "PUT contacts/by-external-id/*"},
)
