"""Scores: read a tidy table of scores from anywhere, and mend or refuse what does not fit, in one sentence.

A tidy table has one row per run and task: ``task``, ``score`` (mteb's own scale, 0 to 1), ``type``, ``seed``, and which
categories the run was trained on (see ``lib.influence.factors``); ``draws`` says whether every run drew its own batches
("own") or all subsets of a seed the same ones ("shared"). Other columns are ignored. ``study`` turns it into a
``Study``: one row per run, one column per task, and a list of notes that say what was left out and why.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.bundled import DATA
from lib.common.design import BASE
from lib.common.files import KitError
from lib.influence.factors import draws_of, with_factors

REFERENCE_TASKS = DATA / "reference" / "mteb_eng_v1_tasks.csv"
MTEB_TYPES = ("Classification", "Clustering", "PairClassification", "Reranking", "Retrieval", "STS", "Summarization",
              "BitextMining", "InstructionReranking", "InstructionRetrieval", "MultilabelClassification")  # fmt: skip
EMPTY = {"", "nan", "na", "n/a", "none", "null", "<na>"}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Study:
    """Checked scores. ``y[i, j]`` is the score (0 to 1, NaN where missing) of run ``i`` on task ``j``."""

    runs: pd.DataFrame  # subset, seed, then one 0/1 column per factor
    y: np.ndarray
    tasks: tuple[str, ...]
    types: tuple[str, ...]
    factors: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    base: dict[str, float] = field(default_factory=dict)  # the untrained model's score per task, if it was in the table
    draws: str = "own"  # or "shared": what decides the error across runs (lib.influence.errors)

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
    """Return the checked ``Study`` of a table, a CSV file, or a ``Study`` (returned as it is).

    ``nan="refuse"`` stops at missing scores, ``"drop"`` treats them as runs that did not happen. Raises KitError, one
    sentence, for what cannot be mended.
    """
    if isinstance(scores, Study):
        return scores
    if nan not in ("refuse", "drop"):
        raise KitError(f"nan={nan!r} is not known; say 'refuse' to stop at missing scores or 'drop' to go without them")
    notes: list[str] = []
    table, base = _without_base(_columns(read(scores)), notes)
    table, names = with_factors(table, notes)
    numbered = "seed" not in table.columns
    table = _with_seed(table, names, notes)
    if "metric" in table.columns:
        metrics = table.groupby("task")["metric"].nunique()
        if (metrics > 1).any():
            raise KitError(
                f"task {metrics.idxmax()!r} has {metrics.max()} metrics; keep the rows of its main metric only"
            )
    types = _types(table, notes)
    table = _once(_numbers(table, nan, notes), names, notes)
    return _wide(table, names, types, notes, base, draws_of(table, names, numbered, notes))


def read(table: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Return a copy of a table, or a CSV as text, so that a subset called none stays a name.

    Raises KitError for a file that is missing, no table, or cut off in its last line (which pandas would fill up).
    """
    if isinstance(table, pd.DataFrame):
        table = table.reset_index(drop=True).copy()
        table.attrs = {}  # pandas copies them at every step
        return table
    path = Path(table)
    try:
        found = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise KitError(
            f"{path} does not exist; run `make reproduce` to make it, or give the path of your own table"
        ) from None
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise KitError(f"{path} cannot be read as CSV ({reason}); mend or restore it") from None
    last = path.read_bytes().rpartition(b"\n")[2].decode("utf-8", "replace")
    if last and len(next(csv.reader([last]))) < len(found.columns):
        raise KitError(f"the last line of {path} is cut off; restore the file or have it written again")
    return found


def _columns(table: pd.DataFrame) -> pd.DataFrame:
    """Check that the columns that a study needs are there, once and filled in."""
    table.columns = [str(name).strip() for name in table.columns]
    for needed in ("task", "score"):
        if needed not in table.columns:
            raise KitError(f"the table has no column {needed!r}, only {', '.join(table.columns)}; rename or add it")
    if table.columns.duplicated().any():
        raise KitError(f"the table has the column {table.columns[table.columns.duplicated()][0]!r} twice; keep one")
    if table.empty:
        raise KitError("the table has no rows; score some runs first")
    for name in {"task", "subset"} & set(table.columns):
        table[name] = table[name].fillna("").astype(str).str.strip()
        if (table[name] == "").any():
            raise KitError(f"{int((table[name] == '').sum())} rows have no {name}; fill in the column {name!r}")
    return table


def _without_base(table: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Take the untrained model's rows out; they are kept beside the study and take no part in any fit."""
    mask = table["subset"] == BASE if "subset" in table.columns else np.zeros(len(table), bool)
    if not mask.any():
        return table, {}
    if mask.all():
        raise KitError("the table holds the untrained base model only; score some trained runs first")
    values = pd.to_numeric(table.loc[mask, "score"], errors="coerce")
    notes.append(f"{int(mask.sum())} rows of the untrained base model take no part in the fit.")
    return table[~mask].reset_index(drop=True), values.groupby(table.loc[mask, "task"]).mean().to_dict()


def _with_seed(table: pd.DataFrame, names: tuple[str, ...], notes: list[str]) -> pd.DataFrame:
    """Without a seed column, repeated rows of a cell are numbered as replicates in the table's order."""
    if "seed" in table.columns:
        values = pd.to_numeric(table["seed"], errors="coerce")
        values = values.where(values == np.floor(values))
        if values.isna().any():
            bad = str(table["seed"][values.isna()].iloc[0])
            raise KitError(f"column 'seed' must hold whole numbers, and one row has {bad!r}")
        return table.assign(seed=values.astype(int))
    seed = table.groupby([*names, "task"]).cumcount()
    if seed.max() > 0:
        notes.append(
            f"No seed column: up to {seed.max() + 1} rows per subset and task count as replicates, in this order."
        )
    return table.assign(seed=seed)


def _types(table: pd.DataFrame, notes: list[str]) -> dict[str, str]:
    """Return task -> type, filled from MTEB's list where the table is silent. KitError for two types of one task."""
    column = table["type"].fillna("").astype(str).str.strip() if "type" in table.columns else pd.Series("", table.index)
    column = column.where(~column.str.lower().isin(EMPTY), "")
    known = pd.DataFrame({"task": table["task"], "type": column}).query("type != ''").drop_duplicates()
    twice = known["task"][known["task"].duplicated()]
    if len(twice):
        both = " and ".join(known.loc[known["task"] == twice.iloc[0], "type"])
        raise KitError(f"task {twice.iloc[0]!r} has two types, {both}; give every row of a task the same type")
    types = dict(zip(known["task"], known["type"], strict=True))
    silent = [task for task in table["task"].unique() if task not in types]
    listed = pd.read_csv(REFERENCE_TASKS).set_index("task")["type"].to_dict() if silent else {}
    types |= {task: listed.get(task, UNKNOWN) for task in silent}
    if found := [task for task in silent if types[task] != UNKNOWN]:
        notes.append(f"{_few(found)} without a type: taken from MTEB's list.")
    if lost := [task for task in silent if types[task] == UNKNOWN]:
        notes.append(f"{_few(lost)} without a known type: kept together as type '{UNKNOWN}'.")
    if strange := sorted(set(types.values()) - {*MTEB_TYPES, UNKNOWN}):
        notes.append(f"Not a type of mteb, kept as a type of its own: {', '.join(strange)}.")
    return types


def _numbers(table: pd.DataFrame, nan: str, notes: list[str]) -> pd.DataFrame:
    """Return the table with float scores on the 0-to-1 scale; missing ones refused or dropped."""
    text = table["score"].astype(object).where(table["score"].notna(), "").astype(str).str.strip()
    empty = text.str.lower().isin(EMPTY)
    score = pd.to_numeric(text.where(~empty), errors="coerce").astype(float)
    garbled = (score.isna() & ~empty) | np.isinf(score)
    if garbled.any():
        bad = text[garbled].iloc[0]
        raise KitError(f"{_where(table, garbled)} has the score {bad!r}, which is not a number; score it again")
    count = int(score.isna().sum())
    if count and nan == "refuse":
        raise KitError(
            f"{_where(table, score.isna())} has no score (NaN), and {count} rows in all; "
            "score it again, or set influence.nan: drop to go on without"
        )
    if count:
        notes.append(f"{count} rows have no score (NaN) and are treated as runs that did not happen.")
        table, score = table[score.notna()].reset_index(drop=True), score.dropna().reset_index(drop=True)
    if table.empty:
        raise KitError("no row has a score; score some runs first")
    large = score.abs() > 1
    if large.any() and (score.abs().median() <= 1 or score.abs().max() > 100):
        raise KitError(f"{_where(table, large)} scores {score[large].iloc[0]:g}; scores go from 0 to 1")
    if large.any():
        notes.append("The scores go above 1: taken as points from 0 to 100 and divided by 100.")
        score = score / 100
    return table.assign(score=score)


def _once(table: pd.DataFrame, names: tuple[str, ...], notes: list[str]) -> pd.DataFrame:
    """Drop exact repeats of a cell; refuse two different scores for one run and task."""
    key = [*names, "seed", "task"]
    repeats = int(table.duplicated([*key, "score"]).sum())
    if repeats:
        notes.append(f"{repeats} rows repeat another row exactly and count once.")
        table = table.drop_duplicates([*key, "score"])
    twice = table.duplicated(key)
    if twice.any():
        raise KitError(
            f"{_where(table, twice)} is in the table twice with different scores; keep one "
            "(or give replicates different seeds)"
        )
    return table.reset_index(drop=True)


def _wide(table, names, types, notes, base, draws) -> Study:
    """Pivot to runs x tasks, in a fixed order, and say which runs lack which tasks."""
    if len(names) and (table[list(names)].nunique() == 1).all():
        raise KitError("every run has the same categories; nothing can be compared")
    tasks = tuple(sorted(table["task"].unique(), key=lambda task: (types[task], task)))
    runs = table[["subset", "seed", *names]].drop_duplicates([*names, "seed"])
    order = {subset: place for place, subset in enumerate(table["subset"].unique())}
    runs = runs.assign(size=runs[list(names)].sum(axis=1), place=runs["subset"].map(order))
    runs = runs.sort_values(["size", "place", "seed"]).drop(columns=["size", "place"]).reset_index(drop=True)
    wide = table.pivot(index=[*names, "seed"], columns="task", values="score")
    y = wide.reindex(index=pd.MultiIndex.from_frame(runs[[*names, "seed"]]), columns=list(tasks)).to_numpy(float)
    gaps = np.isnan(y).sum(axis=0)
    for count in sorted(set(gaps[gaps > 0])):
        short = [task for task, gap in zip(tasks, gaps, strict=True) if gap == count]
        notes.append(f"{_few(short)}: {count} of {len(runs)} runs are missing; fitted on the others.")
    return Study(runs, y, tasks, tuple(types[task] for task in tasks), tuple(names), notes, base, draws)


def _where(table: pd.DataFrame, mask) -> str:
    """Name the first row of a mask by what a person would look for."""
    row = table[mask].iloc[0]
    return f"task {row['task']!r} of run {row['subset']!r}, seed {row.get('seed', 0)},"


def _few(names: list[str], most: int = 3) -> str:
    """Name a few of many."""
    shown = ", ".join(names[:most])
    return f"task {shown}" if len(names) == 1 else f"{len(names)} tasks ({shown}{', ...' if len(names) > most else ''})"
