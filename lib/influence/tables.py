"""Tables that need no regression: what is regressed, the runs behind one effect, levels and gains; in points.

``results`` are rows of subset x seed x task with 0/1 columns of the factors and scores from 0 to 1, as in
``Analysis.tidy``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.common.design import BASE, CODES, POINTS
from lib.common.files import KitError
from lib.influence.scores import Study, study

LEVELS = ("task", "type", "overall")
LABEL_WITHOUT, LABEL_WITH = "public data only", "public + synthetic"
OVERALL = "All tasks"
_OTHER = ("subset", "seed", "task", "type", "score", "public")


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

    A mean uses the tasks that every run with any score of that type has, so that runs stay comparable; ``notes`` say
    which are left out. KitError for an unknown level.
    """
    if level not in LEVELS:
        raise KitError(f"level {level!r} is not known; say {', '.join(LEVELS)} or all")
    points = POINTS * data.y
    if level == "task":
        return Outcomes(points, pd.DataFrame({"level": level, "task": data.tasks, "type": data.types, "n_tasks": 1}))
    columns, rows, notes = [], [], []
    for name in ("",) if level == "overall" else dict.fromkeys(data.types):
        members = np.flatnonzero([name in ("", kind) for kind in data.types])
        whole = complete(points[:, members])
        used, left = members[whole], [data.tasks[i] for i in members[~whole]]
        columns.append(points[:, used].mean(axis=1) if len(used) else np.full(len(points), np.nan))
        rows.append({"level": level, "task": "", "type": name, "n_tasks": len(used)})
        if not len(used):
            notes.append(f"No task of {name or 'the table'} was scored in every run that has any: its mean is lost.")
        elif left:
            told = f"not every run has {', '.join(left[:3])}{', ...' if len(left) > 3 else ''}"
            notes.append(f"The mean of {name or 'all tasks'} is over {len(used)} tasks; {told}.")
    return Outcomes(np.column_stack(columns), pd.DataFrame(rows), tuple(notes))


def complete(y: np.ndarray) -> np.ndarray:
    """Which columns of ``y`` (runs, tasks) every run with any score has."""
    have = ~np.isnan(y)
    return have[have.any(axis=1)].all(axis=0)


def one(data: Study, task: str | None, type: str | None) -> np.ndarray:
    """Return the scores in points, (runs,), of one task, one type's mean, or the overall mean. KitError if unknown."""
    level = "task" if task is not None else "type" if type is not None else "overall"
    out = outcomes(data, level)
    names = list(out.names[level]) if level != "overall" else [None]
    if (task or type) not in names:
        raise KitError(f"no {level} {task or type!r} in the scores; there are {', '.join(names)}")
    return out.y[:, names.index(task or type)]


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
    return pd.concat([data.runs, pd.DataFrame(out.y, columns=list(names))], axis=1)


def cells(scores, task: str | None = None, type: str | None = None) -> pd.DataFrame:
    """Return one row per subset of one task (one type; overall): ``subset``, factors, ``score, sd_seed, n``.

    ``score`` is the mean over the seeds, ``sd_seed`` their spread (NaN with one seed). KitError for an unknown task.
    """
    data = study(scores)
    table = data.runs.assign(score=one(data, task, type)).dropna(subset=["score"])
    wanted = {"score": ("score", "mean"), "sd_seed": ("score", "std"), "n": ("score", "size")}
    table = table.groupby(list(data.factors), sort=False).agg(subset=("subset", "first"), **wanted).reset_index()
    return table[["subset", *data.factors, *wanted]]  # by categories: ss+ls and ls+ss are one subset


def paired_differences(scores, factor: str, task: str | None = None, type: str | None = None) -> pd.DataFrame:
    """Return the pairs of runs that differ in ``factor`` only: ``without, with_, seed, before, after, difference``."""
    data = study(scores)
    if factor not in data.factors:
        raise KitError(f"no category {factor!r} in the scores; there are {', '.join(data.factors)}")
    runs = data.runs.assign(score=one(data, task, type))
    others = [*(name for name in data.factors if name != factor), "seed"]
    table = runs[runs[factor] == 0].merge(runs[runs[factor] == 1], on=others, suffixes=("_off", "_on"))
    names = {"subset_off": "without", "subset_on": "with_", "seed": "seed", "score_off": "before", "score_on": "after"}
    table = table.rename(columns=names)[list(names.values())].dropna().reset_index(drop=True)
    return table.assign(difference=table["after"] - table["before"])


def factors(results: pd.DataFrame) -> list[str]:
    """Names of the categories that take both values over the trained runs: all 0/1 columns but `public`."""
    trained = results[results["subset"] != BASE]
    return [name for name in trained if name not in _OTHER and trained[name].nunique() == 2]


def corner_names(results: pd.DataFrame) -> dict[str, str]:
    """What the corners are called on a figure of these results: the kit's words, or the table's own categories."""
    names = factors(results)
    if names == ["synthetic"]:
        return {LABEL_WITHOUT: "without synthetic data", LABEL_WITH: "with synthetic data"}
    if not set(names) & {*CODES, *CODES.values()}:
        listed = ", ".join(names) if len(names) < 5 else f"the {len(names)} categories"
        return {LABEL_WITHOUT: f"none of {listed}", LABEL_WITH: f"all of {listed}"}
    return {LABEL_WITH: f"public + all synthetic ({'+'.join(names)})"}


def corners(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of the untrained base, of the runs without and with all synthetic data (empty where not run)."""
    names, base = factors(results), results["subset"] == BASE
    trained, count = ~base & (results["public"] == 1), results[names].sum(axis=1)
    without, whole = results[trained & (count == 0)], results[trained & (count == len(names))]
    return {"untrained base": results[base], LABEL_WITHOUT: without, LABEL_WITH: whole}


def main_results(results: pd.DataFrame) -> pd.DataFrame:
    """Mean score in points per mixture and task type (and over all tasks): the paper's Table 1.

    Columns: generator (without a name), mixture, type, tasks, seeds, points, sd_seeds (of the type mean over seeds).
    """
    parts = []
    for mixture, rows in corners(results).items():
        if rows.empty:
            continue
        both = pd.concat([rows, rows.assign(type=OVERALL)])
        seeds = both.groupby(["type", "seed"])["score"].mean().groupby("type")
        table = pd.DataFrame({"generator": "", "mixture": mixture, "tasks": both.groupby("type")["task"].nunique()})
        table = table.assign(seeds=seeds.size(), points=seeds.mean() * POINTS, sd_seeds=seeds.std(ddof=1) * POINTS)
        parts.append(table.reset_index()[["generator", "mixture", "type", "tasks", "seeds", "points", "sd_seeds"]])
    if not parts:
        raise KitError("no run without or with all synthetic data in the results; main results need at least one")
    return pd.concat(parts, ignore_index=True)


def gains(results: pd.DataFrame) -> pd.DataFrame:
    """Per task: score without and with all synthetic data and the gain, in points; one row per task and seed.

    A seed that has only one of the two corners is left out. Columns: task, type, seed, without, with, gain.
    """
    rows, sides = corners(results), {"without": LABEL_WITHOUT, "with": LABEL_WITH}
    means = [rows[side].groupby(["task", "type", "seed"])["score"].mean().rename(name) for name, side in sides.items()]
    table = pd.concat(means, axis=1, join="inner") * POINTS
    if table.empty:
        raise KitError("no seed has both the run without and the run with all synthetic data; gains need both")
    return table.assign(gain=table["with"] - table["without"]).reset_index()


def published_gains(reference: pd.DataFrame) -> pd.DataFrame:
    """Per-task gain of synthetic data in the scores published by Wang et al. (2024), Table 17, in points."""
    sides = {"wang2024_without_synthetic": "without", "wang2024_full": "with"}
    table = reference[["task", "type", *sides]].rename(columns=sides)
    return table.assign(gain=(table["with"] - table["without"]).round(6))


def curve(gain: pd.Series, order: pd.Series | None = None) -> pd.DataFrame:
    """Cumulated gain over tasks from the largest (or in `order`): k, fraction of tasks, sum, share of the net gain.

    `share` is NaN when the net gain is not positive: a share of a loss says nothing.
    """
    ranked = gain.loc[(gain if order is None else order).sort_values(ascending=False, kind="stable").index]
    total, k = float(ranked.sum()), np.arange(1, len(ranked) + 1)
    table = pd.DataFrame({"k": k, "fraction": k / len(k), "task": ranked.index, "gain": ranked.to_numpy()})
    table["cumulated"] = ranked.cumsum().to_numpy()
    return table.assign(share=table["cumulated"] / total if total > 0 else np.nan)


def honest_curve(per_seed: pd.DataFrame) -> pd.DataFrame | None:
    """The same curve when each seed is counted in the order that the other seeds give, averaged; None for one seed.

    Sorting noisy gains makes any gain look sparse; this does not.
    """
    wide = per_seed.pivot(index="task", columns="seed", values="gain").dropna(axis=1)
    if wide.shape[1] < 2:
        return None
    folds = [curve(wide[seed], wide.drop(columns=seed).mean(axis=1)) for seed in wide]
    mean = sum(fold["cumulated"] for fold in folds) / len(folds)
    total = float(wide.mean(axis=1).sum())
    return folds[0][["k", "fraction"]].assign(cumulated=mean, share=mean / total if total > 0 else np.nan)


def top(gain: pd.Series, k: int) -> dict[str, float]:
    """How uneven gains are: mean, share of the net gain in the k largest, how many fall, how many move by 1 or less."""
    found = {"tasks": len(gain), "mean": float(gain.mean()), "share": float(curve(gain)["share"].iloc[k - 1])}
    return found | {"fall": int((gain < 0).sum()), "within_one": int((gain.abs() <= 1 + 1e-9).sum())}
