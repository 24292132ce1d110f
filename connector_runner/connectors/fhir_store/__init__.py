"""A FHIR R4 store without a vendor's quirks, read and written."""
