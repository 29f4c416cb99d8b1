"""Main effects of the categories, per task, per type and overall, with errors across runs (paper, section 3).

The question here is "would these very datasets move again, if the models were trained again?": every number is one
regression of a task's scores (or of a mean over tasks, taken per run first) on the categories, and its error comes
from the runs. Whether other datasets of the same kind would move is another question with another error:
``lib.influence.across``. All effects are in points (score x 100).
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from lib.files import KitError
from lib.influence.inference import adjust, margin, sign_flip, t_test
from lib.influence.ols import TERMS, TINY, Fit, fit, model_matrix
from lib.influence.outcomes import LEVELS, outcomes, toggle_pairs
from lib.influence.scores import Study, study

NORMALIZATIONS = {
    "z": "scores z-scored over the runs, then mean present minus mean absent (between -2 and 2)",
    "std": "standardised regression coefficient (between -1 and 1)",
    "t": "effect divided by its standard error across runs",
}
FEW = 6  # runs that a note names one by one
STATUS = {
    "ok": "estimated, with an error",
    "constant": "the score never varies; effect 0, no p",
    "exact fit": "no residual; p is 0 for an effect and 1 for none",
    "no error": "as many coefficients as runs; no standard error",
    "lost": "these runs do not determine the effect (see the notes)",
}


def effects(
    scores,
    factors=None,
    level: str = "task",
    normalize: str | None = "z",
    terms: str = "main",
    alpha: float = 0.05,
    permutations: bool = True,
    draws=None,
    nan: str = "refuse",
    seed: int = 0,
) -> pd.DataFrame:
    """Return one row per task x category (``level="type"``: per type x category; ``"overall"``; ``"all"``: all three).

    ``scores``: a tidy table, a CSV file or a ``Study`` (see ``lib.influence.scores``); rows of subset ``base`` are ignored.
    Columns: ``level, task, type, factor``; ``effect`` (points: mean present minus mean absent), ``se, t, df, p`` and
    ``ci_low, ci_high`` across runs; ``p_perm``, the exact toggle-permutation p, and ``p_perm_min``, the smallest it
    can be; ``p_bh`` and ``p_holm`` (of ``p``) over all rows of the level; ``normalized`` and which ``normalization``
    (``z``, ``std`` or ``t``, see NORMALIZATIONS); ``n`` runs, ``n_tasks``, and ``status`` (see STATUS).

    ``terms="two_way"`` or ``"saturated"`` takes interactions out of the error. ``draws`` (subset, seed, task, draw,
    score) adds ``se_draw``, the part of the error that comes from mteb's own random draws. ``seed`` is for sign
    patterns too many to enumerate (more than 24 pairs). ``attrs["notes"]`` holds sentences to show beside the
    numbers. Raises KitError for a table that cannot be used.
    """
    _check(normalize, terms, alpha)
    data = study(scores, factors, nan)
    wanted = LEVELS if level == "all" else (level,)
    parts = [_level(data, one, normalize, terms, alpha, permutations, seed) for one in wanted]
    notes = list(dict.fromkeys([*data.notes, *design_notes(data), *(n for _, own in parts for n in own)]))
    table = pd.concat([part for part, _ in parts], ignore_index=True)
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


def _level(data: Study, level: str, normalize, terms: str, alpha: float, permutations: bool, seed: int):
    """The effects of one level, and its notes."""
    out = outcomes(data, level)
    x, names = model_matrix(data.x, data.factors, terms)
    result = fit(x, names, out.y)
    rows = result.rows(data.factors)
    effect, se = result.beta[rows], result.se[rows]  # (factors, m)
    status = _status(out.y, effect, result)
    effect = np.where(status == "constant", 0.0, effect)
    t, p = t_test(np.where(_rounding(effect, out.y), 0.0, effect), se, result.df)
    t, p = (np.where(status == "constant", np.nan, v) for v in (t, p))
    half = margin(se, result.df, alpha)
    columns = {"effect": effect, "se": se, "t": t, "df": np.broadcast_to(result.df, effect.shape), "p": p}
    if permutations:
        columns["p_perm"], columns["p_perm_min"] = toggle_test(data, out.y, status, seed)
    columns |= {
        "ci_low": effect - half,
        "ci_high": effect + half,
        "normalized": normalized(normalize, data.x, out.y, effect, t),
        "n": np.broadcast_to(result.n, effect.shape),
        "status": status,
    }
    table = _long(out.names, data.factors, columns)
    table.insert(table.columns.get_loc("ci_low"), "p_bh", adjust(table["p"], "fdr_bh"))
    table.insert(table.columns.get_loc("ci_low"), "p_holm", adjust(table["p"], "holm"))
    table.insert(table.columns.get_loc("n"), "normalization", normalize or "")
    return table, [*out.notes, *(f"{text}." for text in result.lost), *_status_notes(table, out.names)]


def toggle_test(data: Study, y: np.ndarray, status: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Exact toggle-permutation p of every factor and outcome, (factors, m), and the smallest p possible.

    Per factor the runs form pairs that differ in that category only (same other categories, same seed). If the
    category did nothing, each pair's difference could as well have had the other sign: p is the share of all sign
    patterns whose sum of differences is at least as large. One seed: 8 pairs, so p >= 2/256 = .0078.
    """
    p, floor = np.full((len(data.factors), y.shape[1]), np.nan), np.full((len(data.factors), y.shape[1]), np.nan)
    for place, factor in enumerate(data.factors):
        without, present = toggle_pairs(data, factor)
        if len(without):
            p[place], floor[place] = sign_flip(y[present] - y[without], seed)
    usable = np.isin(status, ("ok", "exact fit", "no error"))
    return np.where(usable, p, np.nan), np.where(usable, floor, np.nan)


def normalized(kind: str | None, levels: np.ndarray, y: np.ndarray, effect: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the effects (factors, m) in one of the three conventions of NORMALIZATIONS (NaN for None)."""
    if kind == "t":
        return t
    if kind is None:
        return np.full(effect.shape, np.nan)
    have = ~np.isnan(y)
    with np.errstate(divide="ignore", invalid="ignore"):
        count = have.sum(axis=0)
        sd_y = np.sqrt(np.where(have, (y - np.nansum(y, axis=0) / count) ** 2, 0).sum(axis=0) / count)
        scale = 1 / np.where(sd_y > TINY * np.nanmax(np.abs(np.where(have, y, 0)), axis=0), sd_y, np.nan)
        if kind == "std":
            share = levels.T @ have / count
            scale = scale * np.sqrt(share * (1 - share))
    return effect * scale


def _rounding(effect: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(effect) <= TINY * np.nanmax(np.abs(np.nan_to_num(y)), axis=0)


def _status(y: np.ndarray, effect: np.ndarray, result: Fit) -> np.ndarray:
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
        "no error": "has as many coefficients as runs: effects without standard error",
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
