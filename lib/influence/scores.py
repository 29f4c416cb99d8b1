"""Scores: read a tidy table of scores from anywhere, and mend or refuse what does not fit, in one sentence.

A tidy table has one row per run and task: ``task``, ``score`` (0 to 1), ``type``, ``seed``, and which categories the
run was trained on: the 0/1 columns ``ss, sl, ls, ll`` (``sts, bt, public`` too when they vary), else 0/1 columns of any
other name; a table with the kit's subset names needs none. ``draws`` says whether every run drew its own batches
("own") or all subsets of a seed the same ones ("shared").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.bundled import reference
from lib.common.design import BASE, CATEGORIES, CODES, common_seeds, levels, parse_run
from lib.common.files import KitError

FOUR = [CODES[category] for category in CATEGORIES]
NOT_FACTORS = {"subset", "seed", "task", "type", "metric", "score", "public", "split", "language", "draw", "draws"}
ZERO_ONE = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
EMPTY = {"", "nan", "na", "n/a", "none", "null", "<na>"}


@dataclass(frozen=True)
class Study:
    """Checked scores. ``y[i, j]`` is the score (0 to 1, NaN where missing) of run ``i`` on task ``j``."""

    runs: pd.DataFrame  # subset, seed, then one 0/1 column per factor
    y: np.ndarray
    tasks: tuple[str, ...]
    types: tuple[str, ...]
    factors: tuple[str, ...]
    notes: list[str] = field(default_factory=list)  # what was left out or taken for granted
    base: dict[str, float] = field(default_factory=dict)  # the untrained model's score per task, if it was in the table
    draws: str = "own"  # or "shared": what decides the error across runs (lib.influence.regression)

    @property
    def x(self) -> np.ndarray:
        """The 0/1 levels of the factors, (runs, factors)."""
        return self.runs[list(self.factors)].to_numpy(float)

    @property
    def parity(self) -> np.ndarray:
        """0 for the runs of the first seed, the third, ..., 1 for the others: two halves of the study."""
        return np.searchsorted(np.unique(self.runs["seed"]), self.runs["seed"]) % 2

    def only(self, rows: np.ndarray) -> Study:
        """The study of some runs."""
        return Study(self.runs[rows].reset_index(drop=True), self.y[rows], self.tasks, self.types, self.factors)


def study(scores: str | Path | pd.DataFrame | Study, nan: str = "refuse") -> Study:
    """Return the checked ``Study`` of a table or CSV file; ``nan="drop"`` takes missing scores as runs never made."""
    if isinstance(scores, Study):
        return scores
    notes: list[str] = []
    table, base = _rows(read(scores), notes)
    table, names = _with_factors(table, notes)
    table, key, types = _with_seed(table, names, notes), [*names, "seed"], _types(table, notes)
    table = _numbers(table, nan, notes).drop_duplicates([*key, "task", "score"]).reset_index(drop=True)
    if (twice := table.duplicated([*key, "task"])).any():
        hint = "is in the table twice with different scores; keep one (or give replicates different seeds)"
        raise KitError(f"{_where(table, twice)} {hint}")
    if (table[names].nunique() == 1).all():
        raise KitError("every run has the same categories; nothing can be compared")
    runs = table[["subset", "seed", *names]].drop_duplicates(key)
    draws = _draws(table, runs, notes)
    order = {"_size": runs[names].sum(axis=1), "_place": runs["subset"].factorize()[0]}  # by size, then as they come
    runs = runs.assign(**order).sort_values([*order, "seed"]).drop(columns=list(order)).reset_index(drop=True)
    tasks = sorted(table["task"].unique(), key=lambda task: (types[task], task))
    wide = table.pivot(index=key, columns="task", values="score")
    y = wide.reindex(index=pd.MultiIndex.from_frame(runs[key]), columns=tasks).to_numpy(float)
    gaps = pd.Series(np.isnan(y).sum(axis=0), tasks)
    for count, short in gaps[gaps > 0].groupby(gaps):
        notes.append(f"{_few(list(short.index))}: {count} of {len(runs)} runs are missing; fitted on the others.")
    return Study(runs, y, tuple(tasks), tuple(types[task] for task in tasks), tuple(names), notes, base, draws)


def read(table: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Return a copy of a table, or a CSV as text, so that a subset called none stays a name. KitError for no table."""
    found, last = table, ""
    if not isinstance(table, pd.DataFrame):
        try:
            found = pd.read_csv(table, dtype=str, keep_default_na=False, encoding="utf-8-sig")
            last = Path(table).read_text(encoding="utf-8-sig").rpartition("\n")[2]
        except FileNotFoundError:
            hint = "run `make reproduce` to make it, or give the path of your own table"
            raise KitError(f"{table} does not exist; {hint}") from None
        except (OSError, ValueError) as error:
            said = str(error).splitlines()[0]
            raise KitError(f"{table} cannot be read as CSV ({said}); mend or restore it") from None
    if last and last.count(",") < len(found.columns) - 1:  # pandas would fill it up
        raise KitError(f"the last line of {table} is cut off; restore the file or have it written again")
    found = found.reset_index(drop=True).rename(columns=lambda name: str(name).strip())
    if (twice := found.columns.duplicated()).any():
        raise KitError(f"the table has the column {found.columns[twice][0]!r} twice; keep one")
    found.attrs = {}  # pandas copies them at every step
    return found


def _rows(table: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Check that what a study needs is there; take the untrained model's rows out, which take no part in any fit."""
    if lost := [name for name in ("task", "score") if name not in table]:
        raise KitError(f"the table has no column {lost[0]!r}, only {', '.join(table.columns)}; rename or add it")
    for name in ("task", "subset") if "subset" in table else ("task",):
        table[name] = table[name].fillna("").astype(str).str.strip()
        if empty := int((table[name] == "").sum()):
            raise KitError(f"{empty} rows have no {name}; fill in the column {name!r}")
    mask = table["subset"] == BASE if "subset" in table else pd.Series(False, table.index)
    if mask.all():  # or no row at all
        raise KitError(f"the table has no rows{' of trained runs' if len(mask) else ''}; score some runs first")
    if mask.any():
        notes.append(f"{int(mask.sum())} rows of the untrained base model take no part in the fit.")
    base = pd.to_numeric(table.loc[mask, "score"], errors="coerce").groupby(table.loc[mask, "task"]).mean()
    return table[~mask].reset_index(drop=True), base.to_dict()


def _with_factors(table: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with checked 0/1 columns and a ``subset`` per row, and the factors' names."""
    said = _named(table)
    bare = not set(CODES.values()) & set(table)
    for name in set(said) - set(table):  # categories that a name holds, the four where there is no column at all
        if name == "public" or said[name].any() or (bare and name in FOUR):
            table[name] = said[name]
    names = [code for code in CODES.values() if code in table and (code in FOUR or table[code].nunique() > 1)]
    if not names:
        names = [name for name in table if name not in NOT_FACTORS and set(_zero_one(table[name])) == {0, 1}]
        notes.extend([f"Taken as the categories: the 0/1 columns {', '.join(names)}."] if names else [])
    if "public" in table and table["public"].nunique() > 1:
        names.append("public")
    if not names:
        raise KitError("no 0/1 column per category in the table; add ss, sl, ls, ll, or a subset column such as ss+ll")
    for name in names:
        values = _zero_one(table[name])
        if values.isna().any():
            bad = f"one row has {str(table[name][values.isna()].iloc[0])!r}"
            raise KitError(f"column {name!r} must hold 0 or 1 (category absent or present), and {bad}")
        table[name] = values.astype(int)
        if name in said and len(wrong := table[table[name] != said[name]]):
            label, value = wrong.iloc[0][["subset", name]]
            raise KitError(f"a row of subset {label!r} has {name} = {value}; mend the name or the column")
    if "subset" not in table:
        rows = table[names].to_numpy()
        table["subset"] = ["+".join(n for n, on in zip(names, row, strict=True) if on) or "none" for row in rows]
    idle = ~table[names].any(axis=1) & (_zero_one(table["public"]) == 0 if "public" in table else False)
    if idle.any() and not idle.all():  # nothing was trained there
        notes.append(f"{idle.sum()} rows without synthetic and without public data take no part in the fit.")
        table = table[~idle].reset_index(drop=True)
    return table, names


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """What subset names say: a 0/1 column per category, and public; no column where a name is somebody else's."""
    try:
        runs = [parse_run(name) for name in table["subset"].unique()]
    except (KitError, KeyError):
        return pd.DataFrame()
    said = [levels(subset, list(CODES)) | {"public": int(public)} for subset, public in runs]
    return pd.DataFrame(said, index=table["subset"].unique()).loc[table["subset"]].set_axis(table.index)


def _zero_one(column: pd.Series) -> pd.Series:
    """Return 0, 1, or NaN for any other value."""
    return column.astype(str).str.strip().str.lower().map(ZERO_ONE)


def _with_seed(table: pd.DataFrame, names: list[str], notes: list[str]) -> pd.DataFrame:
    """Without a seed column, repeated rows of a cell are numbered as replicates in the table's order."""
    if "seed" in table:
        values = pd.to_numeric(table["seed"], errors="coerce")
        if len(wrong := table["seed"][values.isna() | (values % 1 != 0)]):
            raise KitError(f"column 'seed' must hold whole numbers, and one row has {str(wrong.iloc[0])!r}")
        return table.assign(seed=values.astype(int))
    cells = table.groupby([*names, "task"])
    if more := [name for name in ("metric", "generator") if name in table and (cells[name].nunique() > 1).any()]:
        raise KitError(f"rows of one subset and task differ in the column {more[0]!r}; keep those of one value")
    seed = cells.cumcount()
    if most := seed.max():
        notes.append(f"No seed column: up to {most + 1} rows per subset and task count as replicates, in this order.")
    return table.assign(seed=seed, draws=table.get("draws", "own"))


def _types(table: pd.DataFrame, notes: list[str]) -> dict[str, str]:
    """Return task -> type, filled from MTEB's list where the table is silent. KitError for two types of one task."""
    column = (table["type"] if "type" in table else pd.Series("", table.index)).fillna("").astype(str).str.strip()
    known = table[["task"]].assign(type=column)[~column.str.lower().isin(EMPTY)].drop_duplicates()
    if (twice := known["task"].duplicated()).any():
        task = known["task"][twice].iloc[0]
        both = " and ".join(known.loc[known["task"] == task, "type"])
        raise KitError(f"task {task!r} has two types, {both}; give every row of a task the same type")
    types = known.set_index("task")["type"].to_dict()
    silent = [task for task in table["task"].unique() if task not in types]
    listed = reference("mteb_eng_v1_tasks").set_index("task")["type"].to_dict() if silent else {}
    if silent:
        notes.append(f"{_few(silent)} without a type: taken from MTEB's list, else kept together as unknown.")
    return types | {task: listed.get(task, "unknown") for task in silent}


def _numbers(table: pd.DataFrame, nan: str, notes: list[str]) -> pd.DataFrame:
    """Return the table with float scores on the 0-to-1 scale; missing ones refused or dropped."""
    text = table["score"].astype(object).fillna("").astype(str).str.strip()
    empty = text.str.lower().isin(EMPTY)
    score = pd.to_numeric(text.where(~empty), errors="coerce").astype(float)
    if len(garbled := text[~empty & ~np.isfinite(score)]):
        words = f"has the score {garbled.iloc[0]!r}, which is not a number; score it again"
        raise KitError(f"{_where(table, garbled.index)} {words}")
    if (count := int(empty.sum())) and (nan == "refuse" or empty.all()):
        hint = "score some first" if empty.all() else "score it again, or set influence.nan: drop to go on without"
        raise KitError(f"{_where(table, empty)} has no score (NaN), and {count} rows in all; {hint}")
    if count:
        notes.append(f"{count} rows have no score (NaN) and are treated as runs that did not happen.")
        table, score = table[~empty].reset_index(drop=True), score[~empty].reset_index(drop=True)
    if (large := score.abs() > 1).any():
        if score.abs().median() <= 1 or score.abs().max() > 100:
            raise KitError(f"{_where(table, large)} scores {score[large].iloc[0]:g}; scores go from 0 to 1")
        notes.append("The scores go above 1: taken as points from 0 to 100 and divided by 100.")
        score = score / 100
    return table.assign(score=score)


def _draws(table: pd.DataFrame, runs: pd.DataFrame, notes: list[str]) -> str:
    """Return "own" or "shared", as the column ``draws`` says or as far as it can be told without it."""
    if "draws" in table:
        said = sorted(set(table["draws"].astype(str).str.strip().str.lower()))
        if said not in (["own"], ["shared"]):
            raise KitError(f"column 'draws' must hold own, or shared, in every row, and holds {', '.join(said)}")
        return said[0]
    if common_seeds(runs):  # no score could show the luck of a draw that all subsets had
        taken = "The subsets of a seed are taken to have shared their draws"
        notes.append(f"{taken}; add a column draws with the value own where every run drew its own batches.")
        return "shared"
    if runs["seed"].nunique() == 1:
        notes.append("One seed: had the runs shared their draws, a lucky draw of a category would count as its effect.")
    return "own"


def _where(table: pd.DataFrame, mask) -> str:
    """Name the first row of a mask by what a person would look for."""
    row = table.loc[mask].iloc[0]
    return f"task {row['task']!r} of run {row['subset']!r}, seed {row.get('seed', 0)},"


def _few(names: list[str]) -> str:
    """Name three of many."""
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"task {shown}" if len(names) == 1 else f"{len(names)} tasks ({shown})"
