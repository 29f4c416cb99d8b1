"""Every parameter of a run: its meaning, its default, and the record of what made a result."""
