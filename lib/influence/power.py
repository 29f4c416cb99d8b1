"""What a design can show at all: smallest attainable p, detectable effects, and what more seeds would buy.

To be printed before any result: a test that cannot reach its threshold says nothing by not reaching it.
"""

from __future__ import annotations

from functools import cache
from math import ceil

import numpy as np
import pandas as pd

from lib.influence.inference import DRAWS, EXACT_PAIRS
from lib.influence.ols import fit, model_matrix
from lib.influence.outcomes import LEVELS, outcomes, toggle_pairs
from lib.influence.scores import Study, study


@cache
def detectable_ratio(df: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Effect, in standard errors, that a two-sided t-test finds with probability ``power``; NaN for ``df`` < 1."""
    from scipy import optimize, stats

    if df < 1:
        return float("nan")
    bar = stats.t.isf(alpha / 2, df)
    # from below: the normal approximation is an underestimate; the upper end grows until it brackets
    high = bar + 2.0
    while t_power(high, df, alpha) < power:
        high *= 1.5
    return float(optimize.brentq(lambda ratio: t_power(ratio, df, alpha) - power, 0.0, high, xtol=1e-10))


def t_power(ratio: float, df: float, alpha: float = 0.05) -> float:
    """Probability that a two-sided t-test finds an effect of ``ratio`` standard errors (noncentral t)."""
    from scipy import stats

    bar = stats.t.isf(alpha / 2, df)
    upper = stats.nct.sf(bar, df, ratio)
    lower = stats.nct.cdf(-bar, df, ratio) if ratio < 8 else 0.0  # nothing left there, and scipy loses digits
    return float(np.nan_to_num(upper, nan=1.0) + np.nan_to_num(lower))


def smallest_p(pairs: int) -> float:
    """The smallest two-sided p that ``pairs`` sign-flips can reach (drawn at random beyond EXACT_PAIRS)."""
    if pairs < 1:
        return float("nan")
    return 2.0 ** (1 - pairs) if pairs <= EXACT_PAIRS else 1 / (DRAWS + 1)


def hits_needed(p: float, tests: int, alpha: float = 0.05) -> float:
    """How many tests must reach the smallest possible ``p`` at once before Benjamini-Hochberg accepts any of them."""
    return float("nan") if not p > 0 else float(max(1, ceil(p * tests / alpha - 1e-9)))


def attainable(scores, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per test of this study: what it can reach before any result is looked at.

    Columns: ``test, question`` (runs: would these datasets move again; tasks: would others of the kind), ``level, type,
    tests`` (size of the family), ``df`` (t and F) or ``pairs`` (sign-flips), ``smallest_p`` (0 where there is no
    floor), ``hits_needed`` (for Benjamini-Hochberg at ``alpha``), ``reachable`` (False when the family's own threshold
    cannot be reached even if every test is at its smallest p).
    """
    data = study(scores)
    k, types = len(data.factors), pd.Series(data.types).value_counts()
    main = fit(*model_matrix(data.x, data.factors), 100 * data.y)
    two = fit(*model_matrix(data.x, data.factors, "two_way"), 100 * data.y)
    pairs = min(len(toggle_pairs(data, factor)[0]) for factor in data.factors)
    rows = []
    for level, count in zip(LEVELS, (len(data.tasks), len(types), 1), strict=True):
        tests = count * k
        rows.append(_row("t, main effect", "runs", level, "", tests, int(np.median(main.df)), None, 0.0, alpha))
        rows.append(
            _row("toggle permutation, main effect", "runs", level, "", tests, None, pairs, smallest_p(pairs), alpha)
        )
        rows.append(_row("F, two-way block", "runs", level, "", count, int(np.median(two.df)), None, 0.0, alpha))
    for name, count in types.items():
        rows.append(_row("t over tasks", "tasks", "type", name, len(types) * k, int(count) - 1, None, 0.0, alpha))
        rows.append(
            _row(
                "sign-flip over tasks",
                "tasks",
                "type",
                name,
                len(types) * k,
                None,
                int(count),
                smallest_p(int(count)),
                alpha,
            )
        )
    table = pd.DataFrame(rows)
    table.attrs = {"notes": list(data.notes), "alpha": alpha}
    return table


def _row(test, question, level, type_, tests, df, pairs, smallest, alpha) -> dict:
    possible = pairs is None and df >= 1 or pairs is not None and pairs >= 1
    hits = 1.0 if smallest == 0 else hits_needed(smallest, tests, alpha)
    reachable = bool(possible and smallest <= alpha)
    return {
        "test": test,
        "question": question,
        "level": level,
        "type": type_,
        "tests": tests,
        "df": df,
        "pairs": pairs,
        "smallest_p": smallest if possible else np.nan,
        "hits_needed": hits if reachable else np.nan,
        "reachable": reachable,
    }


def seeds_buy(
    scores, level: str = "task", seeds=(1, 2, 3, 5, 8), alpha: float = 0.05, power: float = 0.8
) -> pd.DataFrame:
    """Return what this design would show with 1, 2, 3, ... seeds per subset, given the noise measured in it.

    Columns: ``level, seeds, runs, df, smallest_p`` (toggle permutation), ``hits_needed`` (of how many at once, see
    ``hits_needed``), ``se_median, detectable_median`` (points; found with ``power`` at ``alpha``),
    ``detectable_corrected`` (at alpha / family, the level Holm starts from). Assumes that the noise per run (the
    residual of the main effects, interactions included) is as measured, normal, and independent between seeds.
    """
    data = study(scores)
    out = outcomes(data, level)
    main = fit(*model_matrix(data.x, data.factors), out.y)
    cells = data.runs.drop_duplicates(list(data.factors))
    x, names = model_matrix(cells[list(data.factors)].to_numpy(), data.factors)
    unit = np.sqrt(
        np.median(np.diag(np.linalg.pinv(x.T @ x))[1:])
    )  # the error of an effect per unit of noise, one seed
    sd = np.nanmedian(main.sd) if np.isfinite(main.sd).any() else np.nan
    pairs = _cell_pairs(data, cells)
    tests = len(out.names) * len(data.factors)
    rows = []
    for count in seeds:
        df = len(cells) * count - int(np.linalg.matrix_rank(x))
        se, floor = unit * sd / np.sqrt(count), smallest_p(pairs * count)
        rows.append(
            {
                "level": level,
                "seeds": count,
                "runs": len(cells) * count,
                "df": df,
                "smallest_p": floor,
                "hits_needed": hits_needed(floor, tests, alpha),
                "tests": tests,
                "se_median": se,
                "detectable_median": se * detectable_ratio(df, alpha, power),
                "detectable_corrected": se * detectable_ratio(df, alpha / tests, power),
            }
        )
    table = pd.DataFrame(rows)
    table.attrs = {"notes": [*data.notes, *out.notes], "noise": float(sd), "unit": "points"}
    return table


def _cell_pairs(data: Study, cells: pd.DataFrame) -> int:
    """Pairs of subsets that differ in one category only, for the category that has fewest."""
    single = Study(cells.assign(seed=0).reset_index(drop=True), data.y[:0], data.tasks, data.types, data.factors)
    return min(len(toggle_pairs(single, factor)[0]) for factor in data.factors)
