"""Tables behind the figures that need no regression: levels, gains, who carries the gain, noise.

All scores are on mteb's scale (0 to 1) on the way in and in points (0 to 100) on the way out. A results table
has one row per subset x seed x task with 0/1 columns of the factors; the untrained base has subset "base".
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common import bundled
from lib.common.design import BASE, CODES
from lib.common.display import POINTS
from lib.common.files import KitError

LABEL_WITHOUT, LABEL_WITH = "public data only", "public + synthetic"
OVERALL = "All tasks"
_OTHER = ("generator", "subset", "seed", "task", "type", "score", "public")


def factors(results: pd.DataFrame) -> list[str]:
    """Names of the categories that take both values over the trained runs: all 0/1 columns but `public`."""
    trained = results[results["subset"] != BASE]
    return [name for name in trained if name not in _OTHER and trained[name].nunique() == 2]


def own(results: pd.DataFrame) -> bool:
    """Whether the categories are somebody's own, none of the kit's."""
    return not set(factors(results)) & {*CODES, *CODES.values(), "synthetic"}


def corner_names(results: pd.DataFrame) -> dict[str, str]:
    """What the corners are called on a figure of these results: the kit's words, or the table's own categories."""
    names = factors(results)
    if names == ["synthetic"]:
        return {LABEL_WITHOUT: "without synthetic data", LABEL_WITH: "with synthetic data"}
    if own(results):
        listed = ", ".join(names) if len(names) < 5 else f"the {len(names)} categories"
        return {LABEL_WITHOUT: f"none of {listed}", LABEL_WITH: f"all of {listed}"}
    return {LABEL_WITH: f"public + all synthetic ({'+'.join(names)})"}


def corners(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of the untrained base, of the runs without and with all synthetic data (empty where not run)."""
    names = factors(results)
    is_base = results["subset"] == BASE
    trained = ~is_base & (results["public"] == 1)
    return {
        "untrained base": results[is_base],
        LABEL_WITHOUT: results[trained & (results[names].sum(axis=1) == 0)],
        LABEL_WITH: results[trained & (results[names].sum(axis=1) == len(names))],
    }


def main_results(results: pd.DataFrame) -> pd.DataFrame:
    """Mean score in points per generator, mixture and task type (and over all tasks): the paper's Table 1.

    Columns: generator, mixture, type, tasks, seeds, points, sd_seeds (spread of the type mean over seeds; NaN
    with one seed). A table without a `generator` column is one generator without a name.
    """
    parts = []
    for generator, group in results.groupby("generator", sort=False) if "generator" in results else [("", results)]:
        for mixture, rows in corners(group).items():
            if len(rows) == 0:
                continue
            both = pd.concat([rows, rows.assign(type=OVERALL)])
            seeds = both.groupby(["type", "seed"])["score"].mean().groupby("type")
            table = pd.DataFrame({"generator": generator, "mixture": mixture, "seeds": seeds.size()})
            table = table.assign(points=seeds.mean() * POINTS, sd_seeds=seeds.std(ddof=1) * POINTS)
            parts.append(table.assign(tasks=both.groupby("type")["task"].nunique()).reset_index())
    if not parts:
        raise KitError("no run without or with all synthetic data in the results; main results need at least one")
    columns = ["generator", "mixture", "type", "tasks", "seeds", "points", "sd_seeds"]
    return pd.concat(parts, ignore_index=True)[columns]


def gains(results: pd.DataFrame) -> pd.DataFrame:
    """Per task: score without and with all synthetic data and the gain, in points; one row per task and seed.

    A seed that has only one of the two corners is left out. Columns: task, type, seed, without, with, gain.
    """
    rows = corners(results)
    keys = ["task", "type", "seed"]
    sides = [
        rows[label].groupby(keys)["score"].mean().rename(name)
        for label, name in ((LABEL_WITHOUT, "without"), (LABEL_WITH, "with"))
    ]
    table = pd.concat(sides, axis=1, join="inner") * POINTS
    if table.empty:
        raise KitError("no seed has both the run without and the run with all synthetic data; gains need both")
    return table.assign(gain=table["with"] - table["without"]).reset_index()


def published_gains(
    reference: pd.DataFrame, without: str = "wang2024_without_synthetic", full: str = "wang2024_full"
) -> pd.DataFrame:
    """Per-task gain of synthetic data in the scores published by Wang et al. (2024), Table 17, in points."""
    table = reference[["task", "type"]].assign(without=reference[without], **{"with": reference[full]})
    return table.assign(gain=(table["with"] - table["without"]).round(6))


def curve(gain: pd.Series, order: pd.Series | None = None) -> pd.DataFrame:
    """Cumulated gain over tasks from the largest gain down: k, fraction of tasks, sum, share of the net gain.

    `order` (same index) ranks the tasks when given, so that one seed can choose and another one count. `share`
    is NaN when the net gain is not positive: a share of a loss says nothing.
    """
    ranked = gain.loc[(gain if order is None else order).sort_values(ascending=False, kind="stable").index]
    total, k = float(ranked.sum()), np.arange(1, len(ranked) + 1)
    table = pd.DataFrame({"k": k, "fraction": k / len(k), "task": ranked.index, "gain": ranked.to_numpy()})
    table["cumulated"] = ranked.cumsum().to_numpy()
    return table.assign(share=table["cumulated"] / total if total > 0 else np.nan)


def honest_curve(per_seed: pd.DataFrame) -> pd.DataFrame | None:
    """The same curve when each seed is counted in the order that the other seeds give, averaged; None for one seed.

    Sorting noisy gains makes any gain look sparse; ranking on other seeds takes that illusion away.
    """
    wide = per_seed.pivot(index="task", columns="seed", values="gain").dropna(axis=1)
    if wide.shape[1] < 2:
        return None
    folds = [curve(wide[seed], wide.drop(columns=seed).mean(axis=1)) for seed in wide]
    mean = sum(fold["cumulated"] for fold in folds) / len(folds)
    total = float(wide.mean(axis=1).sum())
    return folds[0][["k", "fraction"]].assign(cumulated=mean, share=mean / total if total > 0 else np.nan)


def top(gain: pd.Series, k: int) -> dict[str, float]:
    """How uneven a set of gains is: mean, share of the net gain in the k largest, number that fall,
    number that move by at most one point."""
    cumulated = curve(gain)
    return {
        "tasks": len(gain),
        "mean": float(gain.mean()),
        "share": float(cumulated["share"].iloc[min(k, len(gain)) - 1]),
        "fall": int((gain < 0).sum()),
        "within_one": int((gain.abs() <= 1 + 1e-9).sum()),
    }


def false_alarms() -> pd.DataFrame:
    """Return how often each test of the kit finds something in simulated studies without effects, in per cent.

    One row per design (``shape``), ``question`` and ``test``, one column per kind of noise: the table that is shipped
    with the kit and held by its tests (tests/kits/alarms.py simulates it). NaN where that noise is no null of the test.
    """
    found = bundled.reference("false_alarms")
    rows = found[["shape", "question", "test"]].drop_duplicates()
    wide = found.pivot(index=list(rows), columns="noise", values="rate")
    noises = max(found.groupby("shape")["noise"].unique(), key=len)  # in their order; one seed has fewer kinds
    wide = (100 * wide).round(1).reindex(pd.MultiIndex.from_frame(rows), columns=noises)
    return wide.reset_index()
