"""Beyond main effects: two-way interactions, their block F-test, the half-normal plot, and Shapley values.

Two categories interact when one's effect depends on the other's presence. In the 16 runs all of these are
uncorrelated with the main effects, so they change no main effect; they say how far "the effect of a category" is one
number. Shapley values weigh a category's 8 steps by the size of the subset they start from, main effects weigh them
alike (Banzhaf); the gap between the two is made of interactions only.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd

from lib.files import KitError
from lib.influence.inference import adjust, margin, t_test
from lib.influence.ols import fit, model_matrix
from lib.influence.outcomes import LEVELS, outcomes
from lib.influence.scores import Study, study


def interactions(scores, level: str = "task", alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per task (or type) x pair of categories, from the regression with all two-way products.

    Columns: ``level, task, type, term`` ("ss:sl"); ``effect``: how much the first category's effect changes when the
    second is present (difference in differences, points); ``contrast = effect / 2`` (mean over the runs where both or
    neither is present, minus the others); ``se, t, df, p, ci_low, ci_high`` of ``effect``; ``p_bh, p_holm``; ``n``.
    """
    data = study(scores)
    return _stack(data, level, lambda out: _two_way(data, out, alpha))


def _stack(data: Study, level: str, make) -> pd.DataFrame:
    """Apply ``make(outcomes) -> (table, notes)`` to one level, or to all, and join tables and notes."""
    parts = [(outcomes(data, one), one) for one in (LEVELS if level == "all" else (level,))]
    made = [make(out) for out, _ in parts]
    table = pd.concat([part for part, _ in made], ignore_index=True)
    notes = [*data.notes, *(n for out, _ in parts for n in out.notes), *(n for _, own in made for n in own)]
    table.attrs = {"notes": list(dict.fromkeys(notes)), "unit": "points"}
    return table


def _two_way(data: Study, out, alpha: float):
    x, names = model_matrix(data.x, data.factors, "two_way")
    result = fit(x, names, out.y)
    terms = [name for name in names if ":" in name]
    rows = result.rows(terms)
    effect, se = result.beta[rows], result.se[rows]
    still = np.nanmax(out.y, axis=0) == np.nanmin(out.y, axis=0)
    t, p = (np.where(still, np.nan, v) for v in t_test(effect, se, result.df))
    half = margin(se, result.df, alpha)
    table = out.names.loc[out.names.index.repeat(len(terms)), ["level", "task", "type"]].reset_index(drop=True)
    table["term"] = terms * len(out.names)
    columns = {
        "effect": effect,
        "contrast": effect / 2,
        "se": se,
        "t": t,
        "df": np.broadcast_to(result.df, t.shape),
        "p": p,
        "ci_low": effect - half,
        "ci_high": effect + half,
        "n": np.broadcast_to(result.n, t.shape),
    }
    for name, values in columns.items():
        table[name] = values.T.ravel()
    table.insert(table.columns.get_loc("ci_low"), "p_bh", adjust(table["p"], "fdr_bh"))
    table.insert(table.columns.get_loc("ci_low"), "p_holm", adjust(table["p"], "holm"))
    return table, [f"{text}." for text in result.lost]


def interaction_block(scores, level: str = "task") -> pd.DataFrame:
    """Return one row per task (or type): do the two-way interactions together explain more than chance?

    Columns: ``level, task, type, F, df_num, df_den, p, p_bh, r2_main, r2_two_way``. The same F as statsmodels'
    ``anova_lm`` of the two nested regressions (``lib.influence.anova``). NaN where no degrees of freedom are left.
    """
    data = study(scores)
    return _stack(data, level, lambda out: _block(data, out))


def block_f(levels: np.ndarray, factors, y: np.ndarray):
    """F of the two-way block for every column of ``y``: F, df_num, df_den, rss of the main and the two-way model."""
    small = fit(*model_matrix(levels, factors), y)
    large = fit(*model_matrix(levels, factors, "two_way"), y)
    num, den = small.df - large.df, large.df
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (small.rss - large.rss) / num / (large.rss / den)
    return np.where((num > 0) & (den > 0), f, np.nan), num, den, small.rss, large.rss


def _block(data: Study, out):
    from scipy import stats

    f, num, den, small, large = block_f(data.x, data.factors, out.y)
    total = np.nansum((out.y - np.nanmean(out.y, axis=0)) ** 2, axis=0)
    table = out.names[["level", "task", "type"]].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        table = table.assign(F=f, df_num=num, df_den=den, p=stats.f.sf(f, num, den))
        table["p_bh"] = adjust(table["p"])
        table = table.assign(r2_main=1 - small / total, r2_two_way=1 - large / total)
    silent = int(table["F"].isna().sum())
    notes = [f"{text}." for text in fit(*model_matrix(data.x, data.factors, "two_way"), out.y).lost]
    if silent:
        notes.append(f"No F for {silent} of {len(table)}: constant, or too few runs for the interactions.")
    return table, notes


def cell_means(data: Study, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over seeds per combination of the factors, (2^k, m), NaN where it was not run, and the counts.

    Row c has factor i present where bit i of c is set.
    """
    code = (data.x @ (2 ** np.arange(len(data.factors)))).astype(int)
    total, count = np.zeros((2 ** len(data.factors), y.shape[1])), np.zeros((2 ** len(data.factors), y.shape[1]))
    np.add.at(total, code, np.nan_to_num(y))
    np.add.at(count, code, ~np.isnan(y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / count, count


def shapley_weights(k: int) -> np.ndarray:
    """Weights (k, 2^k) that turn the 2^k cell means into k Shapley values."""
    weights = np.zeros((k, 2**k))
    for cell in range(2**k):
        size = int(cell).bit_count()
        for factor in range(k):
            if cell >> factor & 1:
                weights[factor, cell] = factorial(size - 1) * factorial(k - size) / factorial(k)
            else:
                weights[factor, cell] = -factorial(size) * factorial(k - size - 1) / factorial(k)
    return weights


def shapley(scores, level: str = "task") -> pd.DataFrame:
    """Return ``level, task, type, factor, shapley, main_effect, gap, gap_se, n`` (points), one row per task x category.

    ``gap = shapley - main_effect``; ``gap_se`` is its standard error across runs, from the residual of the two-way
    regression. A task with an incomplete set of combinations has no Shapley value (NaN, with a note).
    """
    data = study(scores)
    return _stack(data, level, lambda out: _shapley(data, out))


def _shapley(data: Study, out):
    k = len(data.factors)
    means, counts = cell_means(data, out.y)
    weights = shapley_weights(k)
    banzhaf = np.where(weights > 0, 1.0, -1.0) / 2 ** (k - 1)
    value, main = weights @ means, banzhaf @ means  # NaN as soon as one cell is missing
    sd = fit(*model_matrix(data.x, data.factors, "two_way"), out.y).sd
    with np.errstate(invalid="ignore", divide="ignore"):
        gap_se = np.sqrt((weights - banzhaf) ** 2 @ (1 / counts)) * sd
    table = out.names.loc[out.names.index.repeat(k), ["level", "task", "type"]].reset_index(drop=True)
    table["factor"] = list(data.factors) * len(out.names)
    for name, values in {
        "shapley": value,
        "main_effect": main,
        "gap": value - main,
        "gap_se": gap_se,
        "n": np.broadcast_to((~np.isnan(out.y)).sum(axis=0), value.shape),
    }.items():
        table[name] = values.T.ravel()
    bad = int(np.isnan(means).any(axis=0).sum())
    return table, [
        f"No Shapley value for {bad} of {len(out.names)}: not all {2**k} subsets were scored."
    ] if bad else []


def half_normal(scores, task: str | None = None, type: str | None = None) -> pd.DataFrame:
    """Return the data of a half-normal plot of all 2^k - 1 contrasts of one task, one type, or the overall mean.

    Columns: ``term, contrast`` (mean(+) - mean(-), points), ``magnitude, quantile`` (half-normal), Lenth's pseudo
    standard error ``pse``, his ``margin`` and ``simultaneous_margin`` (see ``lenth``), ``beyond`` (magnitude >
    margin), sorted by magnitude. Contrasts that are only noise lie on a line through the origin. Raises KitError for
    missing subsets.
    """
    from scipy import stats

    data = study(scores)
    means, _ = cell_means(data, one(data, task, type))
    k = len(data.factors)
    if np.isnan(means).any():
        raise KitError(
            f"a half-normal plot needs all {2**k} subsets; {int(np.isnan(means).sum())} are missing: score them first"
        )
    sign = 1 - 2 * (1 - ((np.arange(2**k)[:, None] >> np.arange(k)) & 1))
    terms = [chosen for size in range(1, k + 1) for chosen in combinations(range(k), size)]
    contrast = np.array([np.prod(sign[:, chosen], axis=1) @ means[:, 0] / 2 ** (k - 1) for chosen in terms])
    table = pd.DataFrame(
        {"term": [":".join(data.factors[i] for i in chosen) for chosen in terms], "contrast": contrast}
    )
    table = table.assign(magnitude=np.abs(contrast)).sort_values("magnitude", kind="stable", ignore_index=True)
    m = len(table)
    table["quantile"] = stats.norm.ppf(0.5 + (np.arange(m) + 0.5) / (2 * m))
    pse, margin_, simultaneous = lenth(contrast)
    table = table.assign(pse=pse, margin=margin_, simultaneous_margin=simultaneous, beyond=table["magnitude"] > margin_)
    table.attrs = {"notes": list(data.notes), "unit": "points"}
    return table


def lenth(contrasts: np.ndarray, alpha: float = 0.05) -> tuple[float, float, float]:
    """Lenth's (1989) pseudo standard error of contrasts without replicates, a margin, and a simultaneous margin.

    Noise alone passes the margin with probability ``alpha`` per contrast, and the simultaneous margin with
    probability ``alpha`` for any of them: both factors are simulated (Ye and Hamada 2000), as Lenth's t quantile
    rejects too rarely.
    """
    pse = float(pseudo_error(np.asarray(contrasts, float)[None])[0])
    each, largest = _lenth_factors(len(contrasts), alpha)
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
def _lenth_factors(m: int, alpha: float) -> tuple[float, float]:
    """Quantiles of |contrast| / pse among ``m`` contrasts of pure noise: of each, and of the largest."""
    noise = np.random.default_rng(1989).normal(size=(40_000, m))
    ratio = np.abs(noise) / pseudo_error(noise)[:, None]
    return float(np.quantile(ratio, 1 - alpha)), float(np.quantile(ratio.max(axis=1), 1 - alpha))


def one(data: Study, task: str | None, type: str | None) -> np.ndarray:
    """Return the (runs, 1) scores in points of one task, one type's mean, or the overall mean. KitError if unknown."""
    if task is not None and type is not None:
        raise KitError("name a task or a type, not both")
    level = "task" if task is not None else "type" if type is not None else "overall"
    out = outcomes(data, level)
    if level == "overall":
        return out.y
    hit = out.names[level] == (task if task is not None else type)
    if not hit.any():
        raise KitError(f"no {level} {task or type!r} in the scores; there are {', '.join(out.names[level])}")
    return out.y[:, hit.to_numpy()]
