"""Factors: find, derive and check the 0/1 columns that say which categories a run was trained on.

Used by ``lib.influence.scores``. The kit's own columns are ``ss``, ``sl``, ``ls``, ``ll`` (and ``sts``, ``bt``, ``public`` when
they vary); long names (``short_short``) and columns of any other name that hold 0 and 1 work too, and so does a table
that has only the subset names of ``lib.common.design``.
"""

from __future__ import annotations

import pandas as pd

from lib.common.design import CATEGORIES, CODES, parse_run
from lib.common.files import KitError

NOT_FACTORS = {"subset", "seed", "task", "type", "metric", "score", "public", "split", "language", "draw", "draws"}
ZERO_ONE = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
CATEGORY_OF = {
    **{code: category for category, code in CODES.items()},
    **{c: c for c in CODES},
    **{c.replace("_", "-"): c for c in CODES},
}  # every spelling of a column -> the category


def with_factors(table: pd.DataFrame, factors, notes: list[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the table with checked 0/1 integer columns and a ``subset`` name per row, and the factors' names.

    Raises KitError when there are none, a value is neither 0 nor 1, or a subset's name and its columns disagree.
    """
    table = _derived(table)
    names = tuple(factors) if factors is not None else _found(table, notes)
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise KitError(f"no 0/1 column {missing[0]!r} in the table; it has {', '.join(table.columns)}")
    if not names:
        raise KitError("no 0/1 column per category in the table; add ss, sl, ls, ll, or a subset column such as ss+ll")
    for name in names:
        table[name] = zero_one(table[name], name)
    if "subset" in table.columns:
        _agree(table, names)
    else:
        rows = table[list(names)].to_numpy()
        table["subset"] = ["+".join(n for n, on in zip(names, row, strict=True) if on) or "none" for row in rows]
    return _without_untrained(table, names, notes), names


def _derived(table: pd.DataFrame) -> pd.DataFrame:
    """Add ss, sl, ls, ll (and sts, bt, public) from the subset names where the table has no such columns."""
    if "subset" not in table.columns or any(name in table.columns for name in CATEGORY_OF):
        return table
    try:
        parsed = {name: parse_run(name) for name in table["subset"].unique()}
    except KitError:
        return table  # somebody else's names; their own 0/1 columns are looked for instead
    for category, code in CODES.items():
        if category in CATEGORIES or any(category in subset for subset, _ in parsed.values()):
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
        raise KitError(f"the columns {', '.join(names)} name a category twice; keep one spelling or pass factors=[...]")
    if not names:
        names = [
            name
            for name in table.columns
            if name not in NOT_FACTORS and set(table[name].astype(str).str.strip().str.lower().map(ZERO_ONE)) == {0, 1}
        ]
        if names:
            notes.append(f"Taken as the categories: the 0/1 columns {', '.join(names)}.")
    if "public" in table.columns and table["public"].nunique() > 1:
        names.append("public")
    return tuple(names)


def zero_one(column: pd.Series, name: str) -> pd.Series:
    """Return the column as 0/1 integers. Raises KitError for any other value."""
    values = column.astype(str).str.strip().str.lower().map(ZERO_ONE)
    if values.isna().any():
        bad = str(column[values.isna()].iloc[0])
        raise KitError(f"column {name!r} must hold 0 or 1 (category absent or present), and one row has {bad!r}")
    return values.astype(int)


def _agree(table: pd.DataFrame, names: tuple[str, ...]) -> None:
    """Refuse rows whose subset name says something else than their 0/1 columns."""
    for label, rows in table[["subset", *names]].drop_duplicates().groupby("subset", sort=False):
        try:
            subset, public = parse_run(label)
        except KitError:
            continue  # not one of the kit's names: the columns alone count
        for name in names:
            known = name == "public" or name in CATEGORY_OF
            said = public if name == "public" else CATEGORY_OF.get(name) in subset
            if known and (rows[name] != int(said)).any():
                raise KitError(f"a row of subset {label!r} has {name} = {1 - int(said)}; mend the name or the column")


def _without_untrained(table: pd.DataFrame, names: tuple[str, ...], notes: list[str]) -> pd.DataFrame:
    """Leave out rows with neither synthetic nor public data: nothing was trained there."""
    if "public" not in table.columns:
        return table
    public = table["public"].astype(str).str.strip().str.lower().map(ZERO_ONE)
    idle = (public == 0) & (table[list(names)].to_numpy().sum(axis=1) == 0)
    if idle.any() and not idle.all():
        notes.append(f"{int(idle.sum())} rows without synthetic and without public data take no part in the fit.")
        table = table[~idle].reset_index(drop=True)
    return table
