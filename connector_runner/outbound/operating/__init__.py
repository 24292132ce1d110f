"""What people see of the writes, and what they may do: preview, undo, replay."""
