"""Main effects of the categories and their interactions, per task, per type and overall (paper, section 3).

The question here is "would these very datasets move again, if the models were trained again?": every number is one
regression of a task's scores (or of a mean over tasks, taken per run first) on the categories, and its error comes from
the runs. Two categories interact when one's effect depends on the other's presence; in the 16 runs interactions change
no main effect, and say how far "the effect of a category" is one number. All effects in points.

Reliability is the share of the variance of the estimates that is not their own error: about the correlation of a study
with a repetition of it. Shrinkage answers the reader who looks at the largest cells, which are large partly by luck:
with effects spread around zero (variance tau^2, estimated from all cells of a level) and an error se, the best guess of
an effect is its estimate times tau^2 / (tau^2 + se^2) (empirical Bayes, towards zero).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from lib.influence.power import draw_errors
from lib.influence.regression import TINY, adjust, design, fit, inference, main_effects, shared_note, with_corrected
from lib.influence.scores import Study, study
from lib.influence.tables import LEVELS, OVERALL, cell_means, outcomes

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
    ``terms="two_way"`` or ``"saturated"`` takes interactions out of the error. ``attrs["notes"]`` holds sentences to
    show beside the numbers. Raises KitError for a table that cannot be used.
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
        columns |= {"normalization": np.array(normalize or ""), "n": found.n}
        columns |= {"n_tasks": out.names["n_tasks"].to_numpy(), "status": status}
        parts.append(out.rows(data.factors, "factor", columns))
        notes += [*out.notes, *(f"{text}." for text in found.lost), *_status_notes(parts[-1])]
    table = pd.concat(parts, ignore_index=True)
    table = with_shrinkage(with_corrected(table, table["level"] == "task"))
    if draws is not None:
        drawn = draw_errors(data, draws)[["task", "factor", "se_draw"]]
        table = table.merge(drawn, on=["task", "factor"], how="left")
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
        scale = 1 / np.where(sd_y > TINY * np.nanmax(np.abs(np.where(have, means, 0)), axis=0), sd_y, np.nan)
        levels = (np.arange(len(means))[:, None] >> np.arange(len(data.factors))) & 1
        share = levels.T @ have / count
        return effect * scale * {"z": 1, "std": np.sqrt(share * (1 - share))}[kind]


def _status_notes(table: pd.DataFrame) -> list[str]:
    """Say of each status which task has it, and how many more."""
    notes = []
    for word, text in STATUS_NOTES.items():
        hit = table.loc[table["status"] == word, ["task", "type"]].drop_duplicates()
        if len(hit):
            first = hit.iloc[0]["task"] or hit.iloc[0]["type"] or "overall"
            notes.append(f"{first}{f' (and {len(hit) - 1} more)' if len(hit) > 1 else ''} {text}.")
    return notes


def _design_notes(data: Study) -> list[str]:
    """Say what is incomplete or unbalanced about the runs, and what follows from it."""
    names = list(data.factors)
    cells, seeds = data.runs.groupby(names, sort=False)["seed"].nunique(), data.runs["seed"].unique()
    notes, possible = [], 2 ** len(names)
    if len(cells) < possible:
        what = "effects are regression estimates adjusted for the other categories, not plain mean differences"
        notes.append(f"{len(cells)} of the {possible} combinations of {', '.join(names)} were run: {what}.")
    if cells.min() < cells.max():
        what = "subsets with more seeds weigh more, and effects are regression estimates, not plain mean differences"
        notes.append(f"Between {cells.min()} and {cells.max()} seeds per subset: {what}.")
    if 0 < possible * len(seeds) - int(cells.sum()) <= 6:
        wanted = pd.MultiIndex.from_product([*[(0, 1)] * len(names), seeds])
        have = pd.MultiIndex.from_frame(data.runs[[*names, "seed"]])
        absent = [
            f"{'+'.join(name for name, on in zip(names, row, strict=False) if on) or 'none'} seed {row[-1]}"
            for row in wanted[~wanted.isin(have)]
        ]
        notes.append(f"Of a complete design only {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing.")
    return notes


def interactions(scores, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per task, type and overall x pair of categories, from the regression with all two-way products.

    ``term`` is "ss:sl", ``effect`` how much the first category's effect changes when the second is present (difference
    in differences, points), with its error as in ``effects``; ``p_bh, p_holm`` over the level.
    """
    data = study(scores)
    x, names = design(data, "two_way")
    pairs = [name for name in names if ":" in name]
    parts, notes = [], [*data.notes, *shared_note(data)]
    for level in LEVELS:
        out = outcomes(data, level)
        found = fit(x, names, out.y).of(pairs)
        columns = inference(found.effect, found.se, found.df, alpha) | {"n": found.n}
        still = np.nanmax(out.y, axis=0) == np.nanmin(out.y, axis=0)
        columns |= {key: np.where(still, np.nan, columns[key]) for key in ("t", "p")}
        parts.append(with_corrected(out.rows(pairs, "term", columns)))
        notes += [*out.notes, *(f"{text}." for text in found.lost)]
    table = pd.concat(parts, ignore_index=True)
    table.attrs = {"notes": list(dict.fromkeys(notes))}
    return table


def crossed(scores, alpha: float = 0.05) -> pd.DataFrame:
    """Return main effects and two-way interactions of one regression, per type and over all tasks (type OVERALL).

    ``p_bh`` and ``p_holm`` are over all types together, main effects and interactions each: the two questions that one
    figure asks of many cells.
    """
    data = study(scores)
    main = effects(data, "all", None, "two_way", alpha).rename(columns={"factor": "term"})
    table = pd.concat([main, interactions(data, alpha)], ignore_index=True).drop(columns=["p_bh", "p_holm"])
    table = table[table["level"] != "task"]
    table["type"] = table["type"].where(table["level"] == "type", OVERALL)
    pair = table["term"].str.contains(":").rename("pair")
    table = with_corrected(table, pair).assign(pair=pair).sort_values("pair", kind="stable")
    return table["type term effect se t df p p_bh p_holm ci_low ci_high n".split()].reset_index(drop=True)


def interaction_block(scores) -> pd.DataFrame:
    """Return one row per task, type and overall: do the two-way interactions together explain more than chance?

    Columns: ``level, task, type, F, df_num, df_den, p``, ``p_bh`` over the level. NaN without degrees of freedom.
    """
    data, parts = study(scores), []
    for level in LEVELS:
        out = outcomes(data, level)
        f, num, den = block_f(data, out.y)
        part = out.names[["level", "task", "type"]].assign(F=f, df_num=num, df_den=den, p=stats.f.sf(f, num, den))
        parts.append(part.assign(p_bh=adjust(part["p"])))
    return pd.concat(parts, ignore_index=True)


def block_f(data: Study, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F of the two-way block for every column of ``y``, and its degrees of freedom, as statsmodels' ``anova_lm``.

    Both models hold the seeds' levels (under shared draws each category's luck in each seed too) as blocks.
    """
    x, names = design(data, "two_way")
    kept = [place for place, name in enumerate(names) if ":" not in name]
    small, large = fit(x[:, kept], [names[place] for place in kept], y), fit(x, names, y)
    num, den = small.df - large.df, large.df
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (small.rss - large.rss) / num / (large.rss / den)
    return np.where((num > 0) & (den > 0), f, np.nan), num, den


def with_shrinkage(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``reliability`` (of each cell: tau^2 / (tau^2 + se^2)) and ``shrunk`` (effect x reliability) to effects."""
    variance = table["se"] ** 2
    tau2 = (table["effect"] ** 2 - variance).groupby(table["level"]).transform("mean").clip(lower=0)
    share = (tau2 / (tau2 + variance)).where(tau2 + variance != 0, 1.0).where(table["effect"].notna())
    return table.assign(reliability=share, shrunk=share * table["effect"])


def reliability(scores, effects: pd.DataFrame) -> pd.DataFrame:
    """Return ``level, factor, reliability, shrinkage, n, split_half``: one row per level and category, "" for all.

    ``effects``: all levels of ``lib.influence.effects``. ``reliability``: 1 - mean(se^2) / variance of the estimates,
    at least 0, NaN for fewer than three cells; ``shrinkage``: mean factor by which the cells' effects are to be shrunk;
    ``n`` cells; ``split_half``: correlation of the effects of one half of the seeds with those of the other, stepped up
    to all seeds (Spearman-Brown), NaN with one seed.
    """
    data, rows = study(scores), []
    for level, part in effects.groupby("level", sort=False):
        y, halves = outcomes(data, level).y, [data.parity == half for half in (0, 1)]
        a, b = (main_effects(data.only(runs), y[runs]).effect if runs.any() else None for runs in halves)
        for place, factor in enumerate(("", *data.factors)):
            own = part if factor == "" else part[part["factor"] == factor]
            own = own[own["se"].notna() & own["effect"].notna()]
            variance = own["effect"].var(ddof=1) if len(own) > 2 else np.nan
            share = max(1 - (own["se"] ** 2).mean() / variance, 0.0) if variance > 0 else np.nan
            which = slice(None) if factor == "" else place - 1
            r = np.nan if b is None else _correlation(a[which].ravel(), b[which].ravel())
            half = 2 * r / (1 + r) if r > -1 else np.nan
            rows.append((level, factor, share, own["reliability"].mean(), len(own), half))
    return pd.DataFrame(rows, columns=["level", "factor", "reliability", "shrinkage", "n", "split_half"])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of the pairs without a gap; NaN for fewer than three."""
    good = np.isfinite(a) & np.isfinite(b)
    if good.sum() < 3 or a[good].std() == 0 or b[good].std() == 0:
        return np.nan
    return float(np.corrcoef(a[good], b[good])[0, 1])
