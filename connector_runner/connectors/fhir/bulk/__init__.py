"""The client of FHIR Bulk Data exports (HL7 Bulk Data Access IG, versions 1 to 4 where they differ)."""
