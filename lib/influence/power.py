"""Noise and power: how far scores move for other reasons than the categories, and what can be found despite it.

Three sources of noise, kept apart: training again with another seed (``sd_seed``, needs two seeds), whatever the main
effects do not explain (``sd_residual``: seeds plus interactions), and mteb's own random draws (few-shot samples of
classification, k-means), the same for every model and therefore compared run against run. The half-normal plot reads
the noise off the contrasts of the 16 subsets themselves, by Lenth's method.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import optimize, stats
from statsmodels.stats.power import ttest_power

from lib.common.files import KitError
from lib.influence.regression import design, fit, main_effects, model_matrix
from lib.influence.scores import Study, read, study
from lib.influence.tables import cell_means, one, outcomes

ROUNDING = 1e-9  # points


def noise(scores, draws=None, alpha: float = 0.05, power: float = 0.8) -> pd.DataFrame:
    """Return one row per task: the noise floor, in points.

    Columns: ``task, type, n`` runs, ``mean`` score, ``sd_residual``, ``sd_seed, df_seed``, ``se_effect`` (median over
    the categories), ``detectable`` (main effect found with ``power`` at level ``alpha``), and with ``draws``:
    ``n_draws, se_score_draws`` (one score), ``se_difference_draws`` (of two runs, paired), ``se_effect_draws``.
    """
    data = study(scores)
    y = outcomes(data, "task").y
    main, pure = fit(*design(data), y), fit(*model_matrix(data.x, data.factors, "saturated"), y)
    found = main_effects(data, y)
    table = pd.DataFrame({"task": data.tasks, "type": data.types, "n": main.n, "mean": pd.DataFrame(y).mean()})
    table = table.assign(sd_residual=main.sd, sd_seed=pure.sd, df_seed=pure.df)
    table["se_effect"] = pd.DataFrame(found.se).median()
    table["detectable"] = table["se_effect"] * [detectable_ratio(int(df), alpha, power) for df in found.df]
    if draws is None:
        return table
    drawn = draw_errors(data, draws).groupby("task").median(numeric_only=True)
    return table.merge(drawn.rename(columns={"se_draw": "se_effect_draws"}), on="task", how="left")


def draw_errors(data: Study, draws) -> pd.DataFrame:
    """Return ``task, factor, n_draws, se_score_draws, se_difference_draws, se_draw`` (points), from scores per draw.

    ``draws``: a table or CSV of ``subset, seed, task, draw, score``. The draws are the same for every run, so each
    gives its own main effect; ``se_draw`` is the standard error of the mean of those, a part of the truth that more
    seeds do not reduce. Tasks with fewer than two draws, or whose runs do not all have the same draws, are left out.
    """
    table = read(draws)
    if missing := {"subset", "seed", "task", "draw", "score"} - set(table):
        raise KitError(f"the table of draws has no column {min(missing)!r}; it needs subset, seed, task, draw, score")
    numbers = {name: pd.to_numeric(table[name], errors="coerce") for name in ("seed", "draw", "score")}
    if (table := table.assign(**numbers))[list(numbers)].isna().any(axis=None):
        raise KitError("the table of draws has a seed, draw or score that is not a number; score that task again")
    if table.duplicated(["subset", "seed", "task", "draw"]).any():
        raise KitError("the table of draws has one draw of a run and task twice; keep one")
    table = table.merge(data.runs[["subset", "seed"]].assign(row=np.arange(len(data.runs))), on=["subset", "seed"])
    columns, rows = ["task", "factor", "n_draws", "se_score_draws", "se_difference_draws", "se_draw"], []
    for task, part in table[table["task"].isin(data.tasks)].groupby("task"):
        wide = 100 * part.pivot(index="row", columns="draw", values="score").sort_index()
        runs, count = wide.shape
        if count < 2 or wide.isna().any(axis=None):
            continue
        own = wide.to_numpy() - wide.to_numpy().mean(axis=1, keepdims=True)
        own[np.abs(own) < ROUNDING] = 0.0  # draws that are all alike have no error, and not one of 1e-15
        se_score = np.sqrt((own**2).sum() / (runs * (count - 1)) / count)
        # the mean of var(y_i - y_j) over all pairs of runs is twice the variance around each draw's own mean
        apart = own - own.mean(axis=0)
        difference = np.sqrt(2 * (apart**2).sum() / ((runs - 1) * (count - 1)) / count) if runs > 1 else np.nan
        effect = fit(*model_matrix(data.x[wide.index], data.factors), wide.to_numpy()).of(data.factors).effect
        spread = effect.std(axis=1, ddof=1) / np.sqrt(count)
        each = zip(data.factors, spread, strict=True)
        rows += [(task, name, count, se_score, difference, se_draw) for name, se_draw in each]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))  # numbers also if empty


@cache
def detectable_ratio(df: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Effect, in standard errors, that a two-sided t-test finds with probability ``power``; NaN for ``df`` < 1.

    Searched for here, because statsmodels' ``solve_power`` stops short of the answer at small alpha.
    """
    if df < 1:
        return float("nan")
    high = stats.t.isf(alpha / 2, df) + 2.0
    while t_power(high, df, alpha) < power:
        high *= 1.5
    return float(optimize.brentq(lambda ratio: t_power(ratio, df, alpha) - power, 0.0, high, xtol=1e-10))


def t_power(ratio: float, df: float, alpha: float = 0.05) -> float:
    """Probability that a two-sided t-test finds an effect of ``ratio`` standard errors (noncentral t)."""
    near, far = (ttest_power(ratio / np.sqrt(df + 1), df + 1, alpha / 2, df, side) for side in ("larger", "smaller"))
    return float(np.nan_to_num(near, nan=1.0) + np.nan_to_num(far))


def seeds_buy(scores, seeds=(1, 2, 3, 5, 8), alpha: float = 0.05, power: float = 0.8) -> pd.DataFrame:
    """Return what this design would show of one task and one type with 1, 2, 3, ... seeds per subset.

    Columns: ``level, seeds, runs, df, tests, se_median, detectable_median`` (points; found with ``power`` at
    ``alpha``), ``detectable_corrected`` (at alpha / tests, the level Holm starts from). The noise is taken as measured,
    and independent between seeds.
    """
    data, parts = study(scores), []
    cells, factors = len(data.runs.drop_duplicates(list(data.factors))), len(data.factors)
    for level in ("task", "type"):
        out = outcomes(data, level)
        # the median error of a main effect with one run per subset
        unit = pd.Series(main_effects(data, out.y).se.ravel()).median() * np.sqrt(len(data.runs) / cells)
        table = pd.DataFrame({"level": level, "seeds": list(seeds)})
        table["runs"] = cells * table["seeds"]
        # a seed's level takes a degree of freedom of its own from the second one on
        table["df"] = table["seeds"] - 1 if data.draws == "shared" else table["runs"] - factors - table["seeds"]
        tests = len(out.names) * factors
        table = table.assign(tests=tests, se_median=unit / np.sqrt(table["seeds"]))
        for name, level_of_test in (("detectable_median", alpha), ("detectable_corrected", alpha / tests)):
            table[name] = table["se_median"] * [detectable_ratio(df, level_of_test, power) for df in table["df"]]
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def half_normal(scores, task: str | None = None, type: str | None = None, alpha: float = 0.05) -> pd.DataFrame:
    """Return the data of a half-normal plot of all 2^k - 1 contrasts of one task, one type, or the overall mean.

    Columns: ``term, contrast`` (mean(+) - mean(-), points), ``magnitude, quantile`` (half-normal), those of ``lenth``,
    and ``beyond`` (the simultaneous margin). Under shared draws the main effects are left out: they carry the luck of a
    category's draw, which the other contrasts cannot show. KitError for missing subsets.
    """
    data = study(scores)
    means, k = cell_means(data, one(data, task, type)[:, None])[0][:, 0], len(data.factors)
    if missing := int(np.isnan(means).sum()):
        raise KitError(f"a half-normal plot needs all {2**k} subsets; {missing} are missing: score them first")
    signs, terms = contrast_signs(data)
    contrast = signs @ means / 2 ** (k - 1)
    table = pd.DataFrame({"term": terms, "contrast": contrast, "magnitude": np.abs(contrast)})
    table = table.sort_values("magnitude", kind="stable", ignore_index=True)
    table["quantile"] = stats.norm.ppf(0.5 + (np.arange(len(table)) + 0.5) / (2 * len(table)))
    table["pse"], table["margin"], table["simultaneous_margin"] = lenth(contrast, alpha)
    return table.assign(beyond=table["magnitude"] > table["simultaneous_margin"])


def contrast_signs(data: Study) -> tuple[np.ndarray, list[str]]:
    """Signs (terms, 2^k) of the contrasts over the subsets of ``cell_means``, and their names."""
    k, sizes = len(data.factors), range(2 if data.draws == "shared" else 1, len(data.factors) + 1)
    products = [list(chosen) for size in sizes for chosen in combinations(range(k), size)]
    sign = 2 * ((np.arange(2**k)[:, None] >> np.arange(k)) & 1) - 1
    signs = np.array([np.prod(sign[:, chosen], axis=1) for chosen in products])
    return signs, [":".join(data.factors[i] for i in chosen) for chosen in products]


def lenth(contrasts: np.ndarray, alpha: float = 0.05) -> tuple[float, float, float]:
    """Lenth's (1989) pseudo standard error of contrasts without replicates, a margin, and a simultaneous margin.

    Noise passes the first with probability ``alpha`` per contrast, the second with ``alpha`` for any of them: both are
    simulated (Ye and Hamada 2000), as Lenth's t quantile rejects too rarely.
    """
    pse = float(pseudo_error(np.asarray(contrasts, float)))
    each, largest = lenth_factors(len(contrasts), alpha)
    return pse, pse * each, pse * largest


def pseudo_error(contrasts: np.ndarray) -> np.ndarray:
    """Lenth's pseudo standard error over the last axis: 1.5 medians of the contrasts that are not clearly effects."""
    size = np.abs(contrasts)
    clear = size > 2.5 * 1.5 * np.median(size, axis=-1, keepdims=True)
    return 1.5 * np.nanmedian(np.where(clear, np.nan, size), axis=-1)


@cache
def lenth_factors(m: int, alpha: float) -> tuple[float, float]:
    """Quantiles of |contrast| / pse among ``m`` contrasts of pure noise: of each, and of the largest."""
    drawn = np.random.default_rng(1989).normal(size=(40_000, m))
    ratio = np.abs(drawn) / pseudo_error(drawn)[:, None]
    return float(np.quantile(ratio, 1 - alpha)), float(np.quantile(ratio.max(axis=1), 1 - alpha))
