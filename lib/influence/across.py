"""Inference across tasks: would other datasets of this kind move, given these very models?

One effect per task, taken as a sample of a type's tasks: its mean, a t interval, a bootstrap over tasks and an exact
sign-flip test. This is kept apart from the errors across runs (``lib.influence.effects``): neither replaces the other, and
``pooled``, which mixes the two by treating every score as independent, is here only to be seen failing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.files import KitError
from lib.influence.inference import adjust, margin, sign_flip, t_test
from lib.influence.ols import fit, model_matrix
from lib.influence.outcomes import outcomes
from lib.influence.scores import Study, study


def across_tasks(scores, by: str = "type", alpha: float = 0.05, bootstrap: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Return one row per type x category (``by="overall"``: one per category): the mean of the tasks' effects.

    Columns: ``type, factor, n_tasks, effect`` (points), ``sd_tasks`` (spread of the tasks' effects), ``se, t, df, p_t``
    and ``ci_low, ci_high`` (t over tasks: the interval to draw), ``p_signflip`` and the smallest it can be,
    ``p_signflip_min`` (2^(1 - tasks)), ``p_bh, p_holm`` (of ``p_t``, over all rows), ``boot_low, boot_high``
    (bootstrap, see ``resampled``), ``share_up`` (tasks with a positive effect). A type with one task has no error.
    """
    data = study(scores)
    effect, groups, notes = _task_effects(data, by)
    rows = []
    for name, members in groups.items():
        part = effect[:, members]
        n = int((~np.isnan(part)).any(axis=0).sum())
        if n < 2:
            notes.append(
                f"{name or 'overall'} has {n} task{'' if n == 1 else 's'} with effects: no error across tasks."
            )
        rows += [
            {"type": name, "factor": factor, **_row(part[i][~np.isnan(part[i])], alpha, bootstrap, seed)}
            for i, factor in enumerate(data.factors)
        ]
    table = pd.DataFrame(rows)
    place = table.columns.get_loc("ci_low")
    table.insert(place, "p_holm", adjust(table["p_t"], "holm"))
    table.insert(place, "p_bh", adjust(table["p_t"], "fdr_bh"))
    small = [n for n, g in groups.items() if 2 <= int(g.sum()) < 6]
    if small:
        notes.append(f"No exact test across tasks can reach .05 for {', '.join(small)}: fewer than six tasks.")
    table.attrs = {"notes": [*data.notes, *notes], "alpha": alpha, "unit": "points"}
    return table


def _task_effects(data: Study, by: str) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """The main effects per task (factors, tasks), the groups of tasks, and what could not be estimated."""
    if by not in ("type", "overall"):
        raise KitError(f"by={by!r} is not known; say type or overall")
    x, names = model_matrix(data.x, data.factors)
    result = fit(x, names, outcomes(data, "task").y)
    types = np.array(data.types)
    groups = {t: types == t for t in dict.fromkeys(data.types)} if by == "type" else {"": np.ones(len(types), bool)}
    return result.beta[result.rows(data.factors)], groups, [f"{text}." for text in result.lost]


def _row(effect: np.ndarray, alpha: float, bootstrap: int, seed: int) -> dict:
    """The numbers of one type and category; ``effect`` is (tasks,) without gaps."""
    n = len(effect)
    mean, sd, se, df = summary(effect)
    t, p = t_test(mean, se, df)
    half = margin(se, df, alpha)
    flip, floor = sign_flip(effect[:, None], seed) if n > 1 else ([np.nan], [np.nan])
    low, high = resampled(effect, alpha, bootstrap, seed)
    return {
        "n_tasks": n, "effect": float(mean), "sd_tasks": float(sd), "se": float(se), "t": float(t), "df": df,
        "p_t": float(p), "p_signflip": float(flip[0]), "p_signflip_min": float(floor[0]), "ci_low": float(mean - half),
        "ci_high": float(mean + half), "boot_low": float(low), "boot_high": float(high),
        "share_up": float((effect > 0).mean()) if n else np.nan,
    }  # fmt: skip


def summary(effect: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Mean, spread and standard error over the last axis, and its degrees of freedom; NaN for fewer than two tasks."""
    n = effect.shape[-1]
    missing = np.full(effect.shape[:-1], np.nan)
    mean = effect.mean(axis=-1) if n else missing
    sd = effect.std(axis=-1, ddof=1) if n > 1 else missing
    return mean, sd, sd / np.sqrt(max(n, 1)), max(n - 1, 0)


def resampled(effect: np.ndarray, alpha: float, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap interval of the mean over the last axis of ``effect`` (factors, tasks), widened for few tasks.

    The plain percentile interval is too short for few tasks (a resample's spread is sqrt((n-1)/n) of the truth, and it
    uses normal quantiles); its percentiles are therefore moved to where the t interval of normal data would lie
    (Hesterberg 2015). It still cannot leave the range of the data, so with four tasks it covers at most 7/8.
    """
    from scipy import stats

    n = effect.shape[-1]
    if n < 2:
        return (np.full(effect.shape[:-1], np.nan),) * 2
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws) / n
    tail = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.isf(alpha / 2, n - 1))
    low, high = np.quantile(effect @ weights.T, [tail, 1 - tail], axis=-1)
    return low, high


def pooled(scores, by: str = "type") -> pd.DataFrame:
    """Return ``type, factor, effect, se, t, df, p`` of the naive pooled regression, to be shown as a warning only.

    All scores of a type in one regression, a mean per task, and one error as if every score were an independent
    observation. It knows neither that tasks differ in their effects nor that a run's luck is shared by its tasks, and
    rejects a true null of no average effect several times too often (measured in the tests).
    """
    data = study(scores)
    y, x = outcomes(data, "task").y, data.x
    groups = _task_effects(data, by)[1]
    rows = []
    for name, members in groups.items():
        effect, se, df = pooled_fit(x, y[:, members])
        t, p = t_test(effect, se, df)
        rows += [
            {"type": name, "factor": f, "effect": effect[i], "se": se[i], "t": t[i], "df": df, "p": p[i]}
            for i, f in enumerate(data.factors)
        ]
    table = pd.DataFrame(rows)
    table.attrs = {
        "notes": [*data.notes, "The pooled regression counts every score as independent: it rejects far too often."]
    }
    return table


def pooled_fit(levels: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Effects, errors and degrees of freedom of one regression over all columns of ``y``, with a mean per column."""
    blocks_x, blocks_y = [], []
    for column in y.T:
        have = ~np.isnan(column)
        if have.any():
            blocks_x.append(levels[have] - levels[have].mean(axis=0))
            blocks_y.append(column[have] - column[have].mean())
    x, z = np.concatenate(blocks_x), np.concatenate(blocks_y)
    result = fit(x, [str(i) for i in range(x.shape[1])], z[:, None])
    df = len(z) - len(blocks_y) - (len(z) - int(result.df[0]))
    se = result.se[:, 0] * np.sqrt(result.df[0] / df) if df > 0 else np.full(x.shape[1], np.nan)
    return result.beta[:, 0], se, df
