"""Views of the runs behind an effect: means per run, the 16 cells of one task, the 8 pairs of one category.

For drawing and for doing a main effect by hand; all scores in points.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.inference import adjust, t_test
from lib.influence.interactions import one
from lib.influence.outcomes import outcomes, toggle_pairs
from lib.influence.scores import Study, study


def run_means(scores, level: str = "type") -> pd.DataFrame:
    """Return one row per run: ``subset, seed``, 0/1 factors, then one column per type (task; ``overall``); points."""
    data = study(scores)
    out = outcomes(data, level)
    names = out.names[level] if level != "overall" else ["overall"]
    table = pd.concat([data.runs, pd.DataFrame(out.y, columns=list(names))], axis=1)
    table.attrs = {"notes": [*data.notes, *out.notes], "unit": "points"}
    return table


def cells(scores, task: str | None = None, type: str | None = None) -> pd.DataFrame:
    """Return one row per subset of one task (one type; overall): ``subset``, factors, ``score, sd_seed, n``.

    ``score`` is the mean over the seeds, ``sd_seed`` their spread (NaN with one seed). KitError for an unknown task.
    """
    data = study(scores)
    table = data.runs.assign(score=one(data, task, type)[:, 0]).dropna(subset=["score"])
    groups = table.groupby(list(data.factors), sort=False)
    return groups.agg(
        subset=("subset", "first"), score=("score", "mean"), sd_seed=("score", "std"), n=("score", "size")
    ).reset_index()[["subset", *data.factors, "score", "sd_seed", "n"]]


def toggles(scores, factor: str, task: str | None = None, type: str | None = None) -> pd.DataFrame:
    """Return the pairs of runs that differ in ``factor`` only: ``without, with_, seed, before, after, difference``.

    With one seed and all 16 subsets these are 8 rows, and the mean of ``difference`` is the main effect.
    """
    data = study(scores)
    if factor not in data.factors:
        raise KitError(f"no category {factor!r} in the scores; there are {', '.join(data.factors)}")
    y = one(data, task, type)[:, 0]
    off, on = toggle_pairs(data, factor)
    subset = data.runs["subset"].to_numpy()
    table = pd.DataFrame(
        {
            "without": subset[off],
            "with_": subset[on],
            "seed": data.runs["seed"].to_numpy()[off],
            "before": y[off],
            "after": y[on],
            "difference": y[on] - y[off],
        }
    )
    table = table.dropna(subset=["difference"]).reset_index(drop=True)
    table.attrs = {"notes": list(data.notes), "unit": "points"}
    return table


def alone(scores, level: str = "task", public: int = 1) -> pd.DataFrame:
    """Return what each category does by itself, one row per task (or type) x category: the isolation design.

    ``effect`` is the mean of the runs trained on that category alone minus their reference: the runs on public data
    only (``public=1``), or the untrained base model, taken as fixed (``public=0``; its rows must be in the table).
    Columns: ``level, task, type, factor, public, effect, se, t, df, p, p_bh, p_holm, n_alone, n_reference``. The
    error is pooled over these groups of runs and needs two seeds somewhere. Works on any design that holds such runs.
    """
    data = study(scores)
    out = outcomes(data, level)
    names = [name for name in data.factors if name != "public"]
    on = data.runs["public"].to_numpy() == public if "public" in data.factors else np.full(len(data.runs), public == 1)
    count = data.runs[names].sum(axis=1).to_numpy()
    groups = {name: on & (count == 1) & (data.runs[name].to_numpy() == 1) for name in names}
    groups = {name: rows for name, rows in groups.items() if rows.any()}
    reference = _reference(data, out, level, on & (count == 0), public)
    if not groups:
        raise KitError(
            f"no run was trained on one category alone with public={public}; train the isolation design first"
        )
    return _alone_table(out, groups, reference, on & (count == 0) if public else np.zeros(len(on), bool), public, data)


def _reference(data: Study, out, level: str, rows: np.ndarray, public: int) -> np.ndarray:
    """Mean score of the reference per outcome, (m,)."""
    if public:
        if not rows.any():
            raise KitError("no run on public data alone to compare with; train the subset 'none' first")
        return np.nanmean(out.y[rows], axis=0)
    if not data.base:
        raise KitError("no rows of the untrained base model to compare with; add them with subset 'base'")
    base = 100 * np.array([data.base.get(task, np.nan) for task in data.tasks])
    if level == "task":
        return base
    types = np.array(data.types)
    return np.array([base[(types == name) | (level == "overall")].mean() for name in out.names["type"]])


def _alone_table(out, groups, reference, reference_rows, public: int, data: Study) -> pd.DataFrame:
    """Differences with an error pooled over the groups; the trained reference counts as one of them."""
    pools = [*groups.values(), *([reference_rows] if reference_rows.any() else [])]
    have = [(~np.isnan(out.y[rows])).sum(axis=0) for rows in pools]
    with np.errstate(all="ignore"):
        squares = sum(np.nansum((out.y[rows] - np.nanmean(out.y[rows], axis=0)) ** 2, axis=0) for rows in pools)
        df = sum(np.maximum(n - 1, 0) for n in have)
        variance = np.where(df > 0, squares / df, np.nan)
        n_reference = have[-1] if reference_rows.any() else np.zeros(len(reference), int)
        parts = []
        for (name, rows), n in zip(groups.items(), have, strict=False):
            effect = np.nanmean(out.y[rows], axis=0) - reference
            se = np.sqrt(variance * (1 / n + np.where(n_reference > 0, 1 / n_reference, 0)))
            t, p = t_test(effect, se, df)
            parts.append(
                out.names[["level", "task", "type"]].assign(
                    factor=name,
                    public=public,
                    effect=effect,
                    se=se,
                    t=t,
                    df=df,
                    p=p,
                    n_alone=n,
                    n_reference=n_reference,
                )
            )
    table = pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
    table.insert(table.columns.get_loc("n_alone"), "p_bh", adjust(table["p"], "fdr_bh"))
    table.insert(table.columns.get_loc("n_alone"), "p_holm", adjust(table["p"], "holm"))
    silent = ["One seed per subset: differences without error; train a second seed."] if not (df > 0).any() else []
    table.attrs = {"notes": [*data.notes, *out.notes, *silent], "unit": "points"}
    return table
