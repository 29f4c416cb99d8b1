"""Main effects of the categories, per task, per type and overall, with errors across runs (paper, section 3).

The question here is "would these very datasets move again, if the models were trained again?": every number is one
regression of a task's scores (or of a mean over tasks, taken per run first) on the categories, and its error comes
from the runs (``lib.influence.errors``). Whether other datasets of the same kind would move is another question with another error:
``lib.influence.across``. All effects are in points (score x 100).
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.errors import MainEffects, main_effects, shared_note
from lib.influence.inference import adjust, margin, t_test
from lib.influence.ols import TERMS, TINY
from lib.influence.outcomes import LEVELS, cell_means, outcomes
from lib.influence.reliability import with_shrinkage
from lib.influence.scores import Study, study

NORMALIZATIONS = {
    "z": "scores z-scored over the subsets (means of their seeds), then mean present minus mean absent (between -2 and 2)",
    "std": "standardised regression coefficient (between -1 and 1)",
    "t": "effect divided by its standard error across runs",
}
FEW = 6  # runs that a note names one by one
STATUS = {
    "ok": "estimated, with an error",
    "constant": "the score never varies; effect 0, no p",
    "exact fit": "no residual; p is 0 for an effect and 1 for none",
    "no error": "too few runs (or, with shared draws, seeds) for a standard error",
    "lost": "these runs do not determine the effect (see the notes)",
}


def effects(
    scores,
    factors=None,
    level: str = "task",
    normalize: str | None = "z",
    terms: str = "main",
    alpha: float = 0.05,
    draws=None,
    nan: str = "refuse",
) -> pd.DataFrame:
    """Return one row per task x category (``level="type"``: per type x category; ``"overall"``; ``"all"``: all three).

    ``scores``: a tidy table, a CSV file or a ``Study`` (see ``lib.influence.scores``); rows of subset ``base`` are ignored.
    Columns: ``level, task, type, factor``; ``effect`` (points: mean present minus mean absent), ``se, t, df, p`` and
    ``ci_low, ci_high`` across runs; ``p_bh`` and ``p_holm`` (of ``p``) over all rows of the level (types and overall are
    one family where both are asked for: one map shows them); ``normalized`` and which ``normalization`` (``z``,
    ``std`` or ``t``, see NORMALIZATIONS); ``n`` runs, ``n_tasks``, ``status`` (see STATUS), and ``reliability, shrunk``
    (see ``lib.influence.reliability``).

    ``terms="two_way"`` or ``"saturated"`` takes interactions out of the error. ``draws`` (subset, seed, task, draw,
    score) adds ``se_draw``, the part of the error that comes from mteb's own random draws. ``attrs["notes"]`` holds
    sentences to show beside the numbers. Raises KitError for a table that cannot be used.
    """
    _check(normalize, terms, alpha)
    data = study(scores, factors, nan)
    wanted = LEVELS if level == "all" else (level,)
    parts = [_level(data, one, normalize, terms, alpha) for one in wanted]
    notes = list(
        dict.fromkeys([*data.notes, *shared_note(data), *design_notes(data), *(n for _, own in parts for n in own)])
    )
    table = with_shrinkage(_corrected(pd.concat([part for part, _ in parts], ignore_index=True)))
    if draws is not None:
        from lib.influence.noise import draw_errors

        table = table.merge(draw_errors(data, draws)[["task", "factor", "se_draw"]], on=["task", "factor"], how="left")
    table.attrs = {
        "notes": notes,
        "alpha": alpha,
        "terms": terms,
        "unit": "points",
        "normalization": NORMALIZATIONS.get(normalize, "none"),
    }
    return table


def _check(normalize: str | None, terms: str, alpha: float) -> None:
    """Raise KitError for a choice that does not exist."""
    if normalize is not None and normalize not in NORMALIZATIONS:
        raise KitError(f"normalize={normalize!r} is not known; say {', '.join(NORMALIZATIONS)} or None")
    if terms not in TERMS:
        raise KitError(f"terms={terms!r} is not known; say {', '.join(TERMS)}")
    if not 0 < alpha < 1:
        raise KitError(f"alpha={alpha!r} must lie between 0 and 1")


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Insert ``p_bh`` and ``p_holm``: tasks are one family, types and overall (drawn in one map) another."""
    family = table["level"] == "task"
    for name, method in (("p_bh", "fdr_bh"), ("p_holm", "holm")):
        values = table["p"].groupby(family).transform(lambda p, method=method: adjust(p, method))
        table.insert(table.columns.get_loc("ci_low"), name, values)
    return table


def _level(data: Study, level: str, normalize, terms: str, alpha: float):
    """The effects of one level, and its notes."""
    out = outcomes(data, level)
    found = main_effects(data, out.y, terms)
    effect, se = found.effect, found.se  # (factors, m)
    status = _status(out.y, effect, found)
    effect = np.where(status == "constant", 0.0, effect)
    t, p = t_test(np.where(_rounding(effect, out.y), 0.0, effect), se, found.df)
    t, p = (np.where(status == "constant", np.nan, v) for v in (t, p))
    half = margin(se, found.df, alpha)
    columns = {
        "effect": effect,
        "se": se,
        "t": t,
        "df": np.broadcast_to(found.df, effect.shape),
        "p": p,
        "ci_low": effect - half,
        "ci_high": effect + half,
        "normalized": normalized(normalize, data, out.y, effect, t),
        "n": np.broadcast_to(found.n, effect.shape),
        "status": status,
    }
    table = _long(out.names, data.factors, columns)
    table.insert(table.columns.get_loc("n"), "normalization", normalize or "")
    return table, [*out.notes, *(f"{text}." for text in found.lost), *_status_notes(table, out.names)]


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


def _rounding(effect: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(effect) <= TINY * np.nanmax(np.abs(np.nan_to_num(y)), axis=0)


def _status(y: np.ndarray, effect: np.ndarray, result: MainEffects) -> np.ndarray:
    """One word per effect, (factors, m)."""
    empty = np.isnan(y).all(axis=0)
    filled = np.where(empty, 0.0, y)
    spread = np.nanmax(filled, axis=0) - np.nanmin(filled, axis=0)
    constant = spread <= TINY * np.nanmax(np.abs(filled), axis=0)
    columns = np.select([result.df <= 0, constant, result.rss == 0], ["no error", "constant", "exact fit"], "ok")
    return np.where(np.isnan(effect), "lost", columns)


def _status_notes(table: pd.DataFrame, names: pd.DataFrame) -> list[str]:
    said = {
        "constant": "has the same score in every run: effect 0, no test, not part of the family",
        "exact fit": "is explained without residual: its p is 0 or 1 by convention",
        "no error": "has too few runs, or seeds, for an error: effects without standard error",
    }
    notes = []
    for word, text in said.items():
        hit = table.loc[table["status"] == word, ["task", "type"]].drop_duplicates()
        if len(hit):
            first = hit.iloc[0]["task"] or hit.iloc[0]["type"] or "overall"
            notes.append(f"{first}{f' (and {len(hit) - 1} more)' if len(hit) > 1 else ''} {text}.")
    return notes


def _long(names: pd.DataFrame, factors, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Stack (factors, m) arrays into rows: outcome after outcome, the factors in order within each."""
    k, m = len(factors), len(names)
    table = names.loc[names.index.repeat(k), ["level", "task", "type"]].reset_index(drop=True)
    table["factor"] = list(factors) * m
    for name, values in columns.items():
        table[name] = np.asarray(values).T.ravel()
    table["n_tasks"] = names["n_tasks"].repeat(k).to_numpy()
    table["status"] = table.pop("status")
    return table


def design_notes(data: Study) -> list[str]:
    """Say what is incomplete or unbalanced about the runs, and what follows from it."""
    cells = data.runs.groupby(list(data.factors), sort=False)["seed"].nunique()
    notes = []
    possible = 2 ** len(data.factors)
    if len(cells) < possible:
        notes.append(
            f"{len(cells)} of the {possible} combinations of {', '.join(data.factors)} were run: effects are "
            "regression estimates adjusted for the other categories, not plain mean differences."
        )
    if cells.min() < cells.max():
        notes.append(
            f"Between {cells.min()} and {cells.max()} seeds per subset: subsets with more seeds weigh more, "
            "and effects are regression estimates, not plain mean differences."
        )
    if 0 < possible * data.runs["seed"].nunique() - int(cells.sum()) <= FEW:
        absent = _absent(data)
        notes.append(f"Of a complete design only {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing.")
    return notes


def _absent(data: Study) -> list[str]:
    """Name the runs that a complete factorial with these seeds has and the table has not."""
    names = list(data.factors)
    have = set(data.runs[[*names, "seed"]].itertuples(index=False, name=None))
    wanted = ((*levels, seed) for levels in product((0, 1), repeat=len(names)) for seed in data.runs["seed"].unique())
    return [
        f"{'+'.join(name for name, on in zip(names, row[:-1], strict=True) if on) or 'none'} seed {row[-1]}"
        for row in wanted
        if row not in have
    ]
