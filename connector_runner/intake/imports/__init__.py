"""Import files: FHIR Bundles, NDJSON and single resources of any size, a chunk a transaction."""
