"""The FHIR R4 REST protocol, both ways, for every system that speaks it; what differs by vendor is handed in."""
