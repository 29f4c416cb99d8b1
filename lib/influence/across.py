"""Inference across tasks: would other datasets of this kind move?

A study varies two things at random, its runs and its datasets, and the mean effect over a type's datasets has an error
from both: other runs would have had other luck, which many datasets share, and other datasets would have had other
effects. Runs and datasets are crossed (every run is scored on every dataset), so the variance of the mean is

    variance over runs + variance over datasets - their interaction, which both contain

as in a two-way analysis of variance. All three are estimated without bias whatever the noise of a run on different
datasets has in common. ``pooled``, which treats every score as independent, is here only to be seen failing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.files import KitError
from lib.influence.errors import design, main_effects, shared_note
from lib.influence.inference import adjust, margin, t_test
from lib.influence.ols import fit
from lib.influence.outcomes import outcomes
from lib.influence.scores import Study, study


@dataclass(frozen=True)
class Variances:
    """Per factor, of the mean effect over the tasks: variance over runs, over tasks, and their interaction."""

    effect: np.ndarray  # (factors, tasks)
    runs: np.ndarray  # (factors,), as the two below
    sets: np.ndarray
    both: np.ndarray
    df_runs: int
    df_sets: int


def across_tasks(scores, by: str = "type", alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per type x category (``by="overall"``: one per category; ``"all"``: both, as one family).

    Columns: ``type, factor, n_tasks, effect`` (points), ``sd_tasks`` (spread of the tasks' effects), ``se, t, df, p_t``
    and ``ci_low, ci_high`` (crossed errors over runs and tasks), ``p_bh, p_holm`` (of ``p_t``, over all rows),
    ``se_runs, se_sets`` (what runs alone and tasks alone would give), ``share_up`` (tasks with a positive effect).
    Uses the tasks that every run has. A type with one task has no error, and neither has a design without one over runs.
    """
    if by not in ("type", "overall", "all"):
        raise KitError(f"by={by!r} is not known; say type, overall or all")
    data = study(scores)
    types = np.array(data.types)
    groups = {} if by == "overall" else {name: types == name for name in dict.fromkeys(data.types)}
    groups |= {} if by == "type" else {"": np.ones(len(types), bool)}
    rows, notes = [], []
    for name, members in groups.items():
        n = _group(data, name, members, alpha, rows)
        if n < 2:
            notes.append(
                f"{name or 'overall'} has {n} task{'' if n == 1 else 's'} with effects: no error across tasks."
            )
    table = pd.DataFrame(rows)
    place = table.columns.get_loc("ci_low")
    table.insert(place, "p_holm", adjust(table["p_t"], "holm"))
    table.insert(place, "p_bh", adjust(table["p_t"], "fdr_bh"))
    few = [f"{name} ({count})" for name, count in pd.Series(data.types).value_counts().items() if 2 <= count < 6]
    if few and by != "overall":
        notes.append(f"Few tasks, so wide errors across tasks: {', '.join(few)}.")
    table.attrs = {"notes": [*data.notes, *shared_note(data), *notes], "alpha": alpha, "unit": "points"}
    return table


def _group(data: Study, name: str, members: np.ndarray, alpha: float, rows: list[dict]) -> int:
    """Append the rows of one group of tasks; return how many tasks have effects."""
    y = 100 * data.y[:, members]
    have = ~np.isnan(y)
    some = have.any(axis=1)
    y = y[:, have[some].all(axis=0)]  # runs without any of these tasks stay as rows of NaN
    n = y.shape[1]
    parts = variances(data, y) if n else None
    for place, factor in enumerate(data.factors):
        effect = parts.effect[place] if n else np.zeros(0)
        known = bool(n) and np.isfinite(effect).all()
        row = {"type": name, "factor": factor, "n_tasks": n if known else 0, **_EMPTY}
        if known:
            row["effect"], row["share_up"] = float(effect.mean()), float((effect > 0).mean())
            row["sd_tasks"] = float(effect.std(ddof=1)) if n > 1 else np.nan
            row |= _errors(parts, place, row["effect"], alpha)
        rows.append(row)
    return n


_EMPTY = dict.fromkeys(
    ("effect", "sd_tasks", "se", "t", "df", "p_t", "ci_low", "ci_high", "se_runs", "se_sets", "share_up"), np.nan
)


def _errors(parts: Variances, place: int, effect: float, alpha: float) -> dict:
    """Everything about the error of one mean effect."""
    runs, sets, both = parts.runs[place], parts.sets[place], parts.both[place]
    se, df = crossed(runs, sets, both, parts.df_runs, parts.df_sets)
    t, p = t_test(effect, se, df)
    half = float(margin(se, df, alpha))
    return {
        "se": float(se),
        "t": float(t),
        "df": float(df),
        "p_t": float(p),
        "ci_low": effect - half,
        "ci_high": effect + half,
        "se_runs": float(np.sqrt(runs)),
        "se_sets": float(np.sqrt(sets)),
    }


def variances(data: Study, y: np.ndarray) -> Variances:
    """Return the three variances for the mean of ``y`` (runs, tasks; points, no gaps but empty runs)."""
    n = y.shape[1]
    found, whole = main_effects(data, y), main_effects(data, y.mean(axis=1, keepdims=True))
    df_runs = int(whole.df[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        sets = found.effect.var(axis=1, ddof=1) / n if n > 1 else np.full(len(found.effect), np.nan)
        runs = whole.se[:, 0] ** 2
        # the part that both contain: the mean of the tasks' own variances over runs, less what they share
        both = ((found.se**2).mean(axis=1) - runs) / (n - 1) if n > 1 else sets
    return Variances(found.effect, runs, sets, both, df_runs, n - 1)


def crossed(runs, sets, both, df_runs, df_sets):
    """Standard error of a mean over runs and tasks, and its degrees of freedom (Satterthwaite).

    The variance is never taken below the larger of its two parts. NaN where either part is missing.
    """
    largest = np.maximum(runs, sets)
    variance = np.maximum(runs + sets - both, largest)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = runs**2 / df_runs + sets**2 / df_sets + both**2 / (df_runs * df_sets)
        df = np.where(spread > 0, variance**2 / spread, df_runs)
    return np.sqrt(variance), np.where(np.isnan(variance), np.nan, df)


def pooled(scores, by: str = "type") -> pd.DataFrame:
    """Return ``type, factor, effect, se, t, df, p`` of the naive pooled regression, to be shown as a warning only.

    All scores of a type in one regression, a mean per task, and one error as if every score were an independent
    observation. It knows neither that tasks differ in their effects nor that a run's luck is shared by its tasks, and
    rejects a true null of no average effect several times too often (measured in the tests).
    """
    data = study(scores)
    types = np.array(data.types)
    rows = []
    for name in dict.fromkeys(data.types) if by == "type" else [""]:
        y = 100 * data.y[:, (types == name) | (name == "")]
        result = fit(*design(data), y)
        have, each = ~np.isnan(y), result.beta[result.rows(data.factors)]
        df = int(have.sum() - y.shape[1] - len(data.factors))
        effect = each.mean(axis=1)
        left = y - np.nanmean(y, axis=0) - (data.x - data.x.mean(axis=0)) @ effect[:, None]
        inverse = np.linalg.pinv(np.cov(data.x, rowvar=False, ddof=0).reshape(len(effect), -1) * have.sum())
        se = np.sqrt(np.diag(inverse) * np.nansum(left**2) / df) if df > 0 else np.full(len(effect), np.nan)
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
