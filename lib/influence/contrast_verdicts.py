"""Rules for the designs without a regression: a category by itself, and generators beside each other.

See `lib.influence.verdicts` for the verdicts and what they mean.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.display import minus
from lib.influence.verdicts import NOISE, ONCE, OPPOSED, UNTESTABLE, Evidence, Verdict, points, shown


def alone(evidence: Evidence, test: dict) -> Verdict:
    """Effect of a category by itself on a task type, beside public data or without: by the corrected p over runs."""
    keys = {name: test[name] for name in ("factor", "type", "public")}
    rows = _rows(evidence, "public", keys | {"level": "type"})
    if rows.empty or not np.isfinite(rows["p"].iloc[0]):
        return Verdict(
            UNTESTABLE, f"no effect of {test['factor']} alone on {test['type']} with an error in these results"
        )
    row, corrected = rows.iloc[0], f"p_{evidence.settings.correction}"
    against = "public data only" if test["public"] else "the untrained base"
    text = f"{points(row)} over runs against {against}, p {row[corrected]:.2g}"
    return Verdict(shown(test["sign"], row["effect"], row[corrected], evidence.settings.alpha), text)


def generator_parity(evidence: Evidence, test: dict) -> Verdict:
    """Over all sets the small generator is at most `margin` points below the large one: the 90 % interval excludes
    more."""
    names = {side: _named(evidence, "generator", test[side]) for side in ("small", "large")}
    rows = _rows(evidence, "against", {"level": "overall"})
    pair = rows[rows["generator"].isin(names.values()) & rows["against"].isin(names.values())] if len(rows) else rows
    if pair.empty or not np.isfinite(pair["se"].iloc[0]):
        needs = f"needs runs on data of {test['small']} and of {test['large']}"
        return Verdict(UNTESTABLE, f"{needs} (the design generators), and an error for their difference")
    from lib.influence.regression import margin

    row = pair.iloc[0]
    apart = row["effect"] * (1 if row["generator"] == names["small"] else -1)
    half = float(margin(row["se"], row["df"], 2 * evidence.settings.alpha))
    text = (
        f"{names['small']} minus {names['large']}: {minus(apart, 2)} points over all sets (90 % over runs "
        f"{minus(apart - half, 2)} to {minus(apart + half, 2)}); margin {test['margin']:g}; TOST p {row['p_tost']:.2g}"
    )
    low, high = apart - half > -test["margin"], apart + half < -test["margin"]
    return Verdict(ONCE if low else OPPOSED if high else NOISE, text)


def cost_ratio(evidence: Evidence, test: dict) -> Verdict:
    """Cost of a thousand valid triplets, small against large generator: within a factor 1.5 of the published ratio."""
    each = {}
    for side in ("small", "large"):
        costs, name = evidence.costs, _named(evidence, "generator", test[side], evidence.costs)
        rows = pd.DataFrame() if costs is None or not name else costs[costs["generator"] == name]
        known = len(rows) and rows["cost"].notna().all() and rows["valid"].sum()
        each[side] = rows["cost"].sum() / rows["valid"].sum() if known else np.nan
    if not all(np.isfinite(v) and v > 0 for v in each.values()):
        needs = f"needs measured costs of {test['small']} and of {test['large']}"
        return Verdict(UNTESTABLE, f"{needs} (bundled answers have no price)")
    ratio = each["small"] / each["large"]
    text = f"cost ratio per valid triplet {ratio:.2f}, published {test['ratio']:.2f}"
    if ratio >= 1:
        return Verdict(OPPOSED, text)
    return Verdict(ONCE if 2 / 3 <= ratio / test["ratio"] <= 1.5 else NOISE, text)


def _rows(evidence: Evidence, column: str, keys: dict) -> pd.DataFrame:
    """Return the rows of the contrasts that have these values; none where the table is of another design."""
    table = evidence.contrasts
    if table is None or column not in table:
        return pd.DataFrame()
    return table[(table[list(keys)] == pd.Series(keys)).all(axis=1)]


def _named(evidence: Evidence, column: str, part: str, table: pd.DataFrame | None = None) -> str:
    """Return the one generator whose name holds `part`, "" for none or several."""
    table = evidence.contrasts if table is None else table
    names = [] if table is None or column not in table else table[column].unique()
    found = [name for name in names if part.lower() in str(name).lower()]
    return found[0] if len(found) == 1 else ""
