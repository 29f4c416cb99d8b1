"""Reliability and shrinkage: how much of what is measured would come back, and what to expect of a large cell.

Reliability is the share of the variance of the estimates that is not their own error: about the correlation of a study
with a repetition of it. Shrinkage answers the reader who looks at the largest cells, which are large partly by luck:
with effects spread around zero (variance tau^2, estimated from all cells of a level) and an error se, the best guess of
an effect is its estimate times tau^2 / (tau^2 + se^2) (empirical Bayes, towards zero: no effect, not the mean of a
category, is what a cell has to be distinguished from).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.influence.errors import main_effects
from lib.influence.outcomes import outcomes
from lib.influence.scores import study


def with_shrinkage(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``reliability`` (of each cell: tau^2 / (tau^2 + se^2)) and ``shrunk`` (effect x reliability) to effects."""
    variance = table["se"] ** 2
    tau2 = (table["effect"] ** 2 - variance).groupby(table["level"]).transform("mean").clip(lower=0)
    share = (tau2 / (tau2 + variance)).where(tau2 + variance != 0, 1.0).where(table["effect"].notna())
    return table.assign(reliability=share, shrunk=share * table["effect"])


def reliability(scores, effects: pd.DataFrame) -> pd.DataFrame:
    """Return ``level, factor, reliability, shrinkage, n, split_half``: one row per level and category, "" for all.

    ``effects``: all levels of ``lib.influence.effects``. ``reliability``: 1 - mean(se^2) / variance of the estimates,
    at least 0, NaN for fewer than three cells; ``shrinkage``: mean factor by which the cells' effects are to be shrunk;
    ``n`` cells; ``split_half``: correlation of the effects of one half of the seeds with those of the other, stepped up
    to all seeds (Spearman-Brown), NaN with one seed.
    """
    data = study(scores)
    rows = []
    for level, part in effects.groupby("level", sort=False):
        y, halves = outcomes(data, level).y, [data.parity == half for half in (0, 1)]
        a, b = (main_effects(data.only(rows_), y[rows_]).effect if rows_.any() else None for rows_ in halves)
        for place, factor in enumerate(("", *data.factors)):
            own = part if factor == "" else part[part["factor"] == factor]
            own = own[own["se"].notna() & own["effect"].notna()]
            variance = own["effect"].var(ddof=1) if len(own) > 2 else np.nan
            which = slice(None) if factor == "" else place - 1
            rows.append({"level": level, "factor": factor,
                         "reliability": max(1 - (own["se"] ** 2).mean() / variance, 0.0) if variance > 0 else np.nan,
                         "shrinkage": own["reliability"].mean(), "n": len(own),
                         "split_half": np.nan if b is None else _spearman_brown(a[which], b[which])})  # fmt: skip
    return pd.DataFrame(rows)


def _spearman_brown(a: np.ndarray, b: np.ndarray) -> float:
    """Reliability of the whole from the correlation of two halves; NaN for fewer than three pairs."""
    a, b = a.ravel(), b.ravel()
    good = np.isfinite(a) & np.isfinite(b)
    if good.sum() < 3 or a[good].std() == 0 or b[good].std() == 0:
        return float("nan")
    r = float(np.corrcoef(a[good], b[good])[0, 1])
    return 2 * r / (1 + r) if r > -1 else float("nan")
