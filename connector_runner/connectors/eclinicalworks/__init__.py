"""eClinicalWorks (healow FHIR R4): read patient by patient or by date, written to by questionnaire responses."""
