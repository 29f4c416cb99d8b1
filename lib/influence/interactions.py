"""Beyond main effects: two-way interactions, their block F-test, and the half-normal plot.

Two categories interact when one's effect depends on the other's presence. In the 16 runs all of these are uncorrelated
with the main effects, so they change no main effect; they say how far "the effect of a category" is one number.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from lib.common.files import KitError
from lib.influence.effects import effects
from lib.influence.errors import design, shared_note
from lib.influence.outcomes import LEVELS, Outcomes, cell_means, one, outcomes
from lib.influence.regression import adjust, fit, margin, t_test
from lib.influence.scores import Study, study
from lib.influence.tables import OVERALL


def interactions(scores, level: str = "task", alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per task (or type) x pair of categories, from the regression with all two-way products.

    Columns: ``level, task, type, term`` ("ss:sl"); ``effect``: how much the first category's effect changes when the
    second is present (difference in differences, points); its ``se, t, df, p, ci_low, ci_high``, ``p_bh, p_holm, n``.
    """
    data = study(scores)
    return _stack(data, level, lambda out: _two_way(data, out, alpha))


def _stack(data: Study, level: str, make) -> pd.DataFrame:
    """Apply ``make(outcomes) -> (table, notes)`` to one level, or to all, and join tables and notes."""
    parts = [outcomes(data, one) for one in (LEVELS if level == "all" else (level,))]
    made = [make(out) for out in parts]
    table = pd.concat([part for part, _ in made], ignore_index=True)
    own = [*(note for out in parts for note in out.notes), *(note for _, notes in made for note in notes)]
    table.attrs = {"notes": list(dict.fromkeys([*data.notes, *shared_note(data), *own])), "unit": "points"}
    return table


def _two_way(data: Study, out: Outcomes, alpha: float) -> tuple[pd.DataFrame, list[str]]:
    x, names = design(data, "two_way")
    result = fit(x, names, out.y)
    terms = [name for name in names if ":" in name]
    rows = result.rows(terms)
    effect, se = result.beta[rows], result.se[rows]
    still = np.nanmax(out.y, axis=0) == np.nanmin(out.y, axis=0)
    t, p = (np.where(still, np.nan, v) for v in t_test(effect, se, result.df))
    half = margin(se, result.df, alpha)
    columns = {"effect": effect, "se": se, "t": t, "df": result.df, "p": p}
    columns |= {"ci_low": effect - half, "ci_high": effect + half, "n": result.n}
    table = out.rows(terms, "term", columns)
    table.insert(table.columns.get_loc("ci_low"), "p_bh", adjust(table["p"], "fdr_bh"))
    table.insert(table.columns.get_loc("ci_low"), "p_holm", adjust(table["p"], "holm"))
    return table, [f"{text}." for text in result.lost]


def crossed(scores, alpha: float = 0.05) -> pd.DataFrame:
    """Return main effects and two-way interactions of one regression, per type and over all tasks (type OVERALL).

    Columns: ``type, term, effect, se, t, df, p, p_bh, p_holm, ci_low, ci_high, n``. ``p_bh`` and ``p_holm`` are over
    all types together, main effects and interactions each: the two questions that one figure asks of many cells.
    """
    data = study(scores)
    main = effects(data, "all", None, "two_way", alpha).rename(columns={"factor": "term"})
    table = pd.concat([main, interactions(data, "all", alpha)], ignore_index=True)
    table = table[table["level"] != "task"]
    table = table.assign(
        type=table["type"].where(table["level"] == "type", OVERALL), pair=table["term"].str.contains(":")
    )
    for name, method in (("p_bh", "fdr_bh"), ("p_holm", "holm")):
        table[name] = table.groupby("pair")["p"].transform(lambda p, method=method: adjust(p, method))
    columns = "type term effect se t df p p_bh p_holm ci_low ci_high n".split()
    return table.sort_values("pair", kind="stable")[columns].reset_index(drop=True)


def interaction_block(scores, level: str = "task") -> pd.DataFrame:
    """Return one row per task (or type): do the two-way interactions together explain more than chance?

    Columns: ``level, task, type, F, df_num, df_den, p, p_bh, r2_main, r2_two_way``. The same F as statsmodels'
    ``anova_lm`` of the two nested regressions. NaN where no degrees of freedom are left.
    """
    data = study(scores)
    return _stack(data, level, lambda out: _block(data, out))


def block_f(data: Study, y: np.ndarray):
    """F of the two-way block for every column of ``y``: F, df_num, df_den, and the fits of the main and two-way model.

    Both models hold the seeds' levels (under shared draws each category's luck in each seed too) as blocks.
    """
    x, names = design(data, "two_way")
    kept = [place for place, name in enumerate(names) if ":" not in name]
    small, large = fit(x[:, kept], [names[place] for place in kept], y), fit(x, names, y)
    num, den = small.df - large.df, large.df
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (small.rss - large.rss) / num / (large.rss / den)
    return np.where((num > 0) & (den > 0), f, np.nan), num, den, small, large


def _block(data: Study, out: Outcomes) -> tuple[pd.DataFrame, list[str]]:
    f, num, den, small, large = block_f(data, out.y)
    total = np.nansum((out.y - np.nanmean(out.y, axis=0)) ** 2, axis=0)
    table = out.names[["level", "task", "type"]].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        table = table.assign(F=f, df_num=num, df_den=den, p=stats.f.sf(f, num, den))
        table["p_bh"] = adjust(table["p"])
        table = table.assign(r2_main=1 - small.rss / total, r2_two_way=1 - large.rss / total)
    notes = [f"{text}." for text in large.lost]
    if silent := int(table["F"].isna().sum()):
        notes.append(f"No F for {silent} of {len(table)}: constant, or too few runs for the interactions.")
    return table, notes


def half_normal(scores, task: str | None = None, type: str | None = None, alpha: float = 0.05) -> pd.DataFrame:
    """Return the data of a half-normal plot of all 2^k - 1 contrasts of one task, one type, or the overall mean.

    Columns: ``term, contrast`` (mean(+) - mean(-), points), ``magnitude, quantile`` (half-normal), Lenth's pseudo
    standard error ``pse``, his ``margin`` and ``simultaneous_margin`` (see ``lenth``), ``beyond`` (magnitude > the
    simultaneous margin: noise alone names any contrast of a panel with probability .05), sorted by magnitude.
    Contrasts that are only noise lie on a line through the origin. Under shared draws the main effects are left out:
    they carry the luck of a category's draw, which the other contrasts cannot show. KitError for missing subsets.
    """
    data = study(scores)
    means, _ = cell_means(data, one(data, task, type))
    k = len(data.factors)
    if missing := int(np.isnan(means).sum()):
        raise KitError(f"a half-normal plot needs all {2**k} subsets; {missing} are missing: score them first")
    first = 2 if data.draws == "shared" else 1
    contrast = contrast_signs(k, first) @ means[:, 0] / 2 ** (k - 1)
    terms = [":".join(data.factors[i] for i in chosen) for chosen in _products(k, first)]
    table = pd.DataFrame({"term": terms, "contrast": contrast, "magnitude": np.abs(contrast)})
    table = table.sort_values("magnitude", kind="stable", ignore_index=True)
    m = len(table)
    table["quantile"] = stats.norm.ppf(0.5 + (np.arange(m) + 0.5) / (2 * m))
    table["pse"], table["margin"], table["simultaneous_margin"] = lenth(contrast, alpha)
    table["beyond"] = table["magnitude"] > table["simultaneous_margin"]
    table.attrs = {"notes": [*data.notes, *shared_note(data)], "unit": "points"}
    return table


def _products(k: int, first: int) -> list[tuple[int, ...]]:
    """Products of ``first`` factors and more, as places of the factors."""
    return [chosen for size in range(first, k + 1) for chosen in combinations(range(k), size)]


def contrast_signs(k: int, first: int = 1) -> np.ndarray:
    """Signs (terms, 2^k) of the contrasts of ``first`` factors and more over the subsets of ``cell_means``."""
    sign = 2 * ((np.arange(2**k)[:, None] >> np.arange(k)) & 1) - 1
    return np.array([np.prod(sign[:, chosen], axis=1) for chosen in _products(k, first)])


def lenth(contrasts: np.ndarray, alpha: float = 0.05) -> tuple[float, float, float]:
    """Lenth's (1989) pseudo standard error of contrasts without replicates, a margin, and a simultaneous margin.

    Noise alone passes the margin with probability ``alpha`` per contrast, and the simultaneous margin with probability
    ``alpha`` for any of them: both are simulated (Ye and Hamada 2000), as Lenth's t quantile rejects too rarely.
    """
    pse = float(pseudo_error(np.asarray(contrasts, float)))
    each, largest = lenth_factors(len(contrasts), alpha)
    return pse, pse * each, pse * largest


def pseudo_error(contrasts: np.ndarray) -> np.ndarray:
    """Lenth's pseudo standard error over the last axis: 1.5 medians of the contrasts that are not clearly effects."""
    size = np.abs(contrasts)
    small = size < 2.5 * 1.5 * np.median(size, axis=-1, keepdims=True)
    kept = np.sort(np.where(small, size, np.inf), axis=-1)
    count = np.maximum(small.sum(axis=-1), 1)
    low, high = (np.take_along_axis(kept, place[..., None], -1)[..., 0] for place in ((count - 1) // 2, count // 2))
    return np.where(small.any(axis=-1), 1.5 * (low + high) / 2, 0.0)


@lru_cache(maxsize=8)
def lenth_factors(m: int, alpha: float) -> tuple[float, float]:
    """Quantiles of |contrast| / pse among ``m`` contrasts of pure noise: of each, and of the largest."""
    noise = np.random.default_rng(1989).normal(size=(40_000, m))
    ratio = np.abs(noise) / pseudo_error(noise)[:, None]
    return float(np.quantile(ratio, 1 - alpha)), float(np.quantile(ratio.max(axis=1), 1 - alpha))
