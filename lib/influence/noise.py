"""Noise: how far scores move for reasons that have nothing to do with the categories.

Three sources, kept apart: training again with another seed (``sd_seed``, needs two seeds), whatever the main effects do
not explain (``sd_residual``: seeds plus interactions), and mteb's own random draws (few-shot samples of
classification, k-means), which are the same for every model and are therefore compared run against run.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.errors import design, main_effects, shared_note
from lib.influence.ols import fit, model_matrix
from lib.influence.outcomes import outcomes
from lib.influence.power import detectable_ratio
from lib.influence.scores import Study, study

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
    with np.errstate(all="ignore"):
        se = _median(found.se)
        table = pd.DataFrame(
            {
                "task": data.tasks,
                "type": data.types,
                "n": main.n,
                "mean": np.nanmean(y, axis=0),
                "sd_residual": main.sd,
                "sd_seed": pure.sd,
                "df_seed": pure.df,
                "se_effect": se,
            }
        )
    ratio = {df: detectable_ratio(int(df), alpha, power) for df in set(found.df)}
    table["detectable"] = table["se_effect"] * [ratio[df] for df in found.df]
    if draws is not None:
        errors = draw_errors(data, draws)
        per_task = errors.groupby("task").agg(
            n_draws=("n_draws", "first"),
            se_score_draws=("se_score", "first"),
            se_difference_draws=("se_difference", "first"),
            se_effect_draws=("se_draw", "median"),
        )
        table = table.merge(per_task.reset_index(), on="task", how="left")
    table.attrs = {"notes": [*data.notes, *shared_note(data)], "unit": "points"}
    return table


def _median(values: np.ndarray) -> np.ndarray:
    """Median over the first axis without NaN, NaN where there is nothing."""
    empty = np.isnan(values).all(axis=0)
    return np.where(empty, np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=0))


def read_draws(draws) -> pd.DataFrame:
    """Return the checked table of scores per draw (a DataFrame or a CSV with subset, seed, task, draw, score)."""
    table = draws.copy() if isinstance(draws, pd.DataFrame) else _csv(draws)
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


def _csv(path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise KitError(f"{path} does not exist; score some runs first, or leave draws out") from None
    except (OSError, ValueError) as error:
        raise KitError(f"{path} cannot be read as CSV ({str(error).strip().splitlines()[0]})") from None


def draw_errors(scores, draws) -> pd.DataFrame:
    """Return ``task, factor, n_draws, se_score, se_difference, se_draw`` (points), from scores per draw.

    The draws are the same for every run, so each draw gives its own main effect; ``se_draw`` is the standard error of
    the mean of those effects. It is a part of the truth that more seeds do not reduce. Tasks with fewer than two draws,
    or whose runs do not all have the same draws, are left out.
    """
    data = study(scores)
    table = read_draws(draws)
    order = {
        (subset, seed): i for i, (subset, seed) in enumerate(zip(data.runs["subset"], data.runs["seed"], strict=True))
    }
    table["row"] = [order.get(key) for key in zip(table["subset"], table["seed"], strict=True)]
    table = table.dropna(subset=["row"])
    rows = []
    for task, part in table.groupby("task", sort=True):
        wide = 100 * part.pivot(index="row", columns="draw", values="score").sort_index()
        if wide.shape[1] < 2 or wide.isna().any().any() or task not in data.tasks:
            continue
        rows += _task_errors(data, task, wide.index.to_numpy(int), wide.to_numpy())
    columns = ["task", "factor", "n_draws", "se_score", "se_difference", "se_draw"]
    return pd.DataFrame(rows, columns=columns)


def _task_errors(data: Study, task: str, rows: np.ndarray, y: np.ndarray) -> list[dict]:
    """Errors of one task from ``y`` (runs, draws)."""
    runs, count = y.shape
    own = y - y.mean(axis=1, keepdims=True)
    own[np.abs(own) < ROUNDING] = 0.0  # draws that are all alike have no error, and not one of 1e-15
    se_score = float(np.sqrt((own**2).sum() / (runs * (count - 1)) / count))
    # the mean of var(y_i - y_j) over all pairs of runs is twice the variance around each draw's own mean
    apart = own - own.mean(axis=0)
    se_difference = float(np.sqrt(2 * (apart**2).sum() / ((runs - 1) * (count - 1)) / count)) if runs > 1 else np.nan
    effect = fit(*model_matrix(data.x[rows], data.factors), y)
    spread = effect.beta[effect.rows(data.factors)].std(axis=1, ddof=1) / np.sqrt(count)
    return [
        {
            "task": task,
            "factor": factor,
            "n_draws": count,
            "se_score": se_score,
            "se_difference": se_difference,
            "se_draw": spread[i],
        }
        for i, factor in enumerate(data.factors)
    ]
