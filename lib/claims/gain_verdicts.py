"""Rules about gains and generators: average gain, who carries it, small against large generator, cost.

See `lib.claims.verdicts` for the verdicts and what they mean.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.claims.verdicts import CONTRADICTED, DIRECTION, NOISE, REPRODUCED, UNTESTABLE, Evidence, Verdict, significant_or_not
from lib.design import BASE
from lib.figures import tables
from lib.figures.base import minus
from lib.files import KitError
from lib.influence.analysis import Analysis


def concentrated_gain(evidence: Evidence, test: dict) -> Verdict:
    """The best `fraction` of datasets carries `share` of the net gain, ranked by other seeds than are counted."""
    a = evidence.analysis
    gain, t, p = total_gain(a)
    if not np.isfinite(p):
        return Verdict(UNTESTABLE, "no error for the average gain in these results")
    if gain <= 0 or p >= a.settings.alpha:
        return Verdict(NOISE, f"average gain {minus(gain, 2)} points (p {p:.2g}): no gain to be shared out")
    try:
        per_seed = tables.gains(own_rows(a))
    except KitError as error:
        return Verdict(UNTESTABLE, str(error))
    means = per_seed.groupby("task")["gain"].mean()
    k = max(1, round(test["fraction"] * len(means)))
    naive, honest = tables.top(means, k)["share"], tables.honest_curve(per_seed)
    text = f"the top {k} of {len(means)} datasets carry {naive:.0%} of the net gain"
    text += " (the others lose together)" if naive > 1 else ""
    if honest is None:
        return Verdict(
            DIRECTION if naive >= test["share"] else CONTRADICTED, f"{text}; one seed, so noise is ranked too"
        )
    fair = float(honest["share"].iloc[k - 1])
    text += f", {fair:.0%} when ranked by the other seeds"
    if naive < test["share"]:
        return Verdict(CONTRADICTED, text)
    return Verdict(REPRODUCED if fair >= test["share"] else DIRECTION, text)


def average_gain(evidence: Evidence, test: dict) -> Verdict:
    """Mean over all tasks, with all categories against none: the sum of the main effects over all runs."""
    a = evidence.analysis
    gain, t, p = total_gain(a)
    if not np.isfinite(p):
        return Verdict(UNTESTABLE, "no error for the average gain in these results")
    text = f"sum of the main effects {minus(gain, 2)} points (p {p:.2g})"
    try:
        text += f"; all categories against none {minus(tables.gains(own_rows(a))['gain'].mean(), 2)}"
    except KitError:
        pass
    return Verdict(significant_or_not(1, gain, t, p, a.settings.alpha), text)


def total_gain(a: Analysis) -> tuple[float, float, float]:
    """Sum of the categories' main effects on the mean of all tasks, its t and its p (points, across runs).

    Equal to "all against none" up to three-way interactions (two-way ones cancel), with the error of all runs instead
    of two. The main effects of a balanced design are uncorrelated, so their squared errors add.
    """
    from scipy import stats

    rows = a.effects[(a.effects["level"] == "overall") & (a.effects["factor"] != "public")]
    total, se = float(rows["effect"].sum(skipna=False)), float(np.sqrt((rows["se"] ** 2).sum(skipna=False)))
    if rows.empty or not se > 0:
        return total, np.nan, np.nan
    return total, total / se, float(2 * stats.t.sf(abs(total / se), rows["df"].iloc[0]))


def own_rows(a: Analysis) -> pd.DataFrame:
    """The tidy rows of the generator whose influence is analysed."""
    own = set(a.study.runs["subset"])
    names = [g for g in a.generators if set(a.tidy.loc[a.tidy["generator"] == g, "subset"]) - {BASE} == own]
    return a.tidy[a.tidy["generator"] == names[0]]


def generator_parity(evidence: Evidence, test: dict) -> Verdict:
    """With all categories, the small generator's mean is within `margin` points of the large one's."""
    from scipy import stats

    a = evidence.analysis
    names = {side: [g for g in a.generators if test[side].lower() in g.lower()] for side in ("small", "large")}
    if not all(len(found) == 1 for found in names.values()):
        return Verdict(
            UNTESTABLE,
            f"needs runs on data of an {test['small']} and of a {test['large']} generator "
            "(a column `generator` in the results)",
        )
    scores = {}
    for side, (name,) in names.items():
        rows = tables.corners(a.tidy[a.tidy["generator"] == name])[tables.LABEL_WITH]
        scores[side] = rows.groupby("task")["score"].mean() * 100
    apart = (scores["small"] - scores["large"]).dropna()
    if len(apart) < 2:
        return Verdict(UNTESTABLE, "fewer than two datasets scored with all categories of both generators")
    low, high = stats.t.interval(1 - a.settings.alpha, len(apart) - 1, apart.mean(), max(stats.sem(apart), 1e-12))
    text = (
        f"{names['small'][0]} minus {names['large'][0]}: {minus(apart.mean(), 2)} points over {len(apart)} datasets "
        f"(95 % {minus(low, 2)} to {minus(high, 2)}); margin {test['margin']:g}"
    )
    if low > -test["margin"]:
        return Verdict(REPRODUCED, text)
    if high < -test["margin"]:
        return Verdict(CONTRADICTED, text)
    return Verdict(DIRECTION if apart.mean() > -test["margin"] else NOISE, text)


def cost_ratio(evidence: Evidence, test: dict) -> Verdict:
    """Cost of a thousand valid triplets, small against large generator: within a factor 1.5 of the published ratio."""
    costs = evidence.costs
    if costs is None or costs.empty or costs["cost"].isna().any():
        return Verdict(UNTESTABLE, "needs measured costs of two generators (bundled answers have none)")
    each = {}
    for side in ("small", "large"):
        rows = costs[costs["generator"].str.contains(test[side], case=False, regex=False)]
        each[side] = rows["cost"].sum() / rows["valid"].sum() if rows["valid"].sum() else np.nan
    if not all(np.isfinite(v) and v > 0 for v in each.values()):
        return Verdict(UNTESTABLE, f"needs costs of an {test['small']} and of a {test['large']} generator")
    ratio = each["small"] / each["large"]
    text = f"cost ratio per valid triplet {ratio:.2f}, published {test['ratio']:.2f}"
    if ratio >= 1:
        return Verdict(CONTRADICTED, text)
    return Verdict(REPRODUCED if 2 / 3 <= ratio / test["ratio"] <= 1.5 else DIRECTION, text)


def published_gain(evidence: Evidence, test: dict) -> Verdict:
    """Recompute a published table: mean gain, share of the net gain in the top sets, and how many fall."""
    found = tables.top(tables.published_gains(evidence.reference)["gain"], test["top"])
    same = (
        round(found["mean"], 2) == test["mean"]
        and round(found["share"], 2) == test["share"]
        and found["fall"] == test["fall"]
    )
    return Verdict(
        REPRODUCED if same else CONTRADICTED,
        f"mean {minus(found['mean'], 2)}; the top {test['top']} of {found['tasks']} carry {found['share']:.0%}; "
        f"{found['fall']} fall",
    )
