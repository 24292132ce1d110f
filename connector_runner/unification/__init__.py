"""Raw record and mapping rules in, facts out; a pure engine."""
