"""Predictions that are sums: what single categories did, added up; and the regressions that need more trainings.

Every function takes the scores of one seed (subsets, sets) and the levels ``x`` (subsets, categories), and predicts the
scores of all subsets, in points.
"""

from __future__ import annotations

import numpy as np

from lib.predict.judge import effects


def summed(base: np.ndarray, gains: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return base (sets,) + the sum of the gains (categories, sets) of the categories in each subset of ``x``."""
    return base + x @ gains


def additive(scores: np.ndarray, x: np.ndarray) -> np.ndarray:
    """From five trainings (none, four singles): none + the sum of (single - none) over the categories."""
    size = x.sum(axis=1)
    none = scores[size == 0][0]
    singles = [scores[(size == 1) & (x[:, c] == 1)][0] for c in range(x.shape[1])]
    return summed(none, np.array(singles) - none, x)


def half(scores: np.ndarray, x: np.ndarray) -> np.ndarray:
    """From eight trainings of sixteen: the half fraction of even size (none, pairs, all), main effects regressed."""
    return fitted(scores, x, x.sum(axis=1) % 2 == 0)


def fitted(scores: np.ndarray, x: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """From the trainings in ``rows`` (default all): their regression on the categories."""
    gains = effects(scores[rows], x[rows])
    base = scores[rows].mean(axis=0) - x[rows].mean(axis=0) @ gains
    return summed(base, gains, x)


def calibrated(alignment: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return alignments (categories, sets) in points: times the slope that the *other* sets' measured effects have.

    One slope through zero per set, left out of its own; none is below 0, since the sign is what is predicted.
    """
    products, squares = (alignment * measured).sum(axis=0), (alignment**2).sum(axis=0)
    rest = np.maximum(squares.sum() - squares, 1e-30)
    return alignment * np.maximum(products.sum() - products, 0) / rest
