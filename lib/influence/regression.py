"""Least squares of many outcomes at once by statsmodels, and the tests of what it gives.

Factors are centred (absent = -1/2, present = +1/2), so in a complete design a main effect is the mean of the runs with
a category minus the mean of the runs without it, and stays that whatever interactions are added (with 0/1 coding it
would turn into the effect at the empty corner).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats
from scipy.linalg import null_space
from scipy.sparse.csgraph import connected_components
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import fdrcorrection

from lib.common.files import KitError

TERMS = ("main", "two_way", "saturated")
TINY = 1e-10  # relative size under which a residual or a singular value counts as rounding


@dataclass(frozen=True)
class Fit:
    """Coefficients of ``len(names)`` terms for ``m`` outcomes; NaN where a term cannot be estimated."""

    names: tuple[str, ...]  # "mean", then factors, then products such as "ss:sl"
    beta: np.ndarray  # (terms, m), in the outcome's unit
    se: np.ndarray  # (terms, m); NaN without degrees of freedom
    df: np.ndarray  # (m,)
    rss: np.ndarray  # (m,) residual sum of squares
    n: np.ndarray  # (m,) runs used
    lost: tuple[str, ...]  # sentences: what could not be separated, and for how many outcomes

    @property
    def sd(self) -> np.ndarray:
        """The residual standard deviation of each outcome, (m,); NaN without degrees of freedom."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(np.where(self.df > 0, self.rss / self.df, np.nan))

    def rows(self, names) -> list[int]:
        """The rows of the named terms."""
        return [self.names.index(name) for name in names]


def model_matrix(levels: np.ndarray, factors, terms: str = "main") -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the centred model matrix (runs, terms) of 0/1 ``levels`` (runs, factors), and the terms' names.

    ``terms``: ``main`` effects; ``two_way`` adds all products of two; ``saturated`` all products, which leaves only the
    differences between seeds of one subset as error.
    """
    centred = np.asarray(levels, float) - 0.5
    top = {"main": 1, "two_way": 2, "saturated": len(factors)}[terms]
    chosen = [places for size in range(top + 1) for places in combinations(range(len(factors)), size)]
    columns = [np.prod(centred[:, places], axis=1) for places in chosen]  # the empty product is the mean
    return np.column_stack(columns), tuple(":".join(factors[i] for i in places) or "mean" for places in chosen)


def fit(x: np.ndarray, names, y: np.ndarray) -> Fit:
    """Least squares of every column of ``y`` (runs, m; NaN = run missing) on ``x`` (runs, terms).

    Outcomes with the same missing runs are one ``OLS`` with a matrix of outcomes: thousands of simulated ones cost as
    much as one. A coefficient that the runs do not determine is NaN, and ``lost`` says which terms it is tied to.
    """
    y = np.asarray(y, float)
    have, m = ~np.isnan(y), y.shape[1]
    beta, se = np.full((2, x.shape[1], m), np.nan)
    df, rss, lost = np.zeros(m, int), np.full(m, np.nan), Counter()
    patterns, member = np.unique(have, axis=1, return_inverse=True)
    for place, rows in enumerate(patterns.T):
        columns = np.flatnonzero(member.ravel() == place)
        if not rows.any():
            continue
        part, own = x[rows], y[np.ix_(rows, columns)]
        null = null_space(part, rcond=TINY)
        known = (null**2).sum(axis=1) < TINY
        kept = _independent(part) if null.size else np.arange(len(known))
        centre = own.mean(axis=0)  # subtracted before and added after: digits, not statistics
        result = OLS(own - centre, part[:, kept]).fit()
        found = result.params.reshape(len(kept), -1) + np.outer(result.model.pinv_wexog.sum(axis=1), centre)
        square = (result.resid.reshape(own.shape) ** 2).sum(axis=0)
        floor = TINY * np.abs(own).max(axis=0)  # what is smaller is rounding, and no effect or residual
        found, square = np.where(np.abs(found) <= floor, 0, found), np.where(square <= len(part) * floor**2, 0, square)
        rss[columns], df[columns] = square, result.df_resid
        variance = square / result.df_resid if result.df_resid else np.full(len(columns), np.nan)
        error = np.sqrt(np.outer(np.diag(result.normalized_cov_params), variance))
        sure = known[kept]
        beta[np.ix_(kept[sure], columns)], se[np.ix_(kept[sure], columns)] = found[sure], error[sure]
        lost.update(dict.fromkeys(ties(part, names), len(columns)) if null.size else {})
    said = tuple(text if count == m else f"{text} (in {count} of {m})" for text, count in lost.items())
    return Fit(tuple(names), beta, se, df, rss, have.sum(axis=0), said)


def _independent(x: np.ndarray) -> np.ndarray:
    """Places of the columns that are no combination of earlier ones."""
    ranks = [np.linalg.matrix_rank(x[:, :count], rtol=TINY) for count in range(1, x.shape[1] + 1)]
    return np.flatnonzero(np.diff([0, *ranks]))


def ties(x: np.ndarray, names) -> list[str]:
    """Say in words which terms the runs ``x`` (runs, terms) leave open: those that never vary, those tied together."""
    still = (np.ptp(x, axis=0) < TINY) & (np.array(names) != "mean")
    sentences = [f"{name} is lost: it is the same in every run" for name, s in zip(names, still, strict=True) if s]
    moving = np.array(names)[~still]
    null = null_space(x[:, ~still], rcond=TINY)
    linked = np.abs(null @ null.T) > 1e-8
    group = connected_components(linked)[1]
    for one in dict.fromkeys(group[np.diag(linked)]):
        tied = " and ".join(name for name in moving[group == one] if name != "mean")
        sentences.append(f"{tied} are aliased: these runs cannot tell their effects apart")
    return sentences


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


def adjust(p, method: str = "fdr_bh") -> np.ndarray:
    """Return p adjusted over the family of all p that are not NaN: ``fdr_bh`` (Benjamini-Hochberg) or ``holm``.

    Holm's step-down is written out because statsmodels' collects garbage at every call: 60 ms instead of .03.
    """
    p = np.asarray(p, float)
    out, have = np.full(p.shape, np.nan), ~np.isnan(p)
    family = p[have]
    if method not in ("fdr_bh", "holm"):
        raise KitError(f"method={method!r} is not known; say fdr_bh or holm")
    if method == "fdr_bh" and len(family):
        out[have] = fdrcorrection(family)[1]
    elif len(family):
        order = np.argsort(family, kind="stable")
        steps = np.maximum.accumulate(family[order] * np.arange(len(family), 0, -1))
        out[have] = np.minimum(steps, 1)[np.argsort(order, kind="stable")]
    return out
