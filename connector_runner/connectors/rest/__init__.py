"""Any REST API that keeps records under paths, written to by what its settings say of it."""
