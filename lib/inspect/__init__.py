"""Notebook 02: tables that say what the data are."""
