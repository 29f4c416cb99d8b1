"""Notebooks 06 to 08: influence without retraining, why a category helps or harms, and better mixtures."""
