"""Figures of the study and of the notebooks, drawn with seaborn; each of the study has a CSV of its numbers.

`base` holds what they share: colours, names, `save`; `marks` draws points, `matrix` every matrix. `effects`, `forest`
and `replication` show effects; `scores` and `gains` scores; `structure` lattice and interactions; `noise` what can be
seen at all; `data` is notebook 02's, `improve` 07's, `lessons` the pictures of notebooks 01, 03 and 04, `texts` their
tables. `catalogue` names the figures of notebook 05, `report` writes them.
"""
