"""Land raw records and move the cursor, in one transaction."""
