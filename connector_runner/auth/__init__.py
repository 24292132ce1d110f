"""Who may do what: workspaces and the keys of those who call."""
