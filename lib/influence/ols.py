"""Least squares for a factorial, many outcomes at once: the closed form behind every effect in the kit.

Factors are centred (absent = -1/2, present = +1/2), so in a complete design a main effect is the mean of the runs
with a category minus the mean of the runs without it, and stays that whatever interactions are added (with 0/1
coding it would turn into the effect at the empty corner). ``fit`` solves all outcomes that share the same runs with
one decomposition; ``lib.influence.influence.detail`` gives the same fit by statsmodels, and the tests hold them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

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

    ``terms``: ``main`` effects; ``two_way`` adds all products of two; ``saturated`` all products, which leaves only
    the differences between seeds of one subset as error.
    """
    centred = np.asarray(levels, float) - 0.5
    top = {"main": 1, "two_way": 2, "saturated": len(factors)}[terms]
    columns, names = [np.ones(len(centred))], ["mean"]
    for size in range(1, top + 1):
        for chosen in combinations(range(len(factors)), size):
            columns.append(np.prod(centred[:, chosen], axis=1))
            names.append(":".join(factors[place] for place in chosen))
    return np.column_stack(columns), tuple(names)


def fit(x: np.ndarray, names, y: np.ndarray) -> Fit:
    """Least squares of every column of ``y`` (runs, m; NaN = run missing) on ``x`` (runs, terms).

    Outcomes with the same missing runs are solved together. A coefficient that the runs do not determine is NaN, and
    ``lost`` says which terms it is tied to.
    """
    y = np.asarray(y, float)
    terms, m = x.shape[1], y.shape[1]
    beta, se = np.full((terms, m), np.nan), np.full((terms, m), np.nan)
    df, rss, n = np.zeros(m, int), np.full(m, np.nan), np.zeros(m, int)
    have = ~np.isnan(y)
    patterns, member = np.unique(have, axis=1, return_inverse=True)
    lost: dict[str, int] = {}
    for place in range(patterns.shape[1]):
        rows, columns = patterns[:, place], np.flatnonzero(member.ravel() == place)
        n[columns] = rows.sum()
        if not rows.any():
            continue
        part = _solve(x[rows], y[np.ix_(rows, columns)])
        beta[:, columns], se[:, columns], df[columns], rss[columns] = part[:4]
        for sentence in ties(x[rows], names) if part[4] else ():
            lost[sentence] = lost.get(sentence, 0) + len(columns)
    said = tuple(text if count == m else f"{text} (in {count} of {m})" for text, count in lost.items())
    return Fit(tuple(names), beta, se, df, rss, n, said)


def _solve(x: np.ndarray, y: np.ndarray):
    """Return beta, se, df, rss for outcomes without gaps, and whether some terms are not determined."""
    u, size, vt = np.linalg.svd(x, full_matrices=True)
    rank = int((size > size[0] * TINY).sum())
    inverse = (vt[:rank].T / size[:rank]) @ u[:, :rank].T
    null = vt[rank:]
    known = (null**2).sum(axis=0) < TINY
    centre = y.mean(axis=0)  # subtracted before and added after: digits, not statistics
    beta = inverse @ (y - centre) + np.outer(inverse.sum(axis=1), centre)
    rss = ((y - x @ beta) ** 2).sum(axis=0)
    floor = TINY * np.maximum(np.abs(y).max(axis=0), 1e-300)
    rss = np.where(rss <= len(x) * floor**2, 0.0, rss)
    df = len(x) - rank
    variance = rss / df if df else np.full(y.shape[1], np.nan)
    se = np.sqrt(np.outer((inverse**2).sum(axis=1), variance))
    return np.where(known[:, None], beta, np.nan), np.where(known[:, None], se, np.nan), df, rss, len(null) > 0


def ties(x: np.ndarray, names) -> list[str]:
    """Say in words which terms the runs ``x`` (runs, terms) leave open: those that never vary, those tied together."""
    still = np.ptp(x, axis=0) < TINY
    sentences = [f"{name} is lost: it is the same in every run" for name, s in zip(names, still, strict=True) if s]
    sentences = [text for text in sentences if not text.startswith("mean ")]
    kept = [place for place, same in enumerate(still) if not same or names[place] == "mean"]
    _, size, vt = np.linalg.svd(x[:, kept], full_matrices=True)
    null = vt[int((size > size[0] * TINY).sum()) :]
    linked, seen = np.abs(null.T @ null) > 1e-8, set()
    for place in range(len(kept)):
        if linked[place, place] and place not in seen:
            group = _component(linked, place)
            seen |= group
            members = [names[kept[i]] for i in sorted(group) if names[kept[i]] != "mean"]
            sentences.append(f"{' and '.join(members)} are aliased: these runs cannot tell their effects apart")
    return sentences


def _component(linked: np.ndarray, start: int) -> set[int]:
    """Indices connected to ``start`` through the projector on the null space."""
    group, todo = {start}, [start]
    while todo:
        for other in np.flatnonzero(linked[todo.pop()]):
            if int(other) not in group:
                group.add(int(other))
                todo.append(int(other))
    return group
