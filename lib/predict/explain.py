"""Does an explanation say which sets gain more than others? Judged on sets, and on types, that are left out.

What is to be explained is a category's main effect on a set. At level "sets" every fit has the mean of each category on
each type, at level "types" the mean of each category over types, and only what an explanation adds counts. It is fitted
without a set (a type) and asked for that one. The null is that sets have exchanged their effects: whole sets, whose
cells have luck in common, and within their type (across types, noise would explain something in up to half of all
studies).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.regression import adjust, main_effects
from lib.influence.scores import Study
from lib.influence.tables import outcomes

RULER = "score"  # no explanation: the change of the score itself, in the adapters that explain
LEVELS = ("sets", "types")
FEWEST = 4  # rows that can be judged


@dataclass(frozen=True)
class Truth:
    """What is to be explained: effects (sets, factors) in points, each beside the seeds whose adapters explain it."""

    name: str
    parts: tuple[tuple[tuple[int, ...], np.ndarray], ...]
    ceiling: Mapping[str, float]  # per level: the reliability of the effects, which a perfect explanation would reach


def truths(study: Study, tasks: Sequence[str], seeds: Sequence[int], second: pd.DataFrame | None = None) -> list[Truth]:
    """Return the effects to be explained: of all runs, of other seeds' runs, of a ``second`` study (replication.csv).

    The last two share no run with what explains them. Raises KitError where the runs do not determine every effect.
    """
    at, y, ran = [study.tasks.index(task) for task in tasks], outcomes(study).y, study.runs["seed"].to_numpy()
    types = [study.types[i] for i in at]
    whole = main_effects(study, y).effect.T[at]
    others = {seed: ran != seed for seed in seeds if set(ran) - {seed}}
    apart = {seed: main_effects(study.only(rows), y[rows]).effect.T[at] for seed, rows in others.items()}
    if not np.isfinite([whole, *apart.values()]).all():
        raise KitError("these runs do not determine every category's effect; finish the study with `make reproduce`")

    def ceilings(one: np.ndarray, two: np.ndarray) -> dict[str, float]:
        return {level: _reliability(level, one, two, types) for level in LEVELS}

    half = ceilings(*list(apart.values())[:2]) if len(apart) > 1 else dict.fromkeys(LEVELS, np.nan)
    both, found = {level: 2 * r / (1 + r) for level, r in half.items()}, []
    if len(apart) > 1:
        found.append(Truth("other seeds", tuple(((seed,), effect) for seed, effect in apart.items()), half))
    if second is not None:
        table = second[second["level"] == "task"].pivot(index="task", columns="factor", values="second")
        again = table.reindex(index=list(tasks), columns=list(study.factors)).to_numpy(float)
        both = ceilings(whole, again)
        found.append(Truth("second study", (((*seeds,), again),), both))
    return [Truth("these runs", (((*seeds,), whole),), both), *found]


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
    """Return (rows, factors) of a table (sets, factors), and strata: sets by type, or means of types in one stratum."""
    kind, count = np.unique(types, return_inverse=True, return_counts=True)[1:]
    if level == "sets":
        rows = count[kind] > 1
        return table[rows], kind[rows]
    means = np.array([table[kind == i].mean(axis=0) for i in np.flatnonzero(count > 1)])
    return means, np.zeros(len(means), int)


def centred(table: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return a table (rows, factors) without the means of each stratum and factor."""
    which = strata[:, None] == np.unique(strata)
    return table - which @ (which.T @ table / which.sum(axis=0)[:, None])


def left_out(x: np.ndarray | None, strata: np.ndarray, factors: int) -> np.ndarray:
    """Return the matrix (n, n) that turns effects (rows x factors, flat) into errors of predicting rows left out.

    The model is a mean per stratum and factor, and one slope for ``x`` (rows, factors; None: means alone).
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
    explanations: Mapping[str, Sequence[np.ndarray]], effects: Sequence[np.ndarray], strata, draws: int = 4999
) -> pd.DataFrame:
    """Return one row per explanation: ``r2`` on rows left out, its null, and p for "no better than by chance".

    ``explanations``: {name: one (rows, factors) array beside each of ``effects``}; r2 is 1 - squared error / that of
    the means, averaged over the pairs. ``null_low, null``: its 5th and 95th percentile where the rows of a stratum have
    exchanged their effects; ``p_holm``: over all but the RULER; ``slope``: points per standard deviation.
    """
    strata, (count, factors), rows = np.asarray(strata), effects[0].shape, []
    keys = np.random.default_rng(0).random((draws, count)) + strata  # sorted: each stratum's rows in random order
    home = np.argsort(strata, kind="stable")
    orders = np.empty((draws + 1, count), int)
    orders[:, home] = np.vstack([home, np.argsort(keys, axis=1)])
    shuffled = [effect[orders].reshape(len(orders), -1).T for effect in effects]

    def errors(x: np.ndarray | None, y: np.ndarray) -> np.ndarray:
        return ((left_out(x, strata, factors) @ y) ** 2).sum(axis=0)

    means = [errors(None, y) for y in shuffled]
    for name, xs in explanations.items():
        r2 = np.mean([1 - errors(*both) / mean for *both, mean in zip(xs, shuffled, means, strict=True)], axis=0)
        pairs = [(centred(x, strata), centred(y, strata)) for x, y in zip(xs, effects, strict=True)]
        slope = np.mean([(x * y).sum() / max(x.std(), 1e-12) / x.size for x, y in pairs])
        null = dict(zip(("null_low", "null"), np.quantile(r2[1:], (0.05, 0.95)), strict=True))
        rows.append({"explanation": name, "r2": r2[0], "p": (r2 >= r2[0] - 1e-12).mean(), "slope": slope, **null})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=adjust(table["p"].where(table["explanation"] != RULER), "holm"))


def judge_all(table: pd.DataFrame, facts: Sequence[Truth], factors: Sequence[str], draws: int = 4999) -> pd.DataFrame:
    """Return ``judge`` of every explanation in ``cells``, at both levels (of four rows or more) and for every truth.

    ``repeats``: the correlation of the explanation between two seeds' adapters (NaN with one seed).
    """
    names = list(table.columns.drop(["task", "type", "factor", "seed"]))
    types = table.drop_duplicates("task")["type"].tolist()
    seeds, found = list(dict.fromkeys(table["seed"]))[:2], []
    for level in LEVELS:
        for truth in facts:
            used, effects = zip(*truth.parts, strict=True)
            rows, strata = zip(*(rows_of(level, effect, types) for effect in effects), strict=True)
            if len(strata[0]) < FEWEST:
                continue
            xs = {n: [rows_of(level, wide(table, n, own, factors), types)[0] for own in used] for n in names}
            twice = [[wide(table, name, [seed], factors) for seed in seeds] for name in names]
            repeats = [_reliability(level, two[0], two[1], types) if two[1:] else np.nan for two in twice]
            about = {"level": level, "truth": truth.name, "ceiling": truth.ceiling[level], "repeats": repeats}
            found.append(judge(xs, rows, strata[0], draws).assign(**about))
    if not found:
        raise KitError("no type has two sets, and there are not four types: nothing can be left out and asked for")
    return pd.concat(found, ignore_index=True)
