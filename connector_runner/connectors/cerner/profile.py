"""How this vendor's server is read."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.fhir.profile import Profile

PROFILE: Final = Profile(vendor="cerner")
