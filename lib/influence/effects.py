"""Main effects of the categories, per task, per type and overall, with errors across runs (paper, section 3).

The question here is "would these very datasets move again, if the models were trained again?": every number is one
regression of a task's scores (or of a mean over tasks, taken per run first) on the categories, and its error comes from
the runs (``lib.influence.errors``). Whether other datasets of the same kind would move is another question with another
error: ``lib.influence.across``. All effects are in points (score x 100).
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.errors import MainEffects, main_effects, shared_note
from lib.influence.outcomes import LEVELS, cell_means, outcomes
from lib.influence.regression import TERMS, TINY, adjust, margin, t_test
from lib.influence.reliability import with_shrinkage
from lib.influence.scores import Study, study

NORMALIZATIONS = {
    "z": "scores z-scored over the subsets (means of their seeds), then mean present minus mean absent "
    "(between -2 and 2)",
    "std": "standardised regression coefficient (between -1 and 1)",
    "t": "effect divided by its standard error across runs",
}
FEW = 6  # runs that a note names one by one
STATUS_NOTES = {
    "constant": "has the same score in every run: effect 0, no test, not part of the family",
    "exact fit": "is explained without residual: its p is 0 or 1 by convention",
    "no error": "has too few runs, or seeds, for an error: effects without standard error",
}


def effects(
    scores, level: str = "task", normalize: str | None = "z", terms: str = "main", alpha: float = 0.05, draws=None
) -> pd.DataFrame:
    """Return one row per task x category (``level="type"``: per type x category; ``"overall"``; ``"all"``: all three).

    ``scores``: a tidy table, a CSV file or a ``Study`` (see ``lib.influence.scores``); rows of subset ``base`` are
    ignored. Columns: ``level, task, type, factor``; ``effect`` (points: mean present minus mean absent) with ``se, t,
    df, p`` and ``ci_low, ci_high`` across runs; ``p_bh`` and ``p_holm`` (of ``p``) over all rows of the level (types
    and overall are one family where both are asked for: one map shows them); ``normalized`` and which
    ``normalization`` (see NORMALIZATIONS); ``n`` runs, ``n_tasks``; ``status``: ``ok``, one of STATUS_NOTES, or
    ``lost`` (these runs do not determine the effect); ``reliability, shrunk`` (see ``with_shrinkage``).

    ``terms="two_way"`` or ``"saturated"`` takes interactions out of the error. ``draws`` (subset, seed, task, draw,
    score) adds ``se_draw``, the part of the error that comes from mteb's own random draws. ``attrs["notes"]`` holds
    sentences to show beside the numbers. Raises KitError for a table that cannot be used.
    """
    if normalize is not None and normalize not in NORMALIZATIONS:
        raise KitError(f"normalize={normalize!r} is not known; say {', '.join(NORMALIZATIONS)} or None")
    if terms not in TERMS:
        raise KitError(f"terms={terms!r} is not known; say {', '.join(TERMS)}")
    if not 0 < alpha < 1:
        raise KitError(f"alpha={alpha!r} must lie between 0 and 1")
    data = study(scores)
    parts = [_level(data, one, normalize, terms, alpha) for one in (LEVELS if level == "all" else (level,))]
    table = pd.concat([part for part, _ in parts], ignore_index=True)
    family = table["level"] == "task"  # tasks are one family, types and overall (drawn in one map) another
    for name, method in (("p_bh", "fdr_bh"), ("p_holm", "holm")):
        adjusted = table["p"].groupby(family).transform(lambda p, method=method: adjust(p, method))
        table.insert(table.columns.get_loc("ci_low"), name, adjusted)
    table = with_shrinkage(table)
    if draws is not None:
        from lib.influence.power import draw_errors

        table = table.merge(draw_errors(data, draws)[["task", "factor", "se_draw"]], on=["task", "factor"], how="left")
    notes = [*data.notes, *shared_note(data), *_design_notes(data), *(note for _, own in parts for note in own)]
    table.attrs = {"notes": list(dict.fromkeys(notes)), "alpha": alpha, "terms": terms, "unit": "points",
                   "normalization": NORMALIZATIONS.get(normalize, "none")}  # fmt: skip
    return table


def _level(data: Study, level: str, normalize, terms: str, alpha: float) -> tuple[pd.DataFrame, list[str]]:
    """The effects of one level, and its notes."""
    out = outcomes(data, level)
    found = main_effects(data, out.y, terms)
    status = _status(out.y, found)
    effect = found.effect  # (factors, m)
    t, p = t_test(effect, found.se, found.df)
    t, p = (np.where(status == "constant", np.nan, v) for v in (t, p))
    half = margin(found.se, found.df, alpha)
    columns = {"effect": effect, "se": found.se, "t": t, "df": found.df, "p": p}
    columns |= {"ci_low": effect - half, "ci_high": effect + half}
    columns |= {"normalized": normalized(normalize, data, out.y, effect, t), "normalization": np.array(normalize or "")}
    columns |= {"n": found.n, "n_tasks": out.names["n_tasks"].to_numpy(), "status": status}
    table = out.rows(data.factors, "factor", columns)
    notes = [*out.notes, *(f"{text}." for text in found.lost)]
    for word, text in STATUS_NOTES.items():
        hit = table.loc[table["status"] == word, ["task", "type"]].drop_duplicates()
        if len(hit):
            first = hit.iloc[0]["task"] or hit.iloc[0]["type"] or "overall"
            notes.append(f"{first}{f' (and {len(hit) - 1} more)' if len(hit) > 1 else ''} {text}.")
    return table, notes


def _status(y: np.ndarray, found: MainEffects) -> np.ndarray:
    """One word per effect, (factors, m)."""
    filled = np.where(np.isnan(y).all(axis=0), 0.0, y)
    spread = np.nanmax(filled, axis=0) - np.nanmin(filled, axis=0)
    constant = spread <= TINY * np.nanmax(np.abs(filled), axis=0)
    columns = np.select([found.df <= 0, constant, found.rss == 0], ["no error", "constant", "exact fit"], "ok")
    return np.where(np.isnan(found.effect), "lost", columns)


def normalized(kind: str | None, data: Study, y: np.ndarray, effect: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the effects (factors, m) in one of the three conventions of NORMALIZATIONS (NaN for None).

    The scale is the spread of the subsets' means, so that more seeds do not change what is estimated.
    """
    if kind == "t":
        return t
    if kind is None:
        return np.full(effect.shape, np.nan)
    means, counts = cell_means(data, y)
    have = counts > 0
    levels = (np.arange(len(means))[:, None] >> np.arange(len(data.factors))) & 1
    with np.errstate(divide="ignore", invalid="ignore"):
        count = have.sum(axis=0)
        sd_y = np.sqrt(np.where(have, (means - np.nansum(means, axis=0) / count) ** 2, 0).sum(axis=0) / count)
        scale = 1 / np.where(sd_y > TINY * np.nanmax(np.abs(np.where(have, means, 0)), axis=0), sd_y, np.nan)
        if kind == "std":
            share = levels.T @ have / count
            scale = scale * np.sqrt(share * (1 - share))
    return effect * scale


def _design_notes(data: Study) -> list[str]:
    """Say what is incomplete or unbalanced about the runs, and what follows from it."""
    names = list(data.factors)
    cells = data.runs.groupby(names, sort=False)["seed"].nunique()
    notes = []
    possible = 2 ** len(names)
    if len(cells) < possible:
        notes.append(
            f"{len(cells)} of the {possible} combinations of {', '.join(names)} were run: effects are "
            "regression estimates adjusted for the other categories, not plain mean differences."
        )
    if cells.min() < cells.max():
        notes.append(
            f"Between {cells.min()} and {cells.max()} seeds per subset: subsets with more seeds weigh more, "
            "and effects are regression estimates, not plain mean differences."
        )
    seeds = data.runs["seed"].unique()
    if 0 < possible * len(seeds) - int(cells.sum()) <= FEW:
        have = set(data.runs[[*names, "seed"]].itertuples(index=False, name=None))
        wanted = ((*levels, seed) for levels in product((0, 1), repeat=len(names)) for seed in seeds)
        absent = [
            f"{'+'.join(name for name, on in zip(names, row[:-1], strict=True) if on) or 'none'} seed {row[-1]}"
            for row in wanted
            if row not in have
        ]
        notes.append(f"Of a complete design only {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing.")
    return notes
