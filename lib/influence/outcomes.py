"""Outcomes: what is regressed (a task's scores, or a mean over tasks), and the runs behind one effect, for looking at.

All scores in points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.scores import Study, study

LEVELS = ("task", "type", "overall")


@dataclass(frozen=True)
class Outcomes:
    """What is regressed: ``y`` (runs, m) in points, and the names of its columns."""

    y: np.ndarray
    names: pd.DataFrame  # level, task, type, n_tasks
    notes: tuple[str, ...] = ()

    def rows(self, terms, name: str, columns: dict[str, np.ndarray]) -> pd.DataFrame:
        """Stack (terms, m) arrays into rows: outcome after outcome, the terms (in column ``name``) within each."""
        rows = self.names.loc[self.names.index.repeat(len(terms)), ["level", "task", "type"]].reset_index(drop=True)
        rows[name] = list(terms) * len(self.names)
        shape = (len(terms), len(self.names))
        return rows.assign(**{key: np.broadcast_to(values, shape).T.ravel() for key, values in columns.items()})


def outcomes(data: Study, level: str = "task") -> Outcomes:
    """Return the scores in points per task, or their mean per type or overall, taken per run first.

    A mean uses the tasks that every run with any score of that type has, so that runs stay comparable; tasks left
    out of a mean are named in ``notes``. Raises KitError for an unknown level.
    """
    if level not in LEVELS:
        raise KitError(f"level {level!r} is not known; say {', '.join(LEVELS)} or all")
    points = 100 * data.y
    if level == "task":
        return Outcomes(points, pd.DataFrame({"level": level, "task": data.tasks, "type": data.types, "n_tasks": 1}))
    columns, rows, notes = [], [], []
    for name in ("",) if level == "overall" else dict.fromkeys(data.types):
        members = np.flatnonzero([name in ("", kind) for kind in data.types])
        whole = complete(points[:, members])
        used, left = members[whole], [data.tasks[i] for i in members[~whole]]
        mean = points[:, used].mean(axis=1) if len(used) else np.full(len(points), np.nan)
        columns.append(mean)
        rows.append({"level": level, "task": "", "type": name, "n_tasks": len(used)})
        if not len(used):
            notes.append(f"No task of {name or 'the table'} was scored in every run that has any: its mean is lost.")
        elif left:
            notes.append(
                f"The mean of {name or 'all tasks'} is over {len(used)} tasks; not every run has {', '.join(left[:3])}"
                + (f" and {len(left) - 3} more." if len(left) > 3 else ".")
            )
    return Outcomes(np.column_stack(columns), pd.DataFrame(rows), tuple(notes))


def complete(y: np.ndarray) -> np.ndarray:
    """Which columns of ``y`` (runs, tasks) every run with any score has."""
    have = ~np.isnan(y)
    return have[have.any(axis=1)].all(axis=0)


def one(data: Study, task: str | None, type: str | None) -> np.ndarray:
    """Return the (runs, 1) scores in points of one task, one type's mean, or the overall mean. KitError if unknown."""
    if task is not None and type is not None:
        raise KitError("name a task or a type, not both")
    level = "task" if task is not None else "type" if type is not None else "overall"
    out = outcomes(data, level)
    if level == "overall":
        return out.y
    hit = out.names[level] == (task if task is not None else type)
    if not hit.any():
        raise KitError(f"no {level} {task or type!r} in the scores; there are {', '.join(out.names[level])}")
    return out.y[:, hit.to_numpy()]


def cell_means(data: Study, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over seeds per combination of the factors, (2^k, m), NaN where it was not run, and the counts.

    Row c has factor i present where bit i of c is set.
    """
    code = (data.x @ (2 ** np.arange(len(data.factors)))).astype(int)
    total, count = np.zeros((2, 2 ** len(data.factors), y.shape[1]))
    np.add.at(total, code, np.nan_to_num(y))
    np.add.at(count, code, ~np.isnan(y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / count, count


def run_means(scores, level: str = "type") -> pd.DataFrame:
    """Return one row per run: ``subset, seed``, 0/1 factors, then one column per type (task; ``overall``); points."""
    data = study(scores)
    out = outcomes(data, level)
    names = out.names[level] if level != "overall" else ["overall"]
    table = pd.concat([data.runs, pd.DataFrame(out.y, columns=list(names))], axis=1)
    table.attrs = {"notes": [*data.notes, *out.notes], "unit": "points"}
    return table


def cells(scores, task: str | None = None, type: str | None = None) -> pd.DataFrame:
    """Return one row per subset of one task (one type; overall): ``subset``, factors, ``score, sd_seed, n``.

    ``score`` is the mean over the seeds, ``sd_seed`` their spread (NaN with one seed). KitError for an unknown task.
    """
    data = study(scores)
    table = data.runs.assign(score=one(data, task, type)[:, 0]).dropna(subset=["score"])
    wanted = {"score": ("score", "mean"), "sd_seed": ("score", "std"), "n": ("score", "size")}
    table = table.groupby(list(data.factors), sort=False).agg(subset=("subset", "first"), **wanted).reset_index()
    return table[["subset", *data.factors, *wanted]]


def paired_differences(scores, factor: str, task: str | None = None, type: str | None = None) -> pd.DataFrame:
    """Return the pairs of runs that differ in ``factor`` only: ``without, with_, seed, before, after, difference``.

    With one seed and all 16 subsets these are 8 rows, and the mean of ``difference`` is the main effect.
    """
    data = study(scores)
    if factor not in data.factors:
        raise KitError(f"no category {factor!r} in the scores; there are {', '.join(data.factors)}")
    runs = data.runs.assign(score=one(data, task, type)[:, 0])
    others = [*(name for name in data.factors if name != factor), "seed"]
    off, on = (runs[runs[factor] == level] for level in (0, 1))
    table = off.merge(on, on=others, suffixes=("_off", "_on"))
    names = {"subset_off": "without", "subset_on": "with_", "seed": "seed", "score_off": "before", "score_on": "after"}
    table = table.rename(columns=names)[list(names.values())]
    table = table.assign(difference=table["after"] - table["before"]).dropna(subset=["difference"])
    table = table.reset_index(drop=True)
    table.attrs = {"notes": list(data.notes), "unit": "points"}
    return table
