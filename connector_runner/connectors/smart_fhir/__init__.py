"""A FHIR R4 server that asks for tokens by SMART Backend Services, read and written."""
