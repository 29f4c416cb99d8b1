"""Notebook 01: prompts, answers, parsing, cleaning, hard negatives, training files."""
