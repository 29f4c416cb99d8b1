"""Effects: what each category does, with the two errors that two questions ask for; all in points (paper, section 3).

Would these very datasets move again, if the models were trained again? ``effects``: one regression of a task's scores
(or of a mean over tasks, taken per run first) on the categories, whose error comes from the runs.

Would other datasets of this kind move? ``across_tasks``: a study varies its runs and its datasets at random, and the
mean effect over a type's datasets has an error from both, since many datasets share the luck of a run, and other
datasets would have had other effects. Every run is scored on every dataset, so the variance of the mean is

    variance over runs + variance over datasets - their interaction, which both contain

as in a two-way analysis of variance. Each is estimated without bias whatever the noise of a run on different datasets
has in common; what runs share and how datasets differ are not taken below zero, which makes the test conservative
where datasets do not differ at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

import numpy as np
import pandas as pd
from scipy.special import stdtridf, stdtrit

from lib.influence.power import draw_errors
from lib.influence.regression import TINY, fit, inference, main_effects, shared_note, with_corrected
from lib.influence.scores import Study, study
from lib.influence.tables import LEVELS, cell_means, complete, outcomes

STATUS_NOTES = {
    "constant": "has the same score in every run: effect 0, no test, not part of the family",
    "exact fit": "is explained without residual: its p is 0 or 1 by convention",
    "no error": "has too few runs, or seeds, for an error: effects without standard error",
}


def effects(
    scores, level: str = "task", normalize: str | None = "z", terms: str = "main", alpha: float = 0.05, draws=None
) -> pd.DataFrame:
    """Return one row per task x category (``level="type"``: per type x category; ``"overall"``; ``"all"``: all three).

    ``scores``: a tidy table, a CSV file or a ``Study``. Columns: ``level, task, type, factor``; ``effect`` (points:
    mean present minus mean absent) with ``se, t, df, p, ci_low, ci_high`` across runs; ``p_bh, p_holm`` over all tasks,
    and over types and overall together (one map shows them); ``normalized`` by ``normalization``; ``n`` runs,
    ``n_tasks``; ``status``: ``ok``, one of STATUS_NOTES, or ``lost`` (these runs do not determine the effect);
    ``reliability, shrunk`` (see ``with_shrinkage``); with ``draws`` ``se_draw``, what mteb's own random draws add.
    ``terms="two_way"`` or ``"saturated"`` takes interactions out of the error. ``attrs["notes"]``: what to read beside
    the numbers. KitError for a table that cannot be used.
    """
    data = study(scores)
    parts, notes = [], [*data.notes, *shared_note(data), *_design_notes(data)]
    for name in LEVELS if level == "all" else (level,):
        out = outcomes(data, name)
        found = main_effects(data, out.y, terms)
        filled = np.where(np.isnan(out.y).all(axis=0), 0.0, out.y)
        constant = np.nanmax(filled, axis=0) - np.nanmin(filled, axis=0) <= TINY * np.nanmax(np.abs(filled), axis=0)
        status = np.select([found.df <= 0, constant, found.rss == 0], ["no error", "constant", "exact fit"], "ok")
        status = np.where(np.isnan(found.effect), "lost", status)
        columns = inference(found.effect, found.se, found.df, alpha)
        columns |= {key: np.where(status == "constant", np.nan, columns[key]) for key in ("t", "p")}
        columns["normalized"] = normalized(normalize, data, out.y, found.effect, columns["t"])
        columns |= {"normalization": normalize or "", "n": found.n}
        columns |= {"n_tasks": out.names["n_tasks"], "status": status}
        parts.append(out.rows(data.factors, "factor", columns))
        notes += [*out.notes, *(f"{text}." for text in found.lost), *_status_notes(parts[-1])]
    table = pd.concat(parts, ignore_index=True)
    table = with_shrinkage(with_corrected(table, table["level"] == "task"))
    if draws is not None:
        table = table.merge(draw_errors(data, draws)[["task", "factor", "se_draw"]], on=["task", "factor"], how="left")
    table.attrs = {"notes": list(dict.fromkeys(notes))}
    return table


def normalized(kind: str | None, data: Study, y: np.ndarray, effect: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the effects (factors, m) without a unit, NaN for None.

    ``z``: scores z-scored over the subsets (means of their seeds, so that more seeds do not change what is estimated),
    then mean present minus mean absent, from -2 to 2; ``std``: standardised regression coefficient; ``t``: effect/se.
    """
    if kind in (None, "t"):
        return np.full(effect.shape, np.nan) if kind is None else t
    means, counts = cell_means(data, y)
    have = counts > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        count = have.sum(axis=0)
        sd_y = np.sqrt(np.where(have, (means - np.nansum(means, axis=0) / count) ** 2, 0).sum(axis=0) / count)
        scale = 1 / np.where(sd_y > TINY * np.where(have, np.abs(means), 0).max(axis=0), sd_y, np.nan)
        levels = (np.arange(len(means))[:, None] >> np.arange(len(data.factors))) & 1
        share = levels.T @ have / count
        return effect * scale * {"z": 1, "std": np.sqrt(share * (1 - share))}[kind]


def _status_notes(table: pd.DataFrame) -> list[str]:
    """Say of each status which task has it, and how many more."""
    names = table["task"].where(table["task"] != "", table["type"]).replace("", "overall")
    hit = {word: names[table["status"] == word].unique() for word in STATUS_NOTES}
    more = {word: f" (and {len(found) - 1} more)" if len(found) > 1 else "" for word, found in hit.items()}
    return [f"{found[0]}{more[word]} {STATUS_NOTES[word]}." for word, found in hit.items() if len(found)]


def _design_notes(data: Study) -> list[str]:
    """Say what is incomplete or unbalanced about the runs, and what follows from it."""
    names, notes = list(data.factors), []
    cells, possible = data.runs.groupby(names)["seed"].nunique(), 2 ** len(names)
    if len(cells) < possible:
        what = "effects are regression estimates adjusted for the other categories, not plain mean differences"
        notes.append(f"{len(cells)} of the {possible} combinations of {', '.join(names)} were run: {what}.")
    if cells.min() < cells.max():
        what = "subsets with more seeds weigh more, and effects are regression estimates, not plain mean differences"
        notes.append(f"Between {cells.min()} and {cells.max()} seeds per subset: {what}.")
    seeds = data.runs["seed"].unique()
    if 0 < possible * len(seeds) - cells.sum() <= 6:  # few enough to be named one by one
        whole = pd.MultiIndex.from_product([*[(0, 1)] * len(names), seeds])
        lost = whole.difference(pd.MultiIndex.from_frame(data.runs[[*names, "seed"]]))
        said = [f"{'+'.join(compress(names, row)) or 'none'} seed {row[-1]}" for row in lost]
        notes.append(f"Of a complete design only {', '.join(said)} {'is' if len(said) == 1 else 'are'} missing.")
    return notes


def with_shrinkage(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``reliability`` and ``shrunk``: the largest of many estimates are large partly by luck.

    With effects spread around zero (variance tau^2, estimated from all cells of a level) the best guess of an effect is
    its estimate times its reliability tau^2 / (tau^2 + se^2) (empirical Bayes, towards zero).
    """
    variance = table["se"] ** 2
    tau2 = (table["effect"] ** 2 - variance).groupby(table["level"]).transform("mean").clip(lower=0)
    share = (tau2 / (tau2 + variance)).where(tau2 + variance != 0, 1.0).where(table["effect"].notna())
    return table.assign(reliability=share, shrunk=share * table["effect"])


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
        """|t| that is passed with probability ``p``, of runs and tasks weighted by their parts; NaN without error.

        Cochran and Cox' solution for a sum of two variances; Satterthwaite's rejects too often far out in the tails.
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

    Columns: ``type, factor, n_tasks, effect``, ``se, t, df, p_t, ci_low, ci_high`` (over runs and tasks), ``p_bh,
    p_holm`` (of ``p_t``, over all rows), ``se_runs, se_sets`` (what each alone would give). Uses the tasks that every
    run has; NaN where these runs do not determine an effect. One task, or no error over runs, gives no error.
    """
    data = study(scores)
    parts, notes = [], [*data.notes, *shared_note(data)]
    for name in (*dict.fromkeys(data.types), ""):
        y = 100 * data.y[:, [name in ("", kind) for kind in data.types]]
        y = y[:, complete(y)]  # runs without any of these tasks stay as rows of NaN
        if (n := y.shape[1]) < 2:
            notes.append(f"{name or 'overall'} has {n} task{'s' * (n != 1)} with effects: no error across tasks.")
        table = pd.DataFrame({"type": name, "factor": data.factors, "n_tasks": n})
        if n:
            found = variances(data, y)
            effect, se, bar = found.effect.mean(axis=1), found.se(), found.bar(alpha)
            with np.errstate(invalid="ignore", divide="ignore"):
                t = np.where(se > 0, effect / se, np.nan)
            df = stdtridf(1 - alpha / 2, bar)  # of the t distribution with the same bar
            table = table.assign(effect=effect, se=se, t=t, df=df, p_t=found.p())
            table = table.assign(ci_low=effect - bar * se, ci_high=effect + bar * se)
            table[["se_runs", "se_sets"]] = np.sqrt([found.runs, found.sets]).T
            lost = ~np.isfinite(found.effect).all(axis=1)
            table.loc[lost, "n_tasks"], table.loc[lost, table.columns[3:]] = 0, np.nan
        parts.append(table)
    few = [f"{name} ({count})" for name, count in pd.Series(data.types).value_counts().items() if 2 <= count < 6]
    notes += [f"Few tasks, so wide errors across tasks: {', '.join(few)}."] if few else []
    columns = "type factor n_tasks effect se t df p_t ci_low ci_high se_runs se_sets".split()  # all, if empty
    table = with_corrected(pd.concat(parts, ignore_index=True).reindex(columns=columns), p="p_t")
    table.attrs = {"notes": notes}
    return table


def pooled(scores) -> pd.DataFrame:
    """Return ``type, factor, effect, se, t, df, p`` of the naive pooled regression, to be shown as a warning only.

    One regression per type, with a mean per task and one error as if all scores were independent: it rejects a true
    null of no average effect several times too often (measured in the tests).
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
