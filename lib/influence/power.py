"""Power: what a design can find, given its noise, before it is run and after.

To be printed before any result: a test that cannot find an effect of some size says nothing about it by not finding it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from lib.influence.errors import design, main_effects, shared_note
from lib.influence.ols import fit
from lib.influence.outcomes import LEVELS, outcomes
from lib.influence.scores import Study, study

FACTORIAL = (16, 4)  # subsets and categories of the paper's design


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


def planned(noise: float, seeds=(1, 2, 3, 5, 8), tests: int = 1, alpha: float = 0.05, power: float = 0.8, shared=False):
    """Return what a complete factorial of 16 subsets finds if a score's noise is ``noise`` points per run.

    For planning: take ``noise`` (the residual of the main effects) from a pilot or an earlier study. Columns: ``seeds,
    runs, df, se, detectable`` (found with ``power`` at level ``alpha``), ``detectable_corrected`` (at alpha / tests,
    where Holm starts). ``shared``: draws shared within a seed, so seeds - 1 degrees of freedom for the same error.
    """
    runs = np.array([FACTORIAL[0] * count for count in seeds])
    return _power_table(noise * 2 / np.sqrt(runs), runs, seeds, FACTORIAL[1], tests, alpha, power, shared)


def _power_table(se, runs, seeds, factors: int, tests: int, alpha: float, power: float, shared: bool) -> pd.DataFrame:
    """One row per number of seeds; a seed's level takes a degree of freedom of its own from the second one on."""
    df = [count - 1 if shared else int(n) - factors - count for count, n in zip(seeds, runs, strict=True)]
    return pd.DataFrame(
        {
            "seeds": list(seeds),
            "runs": runs,
            "df": df,
            "se": se,
            "detectable": se * [detectable_ratio(d, alpha, power) for d in df],
            "detectable_corrected": se * [detectable_ratio(d, alpha / tests, power) for d in df],
        }
    )


def attainable(scores, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per test of this study: what it rests on, before any result is looked at.

    Columns: ``test, question`` (runs: would these datasets move again; tasks: would others of the kind), ``level, type,
    tests`` (size of the family), ``df`` (over tasks: the least there can be, tasks - 1 or that over runs), ``bar``
    (|t| that one test needs at ``alpha``), ``reachable`` (False without degrees of freedom).
    """
    from scipy import stats

    data = study(scores)
    k, types = len(data.factors), pd.Series(data.types).value_counts()
    main = int(np.median(main_effects(data, 100 * data.y).df))
    two = int(np.median(fit(*design(data, "two_way"), 100 * data.y).df))
    rows = []
    for level, count in zip(LEVELS, (len(data.tasks), len(types), 1), strict=True):
        rows.append(("t, main effect", "runs", level, "", count * k, main))
        rows.append(("F, two-way block", "runs", level, "", count, two))
    for name, count in types.items():
        rows.append(("t, crossed", "tasks", "type", name, len(types) * k, min(int(count) - 1, main)))
    table = pd.DataFrame(rows, columns=["test", "question", "level", "type", "tests", "df"])
    df = table["df"].where(table["df"] > 0)
    table["bar"] = np.where(table["test"].str.startswith("t"), stats.t.isf(alpha / 2, df), np.nan)
    table["reachable"] = df.notna()
    table.attrs = {"notes": [*data.notes, *shared_note(data)], "alpha": alpha}
    return table


def seeds_buy(
    scores, level: str = "task", seeds=(1, 2, 3, 5, 8), alpha: float = 0.05, power: float = 0.8
) -> pd.DataFrame:
    """Return what this design would show with 1, 2, 3, ... seeds per subset, given the noise measured in it.

    Columns: ``level, seeds, runs, df, tests, se_median, detectable_median`` (points; found with ``power`` at
    ``alpha``), ``detectable_corrected`` (at alpha / tests, the level Holm starts from). Assumes that the noise per run
    (interactions included) is as measured and independent between seeds; under shared draws it is the noise of
    category by seed, and more seeds bring degrees of freedom as well.
    """
    data = study(scores)
    out = outcomes(data, level)
    unit, cells = _one_seed_error(data, out.y)
    runs = np.array([cells * count for count in seeds])
    tests = len(out.names) * len(data.factors)
    shared = data.draws == "shared"
    se = unit / np.sqrt(np.array(seeds))
    table = _power_table(se, runs, seeds, len(data.factors), tests, alpha, power, shared)
    table = table.rename(columns={"se": "se_median", "detectable": "detectable_median"})
    table.insert(0, "level", level)
    table.insert(4, "tests", tests)
    notes = [*data.notes, *shared_note(data), *out.notes]
    table.attrs = {"notes": notes, "noise": float(unit * np.sqrt(cells) / 2), "unit": "points"}
    return table


def _one_seed_error(data: Study, y: np.ndarray) -> tuple[float, int]:
    """Median error of a main effect with one run per subset, and the number of subsets."""
    found = main_effects(data, y)
    cells = len(data.runs.drop_duplicates(list(data.factors)))
    se = found.se[np.isfinite(found.se)]
    seeds = len(data.runs) / cells
    return float(np.median(se) * np.sqrt(seeds)) if len(se) else float("nan"), cells
