"""Outcomes: what is regressed (a task's scores, or a mean over tasks), subset means, and pairs of runs of an effect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.scores import Study

LEVELS = ("task", "type", "overall")


@dataclass(frozen=True)
class Outcomes:
    """What is regressed: ``y`` (runs, m) in points, and the names of its columns."""

    y: np.ndarray
    names: pd.DataFrame  # level, task, type, n_tasks
    notes: tuple[str, ...] = ()


def outcomes(data: Study, level: str = "task") -> Outcomes:
    """Return the scores in points per task, or their mean per type or overall, taken per run first.

    A mean uses the tasks that every run with any score of that type has, so that runs stay comparable; tasks left
    out of a mean are named in ``notes``. Raises KitError for an unknown level.
    """
    if level not in LEVELS:
        raise KitError(f"level {level!r} is not known; say {', '.join(LEVELS)} or all")
    points = 100 * data.y
    if level == "task":
        names = pd.DataFrame({"level": level, "task": data.tasks, "type": data.types, "n_tasks": 1})
        return Outcomes(points, names)
    types = np.array(data.types)
    groups = (
        {"": np.ones(len(types), bool)} if level == "overall" else {t: types == t for t in dict.fromkeys(data.types)}
    )
    columns, rows, notes = [], [], []
    for name, members in groups.items():
        mean, used, left = _mean(points[:, members], [t for t, m in zip(data.tasks, members, strict=True) if m])
        columns.append(mean)
        rows.append({"level": level, "task": "", "type": name, "n_tasks": used})
        if not used:
            notes.append(f"No task of {name or 'the table'} was scored in every run that has any: its mean is lost.")
        elif left:
            notes.append(
                f"The mean of {name or 'all tasks'} is over {used} tasks; not every run has {', '.join(left[:3])}"
                + (f" and {len(left) - 3} more." if len(left) > 3 else ".")
            )
    return Outcomes(np.column_stack(columns), pd.DataFrame(rows), tuple(notes))


def _mean(y: np.ndarray, tasks: list[str]) -> tuple[np.ndarray, int, list[str]]:
    """Mean over the tasks that all runs with any score have; NaN for runs without any."""
    have = ~np.isnan(y)
    some = have.any(axis=1)
    complete = have[some].all(axis=0)
    if not complete.any():
        return np.full(len(y), np.nan), 0, tasks
    mean = np.where(some, y[:, complete].mean(axis=1), np.nan)
    return mean, int(complete.sum()), [task for task, whole in zip(tasks, complete, strict=True) if not whole]


def toggle_pairs(data: Study, factor: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the runs without and with ``factor`` that share all other categories and the seed.

    A complete 2^4 factorial has 8 such pairs per seed and factor.
    """
    others = [name for name in data.factors if name != factor]
    key = [tuple(row) for row in data.runs[[*others, "seed"]].to_numpy().tolist()]
    on = data.runs[factor].to_numpy() == 1
    partner = {k: i for i, k in enumerate(key) if on[i]}
    pairs = [(i, partner[k]) for i, k in enumerate(key) if not on[i] and k in partner]
    both = np.array(pairs, int).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def cell_means(data: Study, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over seeds per combination of the factors, (2^k, m), NaN where it was not run, and the counts.

    Row c has factor i present where bit i of c is set.
    """
    code = (data.x @ (2 ** np.arange(len(data.factors)))).astype(int)
    total, count = np.zeros((2 ** len(data.factors), y.shape[1])), np.zeros((2 ** len(data.factors), y.shape[1]))
    np.add.at(total, code, np.nan_to_num(y))
    np.add.at(count, code, ~np.isnan(y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / count, count
