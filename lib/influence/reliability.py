"""Reliability and shrinkage: how much of what is measured would come back, and what to expect of a large cell.

Reliability is the share of the variance of the estimates that is not their own error: about the correlation of a study
with a repetition of it. Shrinkage answers the reader who looks at the largest cells, which are large partly by luck: with
effects spread around zero (variance tau^2, estimated from all cells of a level) and an error se, the best guess of an
effect is its estimate times tau^2 / (tau^2 + se^2) (empirical Bayes, towards zero: no effect, not the mean of a category,
is what a cell has to be distinguished from).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.influence.errors import main_effects
from lib.influence.outcomes import outcomes
from lib.influence.scores import Study, study


def with_shrinkage(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``reliability`` (of each cell: tau^2 / (tau^2 + se^2)) and ``shrunk`` (effect x reliability) to effects."""
    share = pd.Series(np.nan, table.index)
    for _, part in table.groupby("level", sort=False):
        good = part[part["se"].notna() & part["effect"].notna()]
        if len(good):
            variance = good["se"] ** 2
            tau2 = max(float((good["effect"] ** 2 - variance).mean()), 0.0)
            share[good.index] = (tau2 / (tau2 + variance)).where(tau2 + variance > 0, 1.0)
    return table.assign(reliability=share, shrunk=share * table["effect"])


def reliability(scores, effects: pd.DataFrame) -> pd.DataFrame:
    """Return ``level, factor, reliability, shrinkage, n, split_half``: one row per level and category, "" for all.

    ``effects``: all levels of ``lib.influence.effects``. ``reliability``: 1 - mean(se^2) / variance of the estimates, at
    least 0, NaN for fewer than three cells; ``shrinkage``: mean factor by which the cells' effects are to be shrunk;
    ``n`` cells; ``split_half``: correlation of the effects of one half of the seeds with those of the other,
    stepped up to all seeds (Spearman-Brown), NaN with one seed.
    """
    data = study(scores)
    rows = []
    for level, part in effects.groupby("level", sort=False):
        halves = _halves(data, level)
        for place, factor in enumerate(("", *data.factors)):
            own = part if factor == "" else part[part["factor"] == factor]
            own = own[own["se"].notna() & own["effect"].notna()]
            variance = own["effect"].var(ddof=1) if len(own) > 2 else np.nan
            rows.append(
                {
                    "level": level,
                    "factor": factor,
                    "reliability": max(1 - (own["se"] ** 2).mean() / variance, 0.0) if variance > 0 else np.nan,
                    "shrinkage": own["reliability"].mean(),
                    "n": len(own),
                    "split_half": _spearman_brown(halves if place == 0 else [h[[place - 1]] for h in halves]),
                }
            )
    return pd.DataFrame(rows)


def _halves(data: Study, level: str) -> list[np.ndarray]:
    """Effects (factors, m) of the even and of the odd seeds (in order), or nothing with one seed."""
    seeds = np.unique(data.runs["seed"])
    if len(seeds) < 2:
        return []
    y = outcomes(data, level).y
    place = np.searchsorted(seeds, data.runs["seed"])
    parts = []
    for half in (0, 1):
        rows = place % 2 == half
        part = Study(data.runs[rows].reset_index(drop=True), data.y[rows], data.tasks, data.types, data.factors)
        parts.append(main_effects(part, y[rows]).effect)
    return parts


def _spearman_brown(halves: list[np.ndarray]) -> float:
    """Reliability of the whole from the correlation of two halves; NaN for fewer than three pairs."""
    if not halves:
        return float("nan")
    a, b = (half.ravel() for half in halves)
    good = np.isfinite(a) & np.isfinite(b)
    if good.sum() < 3 or a[good].std() == 0 or b[good].std() == 0:
        return float("nan")
    r = float(np.corrcoef(a[good], b[good])[0, 1])
    return 2 * r / (1 + r) if r > -1 else float("nan")
