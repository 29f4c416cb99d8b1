"""Draws: whether the runs of a table drew their own batches, or all subsets of a seed the same ones."""

from __future__ import annotations

import pandas as pd

from lib.common.files import KitError


def draws_of(table: pd.DataFrame, names: tuple[str, ...], numbered: bool, notes: list[str]) -> str:
    """Return "own" or "shared", as the column ``draws`` says or as far as it can be told without it.

    A table that does not say is taken as "shared" when its subsets have two or more seeds in common, because nothing in
    the scores could show the luck of a draw that all of them had; as "own" otherwise. ``numbered``: the seeds are only
    numbers given to replicates. Raises KitError for other values.
    """
    if "draws" in table.columns:
        said = sorted(set(table["draws"].astype(str).str.strip().str.lower()))
        if said not in (["own"], ["shared"]):
            raise KitError(f"column 'draws' must hold own, or shared, in every row, and holds {', '.join(said)}")
        return said[0]
    runs = table[["subset", "seed", *names]].drop_duplicates([*names, "seed"])
    if not numbered and common_seeds(runs):
        notes.append(
            "The table does not say whether the subsets of a seed shared their draws: taken as shared. "
            "Add a column draws with the value own where every run drew its own batches."
        )
        return "shared"
    if not numbered and len(runs) > 1 and runs["seed"].nunique() == 1:
        notes.append(
            "One seed, and the table does not say whether runs shared their draws: taken as own. If they shared them, "
            "a lucky draw of a category counts as its effect here."
        )
    return "own"


def common_seeds(runs: pd.DataFrame) -> bool:
    """Do the subsets have two seeds or more in common (each in more than half of the subsets)?"""
    cells = runs.drop(columns=["seed", "subset"]).drop_duplicates()
    return int((runs["seed"].value_counts() > len(cells) / 2).sum()) > 1
