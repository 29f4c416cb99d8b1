"""Noise and power: how far scores move for other reasons than the categories, and what a design can find despite it.

Three sources of noise, kept apart: training again with another seed (``sd_seed``, needs two seeds), whatever the main
effects do not explain (``sd_residual``: seeds plus interactions), and mteb's own random draws (few-shot samples of
classification, k-means), which are the same for every model and are therefore compared run against run. A test that
cannot find an effect of some size says nothing about it by not finding it, so print the power before any result.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from scipy import optimize, stats
from statsmodels.stats.power import ttest_power

from lib.common.files import KitError
from lib.influence.errors import design, main_effects, shared_note
from lib.influence.outcomes import outcomes
from lib.influence.regression import fit, model_matrix
from lib.influence.scores import Study, read, study

ROUNDING = 1e-9  # points
DRAW_COLUMNS = ("subset", "seed", "task", "draw", "score")


def noise(scores, draws=None, alpha: float = 0.05, power: float = 0.8) -> pd.DataFrame:
    """Return one row per task: the noise floor, in points.

    Columns: ``task, type, n`` runs, ``mean`` score, ``sd_residual`` (main-effects regression), ``sd_seed`` and
    ``df_seed`` (between seeds of one subset; NaN with one seed), ``se_effect`` (median over the categories),
    ``detectable`` (main effect found with ``power`` at level ``alpha``), and with ``draws``: ``n_draws,
    se_score_draws`` (one score), ``se_difference_draws`` (difference of two runs, paired), ``se_effect_draws`` (main
    effect; median over categories).
    """
    data = study(scores)
    y = outcomes(data, "task").y
    main = fit(*design(data), y)
    pure = fit(*model_matrix(data.x, data.factors, "saturated"), y)
    found = main_effects(data, y)
    table = pd.DataFrame({"task": data.tasks, "type": data.types, "n": main.n, "mean": pd.DataFrame(y).mean()})
    table = table.assign(
        sd_residual=main.sd, sd_seed=pure.sd, df_seed=pure.df, se_effect=pd.DataFrame(found.se).median()
    )
    table["detectable"] = table["se_effect"] * [detectable_ratio(int(df), alpha, power) for df in found.df]
    if draws is not None:
        per_task = (
            draw_errors(data, draws)
            .groupby("task")
            .agg(
                n_draws=("n_draws", "first"),
                se_score_draws=("se_score", "first"),
                se_difference_draws=("se_difference", "first"),
                se_effect_draws=("se_draw", "median"),
            )
        )
        table = table.merge(per_task.reset_index(), on="task", how="left")
    table.attrs = {"notes": [*data.notes, *shared_note(data)], "unit": "points"}
    return table


def draw_errors(scores, draws) -> pd.DataFrame:
    """Return ``task, factor, n_draws, se_score, se_difference, se_draw`` (points), from scores per draw.

    The draws are the same for every run, so each draw gives its own main effect; ``se_draw`` is the standard error of
    the mean of those effects. It is a part of the truth that more seeds do not reduce. Tasks with fewer than two draws,
    or whose runs do not all have the same draws, are left out.
    """
    data = study(scores)
    runs = data.runs[["subset", "seed"]].assign(row=np.arange(len(data.runs)))
    table = _checked_draws(draws).merge(runs, on=["subset", "seed"])
    parts = [pd.DataFrame(columns=["task", "factor", "n_draws", "se_score", "se_difference", "se_draw"])]
    for task, part in table.groupby("task", sort=True):
        wide = 100 * part.pivot(index="row", columns="draw", values="score").sort_index()
        if wide.shape[1] > 1 and wide.notna().all(axis=None) and task in data.tasks:
            parts.append(_task_errors(data, wide.index.to_numpy(int), wide.to_numpy()).assign(task=task))
    return pd.concat(parts[1:], ignore_index=True)[parts[0].columns] if len(parts) > 1 else parts[0]


def _checked_draws(draws) -> pd.DataFrame:
    """Return the checked table of scores per draw (a DataFrame or a CSV with subset, seed, task, draw, score)."""
    table = read(draws)
    missing = [name for name in DRAW_COLUMNS if name not in table.columns]
    if missing:
        raise KitError(f"the table of draws has no column {missing[0]!r}; it needs {', '.join(DRAW_COLUMNS)}")
    for name in ("seed", "draw", "score"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    if table[["seed", "draw", "score"]].isna().any().any():
        raise KitError("the table of draws has a seed, draw or score that is not a number; score that task again")
    table["seed"] = table["seed"].astype(int)
    if table.duplicated(["subset", "seed", "task", "draw"]).any():
        raise KitError("the table of draws has one draw of a run and task twice; keep one")
    return table


def _task_errors(data: Study, rows: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """Errors of one task from ``y`` (runs, draws), a row per factor."""
    runs, count = y.shape
    own = y - y.mean(axis=1, keepdims=True)
    own[np.abs(own) < ROUNDING] = 0.0  # draws that are all alike have no error, and not one of 1e-15
    se_score = np.sqrt((own**2).sum() / (runs * (count - 1)) / count)
    # the mean of var(y_i - y_j) over all pairs of runs is twice the variance around each draw's own mean
    apart = own - own.mean(axis=0)
    se_difference = np.sqrt(2 * (apart**2).sum() / ((runs - 1) * (count - 1)) / count) if runs > 1 else np.nan
    effect = fit(*model_matrix(data.x[rows], data.factors), y)
    spread = effect.beta[effect.rows(data.factors)].std(axis=1, ddof=1) / np.sqrt(count)
    same = {"n_draws": count, "se_score": se_score, "se_difference": se_difference}
    return pd.DataFrame({"factor": data.factors, **same, "se_draw": spread})


@cache
def detectable_ratio(df: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Effect, in standard errors, that a two-sided t-test finds with probability ``power``; NaN for ``df`` < 1.

    Searched for here, because statsmodels' ``solve_power`` stops short of the answer at small alpha: at 6.48 instead of
    6.53 for 11 degrees of freedom and .05 / 224 (the power of its far tail is NaN where there is none).
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


def seeds_buy(
    scores, level: str = "task", seeds=(1, 2, 3, 5, 8), alpha: float = 0.05, power: float = 0.8
) -> pd.DataFrame:
    """Return what this design would show with 1, 2, 3, ... seeds per subset, given the noise measured in it.

    Columns: ``level, seeds, runs, df, tests, se_median, detectable_median`` (points; found with ``power`` at
    ``alpha``), ``detectable_corrected`` (at alpha / tests, the level Holm starts from). Assumes that the noise per run
    (interactions included) is as measured and independent between seeds; under shared draws it is the noise of
    category by seed, and more seeds bring degrees of freedom as well.
    """
    data = study(scores)
    out = outcomes(data, level)
    cells = len(data.runs.drop_duplicates(list(data.factors)))
    se = main_effects(data, out.y).se
    se = se[np.isfinite(se)]
    # the median error of a main effect with one run per subset
    unit = float(np.median(se) * np.sqrt(len(data.runs) / cells)) if len(se) else float("nan")
    factors, tests = len(data.factors), len(out.names) * len(data.factors)
    table = pd.DataFrame({"level": level, "seeds": list(seeds)})
    table["runs"] = cells * table["seeds"]
    # a seed's level takes a degree of freedom of its own from the second one on
    table["df"] = table["seeds"] - 1 if data.draws == "shared" else table["runs"] - factors - table["seeds"]
    table = table.assign(tests=tests, se_median=unit / np.sqrt(table["seeds"]))
    for name, level_of_test in (("detectable_median", alpha), ("detectable_corrected", alpha / tests)):
        table[name] = table["se_median"] * [detectable_ratio(df, level_of_test, power) for df in table["df"]]
    notes = [*data.notes, *shared_note(data), *out.notes]
    table.attrs = {"notes": notes, "noise": float(unit * np.sqrt(cells) / 2), "unit": "points"}
    return table
