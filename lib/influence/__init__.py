"""Notebook 05: from a table of scores to what each category did, and how much of it would come back."""
