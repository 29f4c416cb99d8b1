"""Notebook 04: an adapter scored with mteb's own tasks and evaluators."""
