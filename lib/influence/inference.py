"""Tests and their corrections: t, exact sign-flips, Benjamini-Hochberg, Holm.

Sign-flips ask how often a sum at least as large as the observed one comes from turning signs at random. They need no
normal distribution, and say openly how small a p they can reach: 2 / 2^n with n differences. Two uses: the toggle
test of one category across runs (differences between paired runs), and the test of a type's mean effect across
tasks (one effect per task).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lib.files import KitError

EXACT_PAIRS = 24  # up to 2^24 sign patterns are counted exactly, beyond that they are drawn
DRAWS = 19_999
_BLOCK = 4_000_000  # numbers held at once


def t_test(effect: np.ndarray, se: np.ndarray, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return t and its two-sided p. Without error (se = 0) p is 0 for an effect and 1 for none; NaN stays NaN."""
    from scipy import stats

    effect, se, df = np.broadcast_arrays(*(np.asarray(v, float) for v in (effect, se, df)))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(effect == 0, np.where(np.isnan(se), np.nan, 0.0), effect / se)
        p = 2 * stats.t.sf(np.abs(t), np.where(df > 0, df, np.nan))
    return t, p


def margin(se: np.ndarray, df: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """Half the width of the 1 - alpha t interval."""
    from scipy import stats

    df = np.asarray(df, float)
    with np.errstate(invalid="ignore"):
        return stats.t.isf(alpha / 2, np.where(df > 0, df, np.nan)) * np.asarray(se, float)


def adjust(p, method: str = "fdr_bh") -> np.ndarray:
    """Return adjusted p-values (``fdr_bh`` or ``holm``) over the family of all p that are not NaN.

    Benjamini-Hochberg is scipy's; Holm's step-down is the two lines below. Both equal statsmodels' ``multipletests`` (a
    test holds them to it), which is not called because it collects garbage, .1 s in a notebook, at every call.
    """
    from scipy import stats

    p = np.asarray(p, float)
    out, have = np.full(p.shape, np.nan), ~np.isnan(p)
    if not have.any():
        return out
    if method == "fdr_bh":
        out[have] = stats.false_discovery_control(p[have])
    elif method == "holm":
        order = np.argsort(p[have], kind="stable")
        steps = np.maximum.accumulate(p[have][order] * np.arange(len(order), 0, -1))
        out[have] = np.minimum(steps, 1)[np.argsort(order, kind="stable")]
    else:
        raise KitError(f"method={method!r} is not known; say fdr_bh or holm")
    return out


def sign_flip(differences: np.ndarray, seed: int = 0, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided sign-flip test of each column of ``differences`` (n, m; NaN = missing): p and the smallest possible p.

    Exact for up to ``EXACT_PAIRS`` differences; beyond, ``draws`` random sign patterns (the same for every column) and
    p = (hits + 1) / (draws + 1). The statistic is the sum; the null is that each difference is symmetric about zero.
    """
    differences = np.atleast_2d(np.asarray(differences, float))
    pairs = (~np.isnan(differences)).sum(axis=0)
    filled = np.nan_to_num(differences)  # a missing pair adds nothing under either sign
    n, m = filled.shape
    if n == 0:
        return np.full(m, np.nan), np.full(m, np.nan)
    if n <= 12:
        p = _enumerate(filled)
    elif n <= EXACT_PAIRS:
        p = np.array([_meet(column) for column in filled.T])
    else:
        p = _draw(filled, seed, draws)
    floor = (
        np.where(pairs > EXACT_PAIRS, 1 / (draws + 1), 2.0 ** (1 - pairs)) if n > EXACT_PAIRS else 2.0 ** (1 - pairs)
    )
    return np.where(pairs > 0, p, np.nan), np.where(pairs > 0, floor, np.nan)


@lru_cache(maxsize=16)
def signs(n: int) -> np.ndarray:
    """All 2^n sign patterns, (2^n, n), of -1.0 and +1.0."""
    return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)


def _bar(values: np.ndarray) -> np.ndarray:
    """The observed |sum|, lowered by a rounding error so that ties count as ties."""
    return np.abs(values.sum(axis=0)) - 1e-9 * np.abs(values).sum(axis=0)


def _enumerate(values: np.ndarray) -> np.ndarray:
    """Share of sign patterns whose |sum| reaches the observed one; the first sign is fixed by symmetry."""
    rest = signs(len(values) - 1)
    patterns = np.column_stack([np.ones(len(rest)), rest])
    return _share(patterns, values)


def _share(patterns: np.ndarray, values: np.ndarray) -> np.ndarray:
    hits, bar = np.zeros(values.shape[1]), _bar(values)
    step = max(1, _BLOCK // len(patterns))
    for start in range(0, values.shape[1], step):
        block = slice(start, start + step)
        hits[block] = (np.abs(patterns @ values[:, block]) >= bar[block]).sum(axis=0)
    return hits / len(patterns)


def _meet(column: np.ndarray) -> float:
    """Exact share for one column by meeting in the middle: all sums of each half, counted against each other."""
    half = len(column) // 2
    left = np.sort(signs(half) @ column[:half])
    right = np.sort(signs(len(column) - half) @ column[half:])  # sorted needles are found several times faster
    bar = _bar(column)
    if bar <= 0:
        return 1.0
    above = len(left) - np.searchsorted(left, bar - right, side="left")
    return float(2 * above.sum() / (len(left) * len(right)))


def _draw(values: np.ndarray, seed: int, draws: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    patterns = 1.0 - 2.0 * random.integers(0, 2, size=(draws, len(values)))
    return (_share(patterns, values) * draws + 1) / (draws + 1)
