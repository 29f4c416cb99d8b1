"""Inference across tasks: would other datasets of this kind move?

A study varies two things at random, its runs and its datasets, and the mean effect over a type's datasets has an error
from both: other runs would have had other luck, which many datasets share, and other datasets would have had other
effects. Runs and datasets are crossed (every run is scored on every dataset), so the variance of the mean is

    variance over runs + variance over datasets - their interaction, which both contain

as in a two-way analysis of variance. All three are estimated without bias whatever the noise of a run on different
datasets has in common; what runs share and how datasets differ are not taken below zero, which makes the test
conservative where datasets do not differ at all. ``pooled``, which treats every score as independent, is here only to be seen failing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.errors import design, main_effects, shared_note
from lib.influence.inference import adjust, t_test
from lib.influence.ols import fit
from lib.influence.scores import Study, study


@dataclass(frozen=True)
class Variances:
    """Per factor, of the mean effect over the tasks: variance over runs, over tasks, and their interaction."""

    effect: np.ndarray  # (factors, ..., tasks)
    runs: np.ndarray  # (factors, ...), as the two below
    sets: np.ndarray
    both: np.ndarray
    df_runs: int
    df_sets: int

    def se(self) -> np.ndarray:
        """Standard error of the mean over runs and tasks; what runs share, and how tasks differ, count at least 0."""
        return np.sqrt(sum(self._parts()) + self.both)

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Variance from what all tasks share of a run's luck, and from how tasks differ; the rest is ``both``."""
        return np.maximum(self.runs - self.both, 0), np.maximum(self.sets - self.both, 0)

    def _quantile(self, p) -> np.ndarray:
        """|t| that is passed with probability ``p``: that of runs and that of tasks, weighted by their parts.

        Cochran and Cox' solution for a sum of two variances. Satterthwaite's rejects too often far out in the tails,
        where a correction for many tests looks, when two or three tasks agree by chance.
        """
        from scipy.special import stdtrit

        shared, differ = self._parts()
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = (differ + self.both / 2) / (shared + differ + self.both)
        weight = np.where(np.isfinite(weight), weight, 1.0)
        return (weight - 1) * stdtrit(self.df_runs, p / 2) - weight * stdtrit(self.df_sets, p / 2)

    def margin(self, alpha: float) -> np.ndarray:
        """Half the width of the interval; NaN without degrees of freedom."""
        return self._quantile(alpha) * self.se() if min(self.df_runs, self.df_sets) > 0 else self.se() * np.nan

    def p(self, effect) -> np.ndarray:
        """Two-sided p of a mean effect, by bisection of the quantile."""
        se = self.se()
        if min(self.df_runs, self.df_sets) < 1:
            return se * np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(effect == 0, 0.0, np.abs(effect) / se)
        low, high = np.full(t.shape, -60.0), np.zeros(t.shape)  # log p
        for _ in range(45):
            middle = (low + high) / 2
            above = self._quantile(np.exp(middle)) > t
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.where(np.isnan(se), np.nan, np.exp(high))

    def df(self, alpha: float) -> np.ndarray:
        """Degrees of freedom of the t distribution with the same quantile at ``alpha``."""
        from scipy.special import stdtridf

        bar = self._quantile(alpha) if min(self.df_runs, self.df_sets) > 0 else np.full(np.shape(self.runs), np.nan)
        return stdtridf(1 - alpha / 2, bar)


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
    one = Variances(effect, *(v[place] for v in (parts.runs, parts.sets, parts.both)), parts.df_runs, parts.df_sets)
    se, half, p = one.se(), one.margin(alpha), float(one.p(effect))
    return {
        "se": float(se),
        "t": float(effect / se) if se > 0 else np.nan,
        "df": float(one.df(alpha)),
        "p_t": p,
        "ci_low": float(effect - half),
        "ci_high": float(effect + half),
        "se_runs": float(np.sqrt(one.runs)),
        "se_sets": float(np.sqrt(one.sets)),
    }


def variances(data: Study, y: np.ndarray) -> Variances:
    """Return the three variances for the mean over the last axis of ``y`` (runs, ..., tasks; points, no gaps).

    Axes between runs and tasks are studies side by side; runs without any score may be rows of NaN.
    """
    shape, n = y.shape[1:], y.shape[-1]
    found = main_effects(data, y.reshape(len(y), -1))
    whole = main_effects(data, y.mean(axis=-1).reshape(len(y), -1))
    effect, se = (v.reshape(-1, *shape) for v in (found.effect, found.se))
    runs = whole.se.reshape(-1, *shape[:-1]) ** 2
    sets, both = np.full((2, *runs.shape), np.nan)
    if n > 1:
        sets = effect.var(axis=-1, ddof=1) / n
        both = ((se**2).mean(axis=-1) - runs) / (n - 1)  # in both: the tasks' own errors, less what they share
    return Variances(effect, runs, sets, both, int(whole.df.min()), n - 1)


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
