"""Stand-ins for models and data: a dry run of any profile, in minutes."""
