"""Tests and their corrections: t, intervals, Benjamini-Hochberg, Holm."""

from __future__ import annotations

import numpy as np

from lib.common.files import KitError


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
