"""Factors: find, derive and check the 0/1 columns that say which categories a run was trained on.

The kit's own columns are ``ss``, ``sl``, ``ls``, ``ll`` (and ``sts``, ``bt``, ``public`` when they vary); long names
(``short_short``) and columns of any other name that hold 0 and 1 work too, and so does a table that has only the subset
names of ``lib.common.design``. ``draws_of`` says whether runs share the luck of their batches.
"""

from __future__ import annotations

import pandas as pd

from lib.common.design import CATEGORIES, CODES, parse_run
from lib.common.files import KitError

NOT_FACTORS = {"subset", "seed", "task", "type", "metric", "score", "public", "split", "language", "draw", "draws"}
ZERO_ONE = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
# every spelling of a column -> the category
CATEGORY_OF = {code: c for c, code in CODES.items()} | {c: c for c in CODES} | {c.replace("_", "-"): c for c in CODES}


def with_factors(table: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the table with checked 0/1 integer columns and a ``subset`` name per row, and the factors' names.

    Raises KitError when there are none, a value is neither 0 nor 1, or a subset's name and its columns disagree.
    """
    table = _derived(table)
    names = _found(table, notes)
    if not names:
        raise KitError("no 0/1 column per category in the table; add ss, sl, ls, ll, or a subset column such as ss+ll")
    for name in names:
        values = _zero_one(table[name])
        if values.isna().any():
            bad = str(table[name][values.isna()].iloc[0])
            raise KitError(f"column {name!r} must hold 0 or 1 (category absent or present), and one row has {bad!r}")
        table[name] = values.astype(int)
    if "subset" in table.columns:
        _agree(table, names)
    else:
        rows = table[list(names)].to_numpy()
        table["subset"] = ["+".join(n for n, on in zip(names, row, strict=True) if on) or "none" for row in rows]
    return _without_untrained(table, names, notes), names


def _derived(table: pd.DataFrame) -> pd.DataFrame:
    """Add what the subset names tell and the table lacks: ss, sl, ls, ll where it has none of them, sts, bt, public."""
    if "subset" not in table.columns:
        return table
    there = {CATEGORY_OF[name] for name in table.columns if name in CATEGORY_OF}
    try:
        parsed = {name: parse_run(name) for name in table["subset"].unique()}
    except KitError:
        return table  # somebody else's names; their own 0/1 columns are looked for instead
    for category, code in CODES.items():
        named = any(category in subset for subset, _ in parsed.values())
        if category not in there and (named or not there and category in CATEGORIES):
            table[code] = [int(category in parsed[name][0]) for name in table["subset"]]
    if "public" not in table.columns:
        table["public"] = [int(parsed[name][1]) for name in table["subset"]]
    return table


def _found(table: pd.DataFrame, notes: list[str]) -> tuple[str, ...]:
    """Return the columns in the kit's spellings, else every other column that holds 0 and 1, else nothing."""
    names = [
        name
        for name, category in CATEGORY_OF.items()
        if name in table.columns and (category in CATEGORIES or table[name].nunique() > 1)
    ]
    if len({CATEGORY_OF[name] for name in names}) < len(names):
        raise KitError(f"the columns {', '.join(names)} name a category twice; keep one spelling")
    if not names:
        names = [name for name in table if name not in NOT_FACTORS and set(_zero_one(table[name])) == {0, 1}]
        if names:
            notes.append(f"Taken as the categories: the 0/1 columns {', '.join(names)}.")
    if "public" in table.columns and table["public"].nunique() > 1:
        names.append("public")
    return tuple(names)


def _zero_one(column: pd.Series) -> pd.Series:
    """Return 0, 1, or NaN for any other value."""
    return column.astype(str).str.strip().str.lower().map(ZERO_ONE)


def _agree(table: pd.DataFrame, names: tuple[str, ...]) -> None:
    """Refuse rows whose subset name says something else than their 0/1 columns."""
    for label, rows in table[["subset", *names]].drop_duplicates().groupby("subset", sort=False):
        try:
            subset, public = parse_run(label)
        except KitError:
            continue  # not one of the kit's names: the columns alone count
        for name in names:
            said = public if name == "public" else CATEGORY_OF.get(name) in subset
            if (name == "public" or name in CATEGORY_OF) and (rows[name] != int(said)).any():
                raise KitError(f"a row of subset {label!r} has {name} = {1 - int(said)}; mend the name or the column")


def _without_untrained(table: pd.DataFrame, names: tuple[str, ...], notes: list[str]) -> pd.DataFrame:
    """Leave out rows with neither synthetic nor public data: nothing was trained there."""
    if "public" not in table.columns:
        return table
    idle = (_zero_one(table["public"]) == 0) & (table[list(names)].to_numpy().sum(axis=1) == 0)
    if idle.any() and not idle.all():
        notes.append(f"{int(idle.sum())} rows without synthetic and without public data take no part in the fit.")
        table = table[~idle].reset_index(drop=True)
    return table


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
