"""A population that keeps changing by itself, as that of a clinic does."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from .addresses import house, phone_digits, phone_text
from .demographics import new_id
from .fhir_json import Json
from .search_index import many
from .store import Store, Version
from .vocabulary import VITALS

log = logging.getLogger(__name__)

_NEXT_STATUS = {
    "proposed": ("pending", "booked"),
    "pending": ("booked",),
    "booked": ("arrived", "cancelled", "noshow", "checked-in"),
    "checked-in": ("arrived",),
    "arrived": ("fulfilled",),
}
_TRIES = 20


class Life:
    """Makes changes, each a commit of its own. It alters what fits and leaves alone what others wrote oddly."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store = store
        self._seed = seed
        self._task: asyncio.Task[None] | None = None
        self._kinds: dict[str, tuple[int, Callable[[], Version | None]]] = {
            "phone": (20, self._phone),
            "address": (12, self._address),
            "appointment_status": (22, self._appointment_status),
            "new_appointment": (16, self._new_appointment),
            "new_observation": (22, self._new_observation),
            "delete": (4, self._delete),
            "entered_in_error": (4, self._entered_in_error),
        }
        # What changes does not depend on how often the process was started.
        self._random = random.Random(f"{seed}:life:{store.last_seq}")

    def restart(self) -> None:
        """Stop, and begin again with the same chances."""
        self.every(0)
        self._random = random.Random(f"{self._seed}:life:0")

    def every(self, seconds: float) -> None:
        """Make a change every so many seconds from now on; 0 stops."""
        if seconds < 0:
            raise ValueError("seconds are at least 0")
        if self._task:
            self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._live(seconds)) if seconds else None

    async def _live(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                self.change(1)
            except Exception:
                log.exception("a change failed")

    def change(self, count: int) -> list[Json]:
        """Make ``count`` changes now; what was changed, fewer when nothing is there to change."""
        done: list[Json] = []
        names = list(self._kinds)
        weights = [self._kinds[name][0] for name in names]
        for _ in range(count):
            for _ in range(_TRIES):
                name = self._random.choices(names, weights=weights)[0]
                version = self._kinds[name][1]()
                if version:
                    self._store.commit()
                    done.append(
                        {
                            "change": name,
                            "resource": version.reference,
                            "version": str(version.number),
                            "method": version.method,
                        }
                    )
                    break
        return done

    def _any(self, resource_type: str) -> Json | None:
        found = self._store.live(resource_type)
        return self._random.choice(found).resource() if found else None

    def _save(self, resource: Json, method: str = "PUT") -> Version:
        return self._store.put(resource["resourceType"], resource["id"], resource, method)

    def _phone(self) -> Version | None:
        resource = self._any("Patient")
        points = [] if resource is None else [p for p in many(resource.get("telecom")) if isinstance(p, dict)]
        phones = [point for point in points if point.get("system") == "phone"]
        if resource is None or not phones:
            return None
        self._random.choice(phones)["value"] = phone_text(self._random, phone_digits(self._random))
        return self._save(resource)

    def _address(self) -> Version | None:
        resource = self._any("Patient")
        if resource is None:
            return None
        resource["address"] = [{"use": "home", **house(self._random).resource()}]
        return self._save(resource)

    def _appointment_status(self) -> Version | None:
        resource = self._any("Appointment")
        following = _NEXT_STATUS.get(str(resource.get("status"))) if resource else None
        if resource is None or following is None:
            return None
        resource["status"] = self._random.choice(following)
        return self._save(resource)

    def _new_appointment(self) -> Version | None:
        resource, other = self._any("Appointment"), self._any("Patient")
        if resource is None or other is None or not isinstance(resource.get("participant"), list):
            return None
        start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        start += timedelta(days=self._random.randrange(1, 60), minutes=self._random.choice((0, 15, 30, 45)))
        participants = [item for item in resource["participant"] if "Patient/" not in str(item)]
        participants.insert(0, {"actor": {"reference": f"Patient/{other['id']}"}, "status": "accepted"})
        resource.update(
            id=new_id(self._random),
            status="booked",
            identifier=[
                {
                    "system": "https://ehr.sandbox.example/appointment",
                    "value": f"APT{self._random.randrange(10**8):08d}",
                }
            ],
            start=start.isoformat(timespec="seconds"),
            end=(start + timedelta(minutes=30)).isoformat(timespec="seconds"),
            minutesDuration=30,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            participant=participants,
        )
        resource.pop("meta", None)
        return self._save(resource, "POST")

    def _new_observation(self) -> Version | None:
        patient = self._any("Patient")
        if patient is None:
            return None
        code, display, unit, ucum, low, high, digits = self._random.choice(VITALS)
        value: Any = Decimal(f"{self._random.uniform(low, high):.{digits}f}")
        category = {
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "vital-signs",
            "display": "Vital signs",
        }
        now = datetime.now(UTC)
        resource = {
            "resourceType": "Observation",
            "id": new_id(self._random),
            "status": "final",
            "category": [{"coding": [category], "text": "Vital signs"}],
            "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}], "text": display},
            "subject": {"reference": f"Patient/{patient['id']}"},
            "effectiveDateTime": now.isoformat(timespec="seconds"),
            "issued": now.isoformat(timespec="milliseconds"),
            "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": ucum},
        }
        return self._save(resource, "POST")

    def _delete(self) -> Version | None:
        resource = self._any(self._random.choice(("Appointment", "Observation", "Immunization")))
        return self._store.delete(resource["resourceType"], resource["id"]) if resource else None

    def _entered_in_error(self) -> Version | None:
        resource = self._any(self._random.choice(("Observation", "MedicationRequest", "Immunization", "Procedure")))
        if resource is None or resource.get("status") == "entered-in-error":
            return None
        resource["status"] = "entered-in-error"
        return self._save(resource)
