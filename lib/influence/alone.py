"""What each category does by itself: the isolation design, with and without public data, task type by task type."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.outcomes import outcomes
from lib.influence.regression import adjust, margin, t_test
from lib.influence.scores import Study, study


def isolation(scores, alpha: float = 0.05) -> pd.DataFrame:
    """Return ``alone`` of sets, types and their mean (level overall), beside public data (public 1) and without (0).

    ``p_bh`` and ``p_holm`` are over all rows that one figure shows: types and overall of both halves together, and all
    sets of both halves. Raises KitError where neither half can be told.
    """
    data, parts, said = study(scores), [], []
    for public in (1, 0):
        for level in ("task", "type", "overall"):
            with suppress(KitError):  # none with this level of the public data, or nothing to compare it with
                parts.append(alone(data, level, public, alpha))
                said += parts[-1].attrs["notes"]
    if not parts:
        raise KitError("no run of one category alone has a reference to be compared with; run the design isolation")
    table = pd.concat(parts, ignore_index=True)
    for name, method in (("p_bh", "fdr_bh"), ("p_holm", "holm")):
        family = table["p"].groupby(table["level"] == "task")
        table[name] = family.transform(lambda p, method=method: adjust(p, method))
    table.attrs = {"notes": list(dict.fromkeys(said)), "unit": "points"}
    return table


def alone(scores, level: str = "task", public: int = 1, alpha: float = 0.05) -> pd.DataFrame:
    """Return what each category does by itself, one row per task (or type) x category: the isolation design.

    ``effect`` is the mean of the runs trained on that category alone minus their reference: the runs on public data
    only (``public=1``), or the untrained base model, taken as fixed (``public=0``; its rows must be in the table).
    Columns: ``level, task, type, factor, public, effect, se, t, df, p, p_bh, p_holm, ci_low, ci_high, n_alone,
    n_reference``. The error is over runs, pooled over these groups of runs, and needs two seeds somewhere: it covers
    the luck of batches and adapter start, not that of the evaluation sets. Works on any design that holds such runs.
    """
    data = study(scores)
    out = outcomes(data, level)
    names = [name for name in data.factors if name != "public"]
    on = data.runs["public"].to_numpy() == public if "public" in data.factors else np.full(len(data.runs), public == 1)
    count = data.runs[names].sum(axis=1).to_numpy()
    groups = {name: out.y[on & (count == 1) & (data.runs[name].to_numpy() == 1)] for name in names}
    groups = {name: y for name, y in groups.items() if len(y)}
    own = out.y[on & (count == 0)] if public else out.y[:0]
    if public and not len(own):
        raise KitError("no run on public data alone to compare with; train the subset 'none' first")
    if not public and not data.base:
        raise KitError("no rows of the untrained base model to compare with; add them with subset 'base'")
    if not groups:
        raise KitError(
            f"no run was trained on one category alone with public={public}; train the isolation design first"
        )
    with np.errstate(all="ignore"):
        reference = np.nanmean(own, axis=0) if public else _base(data, out)
        pools = [*groups.values(), *([own] if public else [])]  # the trained reference is a group like the others
        df = sum(np.maximum((~np.isnan(y)).sum(axis=0) - 1, 0) for y in pools)
        squares = sum(np.nansum((y - np.nanmean(y, axis=0)) ** 2, axis=0) for y in pools)
        variance = np.where(df > 0, squares / df, np.nan)
        n_alone = np.array([(~np.isnan(y)).sum(axis=0) for y in groups.values()])
        n_reference = (~np.isnan(own)).sum(axis=0)
        effect = np.array([np.nanmean(y, axis=0) for y in groups.values()]) - reference
        se = np.sqrt(variance * (1 / n_alone + np.where(n_reference > 0, 1 / n_reference, 0)))
    t, p = t_test(effect, se, df)
    half = margin(se, df, alpha)
    columns = {"public": np.array(public), "effect": effect, "se": se, "t": t, "df": df, "p": p}
    columns |= {"ci_low": effect - half, "ci_high": effect + half, "n_alone": n_alone, "n_reference": n_reference}
    table = out.rows(groups, "factor", columns)
    table.insert(table.columns.get_loc("ci_low"), "p_bh", adjust(table["p"], "fdr_bh"))
    table.insert(table.columns.get_loc("ci_low"), "p_holm", adjust(table["p"], "holm"))
    silent = ["One seed per subset: differences without error; train a second seed."] if not (df > 0).any() else []
    table.attrs = {"notes": [*data.notes, *out.notes, *silent], "unit": "points"}
    return table


def _base(data: Study, out) -> np.ndarray:
    """The untrained model's score per outcome, (m,), in points."""
    base = 100 * np.array([data.base.get(task, np.nan) for task in data.tasks])
    if (out.names["level"] == "task").all():
        return base
    return np.array([base[[name in ("", kind) for kind in data.types]].mean() for name in out.names["type"]])
