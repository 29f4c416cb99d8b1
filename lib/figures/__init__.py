"""Figures of the study and of the notebooks, each with the table of its numbers; `report` writes those of a study."""
