"""Does an explanation say which sets gain more than others? Judged on sets, and on types, that are left out.

A cell is a category and a set; what is to be explained is the category's main effect on the set. At level "sets" every
fit has the mean of each category on each type, at level "types" the mean of each category over types, and only what an
explanation adds to these counts. It is fitted without a set (a type) and asked for that one. The null is that sets have
exchanged their effects: whole sets, as the cells of a set have luck in common, and within their type, as sets of a type
have more than that in common (exchanged across types, noise would explain something in up to half of all studies).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.errors import main_effects
from lib.influence.outcomes import outcomes
from lib.influence.regression import adjust
from lib.influence.scores import Study

KEYS = ("task", "type", "factor", "seed")  # of a cell; the other columns explain
RULER = "score"  # no explanation: the change of the score itself, in the adapters that explain
LEVELS = ("sets", "types")
FEWEST = 4  # rows that can be judged


@dataclass(frozen=True)
class Truth:
    """What is to be explained: effects (sets, factors) in points, each beside the seeds whose adapters explain it."""

    name: str
    parts: tuple[tuple[tuple[int, ...], np.ndarray], ...]
    ceiling: Mapping[str, float]  # per level: the reliability of the effects, which a perfect explanation would reach


def truths(study: Study, tasks: Sequence[str], seeds: Sequence[int], second: pd.DataFrame | None = None):
    """Return the effects to be explained, a list of Truth: of all runs, of other seeds' runs, of a second study.

    The last two share no run with what explains them. ``second``: rows of ``lib.influence.replication`` (or None).
    Raises KitError where the runs do not determine every effect.
    """
    at, y, ran = [study.tasks.index(task) for task in tasks], outcomes(study).y, study.runs["seed"].to_numpy()
    types = [study.types[i] for i in at]
    whole = main_effects(study, y).effect.T[at]
    others = {seed: ran != seed for seed in seeds if set(ran) - {seed}}
    apart = {seed: main_effects(study.only(rows), y[rows]).effect.T[at] for seed, rows in others.items()}
    half = {
        level: _reliability(level, *list(apart.values())[:2], types) if len(apart) > 1 else np.nan for level in LEVELS
    }
    both = {level: 2 * r / (1 + r) for level, r in half.items()}
    if second is not None:
        table = second[second["level"] == "task"].pivot(index="task", columns="factor", values="second")
        again = table.reindex(index=list(tasks), columns=list(study.factors)).to_numpy(float)
        both = {level: _reliability(level, whole, again, types) for level in LEVELS}
    if not np.isfinite([whole, *apart.values()]).all():
        raise KitError("these runs do not determine every category's effect; finish the study with `make reproduce`")
    found = [Truth("these runs", (((*seeds,), whole),), both)]
    if len(apart) > 1:
        found.append(Truth("other seeds", tuple(((seed,), effect) for seed, effect in apart.items()), half))
    return found if second is None else [*found, Truth("second study", (((*seeds,), again),), both)]


def _reliability(level: str, one: np.ndarray, two: np.ndarray, types: Sequence[str]) -> float:
    """Correlation of two estimates of the same effects, the means of strata taken out, at least 0."""
    (one, strata), (two, _) = rows_of(level, one, types), rows_of(level, two, types)
    if len(strata) < FEWEST:
        return np.nan
    return max(0.0, float(np.corrcoef(centred(one, strata).ravel(), centred(two, strata).ravel())[0, 1]))


def wide(table: pd.DataFrame, name: str, seeds: Sequence[int], factors) -> np.ndarray:
    """Return a column of ``cells`` as (sets, factors), the mean over seeds."""
    part = table[table["seed"].isin(seeds)].groupby(["task", "factor"])[name].mean().unstack()
    return part.reindex(index=table["task"].unique(), columns=list(factors)).to_numpy(float)


def rows_of(level: str, table: np.ndarray, types: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows, factors) and each row's stratum, of types with two sets or more: their sets, or their means.

    ``table``: (sets, factors). At level "sets" a stratum is a type; at "types" all rows are one.
    """
    kind, count = np.unique(types, return_inverse=True, return_counts=True)[1:]
    kept = [i for i in range(len(count)) if count[i] > 1]
    if level == "sets":
        rows = np.isin(kind, kept)
        return table[rows], kind[rows]
    return np.array([table[kind == i].mean(axis=0) for i in kept]), np.zeros(len(kept), int)


def left_out(x: np.ndarray | None, strata: np.ndarray, factors: int) -> np.ndarray:
    """Return the matrix (n, n) that turns effects (rows x factors, flat) into errors of predicting rows left out.

    The model is a mean per stratum and factor, and one slope for ``x`` (rows, factors; None: means alone). The cells of
    a row are predicted by the fit without that row.
    """
    rows = len(strata)
    design = np.kron(strata[:, None] == np.unique(strata), np.eye(factors))
    if x is not None:
        x = centred(x, strata).ravel()
        design = np.column_stack([design, x / max(float(x.std()), 1e-12)])
    rest = np.eye(rows * factors) - design @ np.linalg.pinv(design)
    own = rest.reshape(rows, factors, rows, factors)[np.arange(rows), :, np.arange(rows)]
    return (np.linalg.pinv(own) @ rest.reshape(rows, factors, -1)).reshape(rest.shape)


def judge(
    explanations: Mapping[str, Sequence[np.ndarray]], effects: Sequence[np.ndarray], strata, draws: int = 4999, seed=0
) -> pd.DataFrame:
    """Return one row per explanation: ``r2`` on rows left out, its null, and p for "no better than by chance".

    ``explanations``: {name: one (rows, factors) array beside each of ``effects``}; r2 is 1 - squared error / that of
    the means (below 0: worse than these), averaged over the pairs. ``null_low, null``: its 5th and 95th percentile
    where the rows of a stratum have exchanged their effects; ``p_holm``: over all explanations but the RULER.
    ``slope``: points per standard deviation, over all rows.
    """
    strata, (count, factors), rng = np.asarray(strata), effects[0].shape, np.random.default_rng(seed)
    keys = rng.random((draws, count)) + strata  # sorted within strata: a random order of each stratum's rows
    home = np.argsort(strata, kind="stable")
    orders = np.empty((draws + 1, count), int)
    orders[:, home] = np.vstack([home, np.argsort(keys, axis=1)])
    shuffled = [effect[orders].reshape(len(orders), -1).T for effect in effects]
    means = [((left_out(None, strata, factors) @ y) ** 2).sum(axis=0) for y in shuffled]
    rows = []
    for name, xs in explanations.items():
        left = [((left_out(x, strata, factors) @ y) ** 2).sum(axis=0) for x, y in zip(xs, shuffled, strict=True)]
        r2 = np.mean([1 - a / b for a, b in zip(left, means, strict=True)], axis=0)
        slope = np.mean([_slope(centred(x, strata), centred(y, strata)) for x, y in zip(xs, effects, strict=True)])
        p = float((r2 >= r2[0] - 1e-12).mean())
        rows.append({"explanation": name, "r2": r2[0], "p": p, "slope": slope})
        rows[-1] |= dict(zip(("null_low", "null"), np.quantile(r2[1:], (0.05, 0.95)), strict=True))
    table = pd.DataFrame(rows)
    own = table["explanation"] != RULER
    return table.assign(p_holm=pd.Series(adjust(table.loc[own, "p"], "holm"), table.index[own]))


def centred(table: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return a table (rows, factors) without the means of each stratum and factor."""
    which = strata[:, None] == np.unique(strata)
    return table - which @ (which.T @ table / which.sum(axis=0)[:, None])


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float((x * y).sum() / max(x.std(), 1e-12) / x.size)


def judge_all(table: pd.DataFrame, facts: Sequence[Truth], factors: Sequence[str], draws: int = 4999) -> pd.DataFrame:
    """Return ``judge`` of every explanation in ``cells``, at both levels and for every truth, stacked.

    Added columns: ``level, truth, ceiling``, and ``repeats``: the correlation of the explanation between two seeds'
    adapters (NaN with one seed). A level of fewer than four rows is left out.
    """
    names = [name for name in table.columns if name not in KEYS]
    types, found = table.drop_duplicates("task")["type"].tolist(), []
    seeds = list(dict.fromkeys(table["seed"]))[:2]
    for level in LEVELS:
        for truth in facts:
            used, effects = zip(*truth.parts, strict=True)
            rows, strata = zip(*(rows_of(level, effect, types) for effect in effects), strict=True)
            if len(strata[0]) < FEWEST:
                continue
            xs = {n: [wide(table, n, own, factors) for own in used] for n in names}
            own = judge({n: [rows_of(level, x, types)[0] for x in v] for n, v in xs.items()}, rows, strata[0], draws)
            twice = [[wide(table, name, [seed], factors) for seed in seeds] for name in own["explanation"]]
            repeats = [_reliability(level, *two, types) if len(seeds) > 1 else np.nan for two in twice]
            found.append(own.assign(level=level, truth=truth.name, ceiling=truth.ceiling[level], repeats=repeats))
    if not found:
        raise KitError("no type has two sets, and there are not four types: nothing can be left out and asked for")
    return pd.concat(found, ignore_index=True)


def verdicts(judged: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per level and explanation, the best first: mean ``r2``, its least, and whether it ``explains``.

    It does where it is beyond chance (p_holm < alpha) for every truth at hand; ``beyond`` counts those ``of`` how many.
    """
    own = judged[judged["explanation"] != RULER].assign(beyond=judged["p_holm"] < alpha)
    wanted = {"r2": ("r2", "mean"), "least": ("r2", "min"), "beyond": ("beyond", "sum"), "of": ("beyond", "size")}
    wanted |= {"slope": ("slope", "mean"), "repeats": ("repeats", "mean")}
    table = own.groupby(["level", "explanation"], sort=False).agg(**wanted).reset_index()
    table = table.assign(explains=table["beyond"] == table["of"])
    return table.sort_values(["level", "explains", "r2"], ascending=[True, False, False], ignore_index=True)
