"""Inference across tasks: would other datasets of this kind move?

A study varies two things at random, its runs and its datasets, and the mean effect over a type's datasets has an error
from both: other runs would have had other luck, which many datasets share, and other datasets would have had other
effects. Runs and datasets are crossed (every run is scored on every dataset), so the variance of the mean is

    variance over runs + variance over datasets - their interaction, which both contain

as in a two-way analysis of variance. All three are estimated without bias whatever the noise of a run on different
datasets has in common; what runs share and how datasets differ are not taken below zero, which makes the test
conservative where datasets do not differ at all. ``pooled``, which treats every score as independent, is here only to
be seen failing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtridf, stdtrit

from lib.influence.regression import fit, inference, main_effects, shared_note, with_corrected
from lib.influence.scores import Study, study
from lib.influence.tables import complete


@dataclass(frozen=True)
class Variances:
    """Per factor, of the mean effect over the tasks: variance over runs, over tasks, and their interaction."""

    effect: np.ndarray  # (factors, ..., tasks)
    runs: np.ndarray  # (factors, ...), as the two below
    sets: np.ndarray
    both: np.ndarray
    df_runs: int
    df_sets: int

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Variance from what all tasks share of a run's luck, and from how tasks differ; the rest is ``both``."""
        return np.maximum(self.runs - self.both, 0), np.maximum(self.sets - self.both, 0)

    def se(self) -> np.ndarray:
        """Standard error of the mean over runs and tasks; what runs share, and how tasks differ, count at least 0."""
        return np.sqrt(sum(self._parts()) + self.both)

    def bar(self, p) -> np.ndarray:
        """|t| that is passed with probability ``p``: that of runs and that of tasks, weighted by their parts.

        Cochran and Cox' solution for a sum of two variances. Satterthwaite's rejects too often far out in the tails,
        where a correction for many tests looks, when two or three tasks agree by chance. NaN without an error.
        """
        if min(self.df_runs, self.df_sets) < 1:
            return np.full(np.shape(self.runs), np.nan)
        shared, differ = self._parts()
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = (differ + self.both / 2) / (shared + differ + self.both)
        weight = np.where(np.isfinite(weight), weight, 1.0)
        return (weight - 1) * stdtrit(self.df_runs, p / 2) - weight * stdtrit(self.df_sets, p / 2)

    def p(self) -> np.ndarray:
        """Two-sided p of the mean effect, by bisection of ``bar``."""
        effect, se = self.effect.mean(axis=-1), self.se()
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(effect == 0, 0.0, np.abs(effect) / se)
        low, high = np.full(t.shape, -60.0), np.zeros(t.shape)  # log p
        for _ in range(45):
            middle = (low + high) / 2
            above = self.bar(np.exp(middle)) > t
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.where(np.isnan(se) | np.isnan(self.bar(0.5)), np.nan, np.exp(high))


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


def across_tasks(scores, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per type x category, and one per category over all tasks (type "").

    Columns: ``type, factor, n_tasks, effect`` (points), ``se, t, df, p_t`` and ``ci_low, ci_high`` (crossed errors over
    runs and tasks), ``p_bh, p_holm`` (of ``p_t``, over all rows), ``se_runs, se_sets`` (what runs alone and tasks alone
    would give). Uses the tasks that every run has; NaN for a category whose effect these runs do not determine. A type
    with one task has no error, nor has a design without one over runs.
    """
    data = study(scores)
    parts, notes = [], [*data.notes, *shared_note(data)]
    for name in (*dict.fromkeys(data.types), ""):
        y = 100 * data.y[:, [name in ("", kind) for kind in data.types]]
        y = y[:, complete(y)]  # runs without any of these tasks stay as rows of NaN
        if (n := y.shape[1]) < 2:
            many = "" if n == 1 else "s"
            notes.append(f"{name or 'overall'} has {n} task{many} with effects: no error across tasks.")
        table = pd.DataFrame({"type": name, "factor": data.factors, "n_tasks": n})
        if n:
            found = variances(data, y)
            effect, se, bar = found.effect.mean(axis=1), found.se(), found.bar(alpha)
            with np.errstate(invalid="ignore", divide="ignore"):
                t = np.where(se > 0, effect / se, np.nan)
            df = stdtridf(1 - alpha / 2, bar)  # of the t distribution with the same bar
            table = table.assign(effect=effect, se=se, t=t, df=df, p_t=found.p())
            table = table.assign(ci_low=effect - bar * se, ci_high=effect + bar * se)
            table = table.assign(se_runs=np.sqrt(found.runs), se_sets=np.sqrt(found.sets))
            lost = ~np.isfinite(found.effect).all(axis=1)
            table.loc[lost, "n_tasks"], table.loc[lost, table.columns[3:]] = 0, np.nan
        parts.append(table)
    few = [f"{name} ({count})" for name, count in pd.Series(data.types).value_counts().items() if 2 <= count < 6]
    notes += [f"Few tasks, so wide errors across tasks: {', '.join(few)}."] if few else []
    table = with_corrected(pd.concat(parts, ignore_index=True), p="p_t")
    table.attrs = {"notes": notes}
    return table


def pooled(scores) -> pd.DataFrame:
    """Return ``type, factor, effect, se, t, df, p`` of the naive pooled regression, to be shown as a warning only.

    All scores of a type in one regression, a mean per task, and one error as if every score were an independent
    observation. It knows neither that tasks differ in their effects nor that a run's luck is shared by its tasks, and
    rejects a true null of no average effect several times too often (measured in the tests).
    """
    data, parts = study(scores), []
    for name in dict.fromkeys(data.types):
        y = 100 * data.y[:, [name == kind for kind in data.types]]
        runs, tasks = np.nonzero(~np.isnan(y))
        x = np.column_stack([np.eye(y.shape[1])[tasks], data.x[runs] - 0.5])
        names = [*(f"task {i}" for i in range(y.shape[1])), *data.factors]
        found = fit(x, names, y[runs, tasks][:, None]).of(data.factors)
        columns = inference(found.effect[:, 0], found.se[:, 0], int(found.df[0]))
        parts.append(pd.DataFrame({"type": name, "factor": data.factors, **columns}))
    return pd.concat(parts, ignore_index=True)
