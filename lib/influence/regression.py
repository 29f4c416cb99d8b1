"""Least squares of many outcomes at once by statsmodels, the tests of what it gives, and the error across runs.

Factors are centred (absent = -1/2, present = +1/2), so in a complete design a main effect is the mean of the runs with
a category minus that of the runs without it, whatever interactions are added.

The error across runs depends on what runs share. Own draws (every run draws its own batches and adapter start): the
residual of the main-effects regression, with the level of a seed as a block where the subsets have seeds in common.
Shared draws (all subsets of a seed see the same batches): a lucky draw of a category sits in half of a seed's runs at
once, the residual cannot see it, and the only honest error is how an effect differs from seed to seed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations
from warnings import catch_warnings

import numpy as np
import pandas as pd
from scipy import stats
from scipy.linalg import null_space
from scipy.sparse.csgraph import connected_components
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import fdrcorrection

from lib.common.design import common_seeds
from lib.influence.scores import Study

TINY = 1e-10  # relative size under which a residual or a singular value counts as rounding


@dataclass(frozen=True)
class Fit:
    """Effects of terms on ``m`` outcomes, (terms, m) in the outcome's unit; NaN where one cannot be estimated."""

    names: tuple[str, ...]  # "mean", then factors, then products such as "ss:sl", then blocks
    effect: np.ndarray
    se: np.ndarray  # (terms, m); NaN without degrees of freedom
    df: np.ndarray  # (m,)
    rss: np.ndarray  # (m,) residual sum of squares; 0 for an exact fit
    n: np.ndarray  # (m,) runs used
    lost: tuple[str, ...]  # sentences: what could not be separated, and for how many outcomes
    by_seed: np.ndarray | None = None  # (seeds, terms, m) under shared draws

    @property
    def sd(self) -> np.ndarray:
        """The residual standard deviation of each outcome, (m,); NaN without degrees of freedom."""
        return np.sqrt(self.rss / np.where(self.df > 0, self.df, np.nan))

    def of(self, names) -> Fit:
        """The same of the named terms only."""
        rows = [self.names.index(name) for name in names]
        return replace(self, names=tuple(names), effect=self.effect[rows], se=self.se[rows])


def model_matrix(levels: np.ndarray, factors, terms: str = "main") -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the centred model matrix (runs, terms) of 0/1 ``levels`` (runs, factors), and the terms' names.

    ``terms``: ``main`` effects; ``two_way`` adds all products of two; ``saturated`` all, which leaves the differences
    between seeds of one subset as error.
    """
    centred = np.asarray(levels, float) - 0.5
    top = {"main": 1, "two_way": 2, "saturated": len(factors)}[terms]
    chosen = [places for size in range(top + 1) for places in combinations(range(len(factors)), size)]
    columns = [np.prod(centred[:, places], axis=1) for places in chosen]  # the empty product is the mean
    return np.column_stack(columns), tuple(":".join(factors[i] for i in places) or "mean" for places in chosen)


def design(data: Study, terms: str = "main") -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the centred model matrix of a study and its names: terms, then blocks.

    Blocks: a level per seed where subsets have seeds in common; under shared draws, for ``terms`` beyond the main
    effects (whose error it would be), also each category's effect in each seed.
    """
    x, names = model_matrix(data.x, data.factors, terms)
    if not common_seeds(data.runs):
        return x, names
    later = np.unique(data.runs["seed"])[1:]
    level = (data.runs["seed"].to_numpy()[:, None] == later).astype(float)
    level -= level.mean(axis=0)
    blocks, said = [level], [f"seed {seed}" for seed in later]
    if data.draws == "shared" and terms != "main":
        blocks += [level * x[:, [1 + i]] for i in range(len(data.factors))]
        said += [f"{name} in seed {seed}" for name in data.factors for seed in later]
    return np.column_stack([x, *blocks]), (*names, *said)


def fit(x: np.ndarray, names, y: np.ndarray) -> Fit:
    """Least squares of every column of ``y`` (runs, m; NaN = run missing) on ``x`` (runs, terms).

    Outcomes with the same missing runs are one ``OLS``: thousands cost as much as one. A coefficient that the runs do
    not determine is NaN, and ``lost`` says which terms it is tied to.
    """
    y = np.asarray(y, float)
    have, m = ~np.isnan(y), y.shape[1]
    effect, se = np.full((2, x.shape[1], m), np.nan)
    df, rss, lost = np.zeros(m, int), np.full(m, np.nan), Counter()
    patterns, member = np.unique(have, axis=1, return_inverse=True)
    for place, rows in enumerate(patterns.T):
        columns = np.flatnonzero(member.ravel() == place)
        if not rows.any():
            continue
        part, own = x[rows], y[np.ix_(rows, columns)]
        left_open = (null_space(part, rcond=TINY) ** 2).sum(axis=1) > TINY
        lost.update(dict.fromkeys(_ties(part, np.array(names)), len(columns)) if left_open.any() else {})
        centre = own.mean(axis=0)  # subtracted before and added after: digits, not statistics
        with catch_warnings(action="ignore"):  # of terms that are left open: they become NaN below
            result = OLS(own - centre, part).fit()
        found = result.params.reshape(len(left_open), -1) + np.outer(result.model.pinv_wexog.sum(axis=1), centre)
        square = (result.resid.reshape(own.shape) ** 2).sum(axis=0)
        floor = TINY * np.abs(own).max(axis=0)  # what is smaller is rounding, and no effect or residual
        found, square = np.where(np.abs(found) <= floor, 0, found), np.where(square <= len(part) * floor**2, 0, square)
        rss[columns], df[columns] = square, result.df_resid
        variance = square / result.df_resid if result.df_resid else np.full(len(columns), np.nan)
        error = np.sqrt(np.outer(np.diag(result.normalized_cov_params), variance))
        found[left_open], error[left_open] = np.nan, np.nan
        effect[:, columns], se[:, columns] = found, error
    said = tuple(text if count == m else f"{text} (in {count} of {m})" for text, count in lost.items())
    return Fit(tuple(names), effect, se, df, rss, have.sum(axis=0), said)


def _ties(x: np.ndarray, names: np.ndarray) -> list[str]:
    """Say in words which terms the runs ``x`` (runs, terms) leave open: those that never vary, those tied together."""
    still = (np.ptp(x, axis=0) < TINY) & (names != "mean")
    sentences, moving = [f"{name} is lost: it is the same in every run" for name in names[still]], names[~still]
    null = null_space(x[:, ~still], rcond=TINY)
    linked = np.abs(null @ null.T) > 1e-8
    group = connected_components(linked)[1]
    for one in dict.fromkeys(group[np.diag(linked)]):
        tied = " and ".join(name for name in moving[group == one] if name != "mean")
        sentences.append(f"{tied} are aliased: these runs cannot tell their effects apart")
    return sentences


def main_effects(data: Study, y: np.ndarray, terms: str = "main") -> Fit:
    """Return the main effects on every column of ``y`` (runs, m; points) with their error across runs."""
    whole = fit(*design(data, terms), y).of(data.factors)
    if data.draws != "shared":
        return whole
    seeds = data.runs["seed"].to_numpy()
    each = [fit(*model_matrix(data.x[seeds == s], data.factors, terms), y[seeds == s]) for s in np.unique(seeds)]
    by_seed = np.array([found.of(data.factors).effect for found in each])
    # a seed whose runs do not determine every category of an outcome takes no part in it
    by_seed = np.where(np.isnan(by_seed).any(axis=1, keepdims=True), np.nan, by_seed)
    count = (~np.isnan(by_seed)).all(axis=1).sum(axis=0)  # (m,)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(by_seed, axis=0) / count
        sd = np.sqrt(np.nansum((by_seed - mean) ** 2, axis=0) / (count - 1))
        se = np.where(count > 1, sd / np.sqrt(count), np.nan)
    mean = np.where(count > 0, mean, whole.effect)
    flat = np.where((se <= TINY * np.nanmax(np.abs(y), initial=0.0)).all(axis=0), 0.0, 1.0)
    return replace(whole, effect=mean, se=se, df=np.maximum(count - 1, 0), rss=flat, by_seed=by_seed)


def combined(data: Study, y: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Return effect, standard error and degrees of freedom of a sum of main effects with ``weights`` (factors, m).

    Exact in a balanced design with own draws, where main effects are uncorrelated. Under shared draws the sum is taken
    per seed.
    """
    each = main_effects(data, y @ weights.T)  # outcome i: the score weighted as category i asks
    if each.by_seed is None:
        se = np.sqrt((np.diag(each.se) ** 2).sum())
        return float(np.diag(each.effect).sum()), float(se), float(each.df.min())
    sums = pd.Series(np.trace(each.by_seed, axis1=1, axis2=2)).dropna()
    return float(sums.mean()), float(sums.sem()), max(len(sums) - 1, 0)


def shared_note(data: Study) -> list[str]:
    """The sentence that every table of a study with shared draws carries."""
    if data.draws != "shared":
        return []
    df = data.runs["seed"].nunique() - 1
    degrees = f"with {df} degree{'s' * (df != 1)} of freedom, and only more seeds make it smaller"
    return [f"All subsets of a seed share their draws: the error is that of category by seed, {degrees}."]


def t_test(effect, se, df) -> tuple[np.ndarray, np.ndarray]:
    """Return t and its two-sided p. Without error (se = 0) p is 0 for an effect and 1 for none; NaN stays NaN."""
    effect, se, df = np.broadcast_arrays(*(np.asarray(v, float) for v in (effect, se, df)))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(effect == 0, np.where(np.isnan(se), np.nan, 0.0), effect / se)
        return t, 2 * stats.t.sf(np.abs(t), np.where(df > 0, df, np.nan))


def margin(se, df, alpha: float = 0.05) -> np.ndarray:
    """Half the width of the 1 - alpha t interval."""
    df = np.asarray(df, float)
    with np.errstate(invalid="ignore"):
        return stats.t.isf(alpha / 2, np.where(df > 0, df, np.nan)) * np.asarray(se, float)


def inference(effect, se, df, alpha: float = 0.05) -> dict[str, np.ndarray]:
    """The columns ``effect, se, t, df, p, ci_low, ci_high`` (two-sided, 1 - alpha) of effects with their errors."""
    (t, p), half = t_test(effect, se, df), margin(se, df, alpha)
    return {"effect": effect, "se": se, "t": t, "df": df, "p": p, "ci_low": effect - half, "ci_high": effect + half}


def adjust(p, method: str = "fdr_bh") -> np.ndarray:
    """p corrected for their number by Benjamini-Hochberg (``fdr_bh``) or ``holm``; NaN are no tests and stay NaN.

    Holm's step-down is written out because statsmodels' collects garbage at every call: 60 ms instead of .03.
    """
    p = np.asarray(p, float)
    out, have = np.full(p.shape, np.nan), ~np.isnan(p)
    family = p[have]
    if method == "fdr_bh" and len(family):
        out[have] = fdrcorrection(family)[1]
    elif len(family):
        order = np.argsort(family, kind="stable")
        steps = np.maximum.accumulate(family[order] * np.arange(len(family), 0, -1))
        out[have] = np.minimum(steps, 1)[np.argsort(order, kind="stable")]
    return out


def with_corrected(table: pd.DataFrame, family=None, p: str = "p") -> pd.DataFrame:
    """Insert ``p_bh`` and ``p_holm`` of the column ``p``, over all rows or over those of one ``family`` each."""
    for name, method in (("p_bh", "fdr_bh"), ("p_holm", "holm")):
        groups = table[p].groupby(np.zeros(len(table)) if family is None else family)
        table.insert(table.columns.get_loc("ci_low"), name, groups.transform(adjust, method))
    return table
