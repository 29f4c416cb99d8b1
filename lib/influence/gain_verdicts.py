"""Rules about gains: average gain, and who carries it.

See `lib.influence.verdicts` for the verdicts and what they mean.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.design import BASE
from lib.common.display import minus
from lib.influence import tables
from lib.influence.errors import combined, main_effects
from lib.influence.influence import Analysis
from lib.influence.outcomes import outcomes
from lib.influence.regression import t_test
from lib.influence.scores import Study
from lib.influence.verdicts import CONTRADICTED, NOISE, ONCE, OPPOSED, REPRODUCED, UNTESTABLE, Evidence, Verdict, shown


def concentrated_gain(evidence: Evidence, test: dict) -> Verdict:
    """The best `fraction` of datasets carries `share` of the net gain, ranked by other runs than are counted."""
    a = evidence.analysis
    gain, t, p = total_gain(evidence)
    if not np.isfinite(p):
        return Verdict(UNTESTABLE, "no error for the average gain in these results")
    if gain <= 0 or p >= a.settings.alpha:
        return Verdict(NOISE, f"average gain {minus(gain, 2)} points (p {p:.2g}): no gain to be shared out")
    k = max(1, round(test["fraction"] * len(a.study.tasks)))
    second = evidence.second()
    if second is not None:
        again, _, p = total_gain(second)
        if not (again > 0 and p < a.settings.alpha):
            return Verdict(NOISE, f"average gain {minus(gain, 2)} points, but {minus(again, 2)} in the second study")
        found = _carried(a.study, _gains(evidence.replication, a.study, "second"), k, test["share"], a.settings.alpha)
        verdict = {ONCE: REPRODUCED, OPPOSED: CONTRADICTED}.get(found.verdict, found.verdict)
        return Verdict(verdict, f"{found.numbers} when ranked by the second study")
    halves = [a.study.only(a.study.parity == half) for half in sorted(set(a.study.parity))]
    if len(halves) < 2:
        return Verdict(UNTESTABLE, "one seed and no second study: the same luck would rank the datasets and be counted")
    found = []
    for rank, count in (halves, halves[::-1]):
        gains = main_effects(rank, 100 * rank.y).effect[_categories(rank)].sum(axis=0)
        found.append(_carried(count, gains, k, test["share"], a.settings.alpha))
    verdict = found[0].verdict if found[0].verdict == found[1].verdict else NOISE
    return Verdict(verdict, f"{found[0].numbers} and {found[1].numbers.split()[5]} when ranked by the other seeds")


def _carried(data: Study, ranks: np.ndarray, k: int, share: float, alpha: float) -> Verdict:
    """Is the gain of the top ``k`` datasets by ``ranks`` above, or below, ``share`` of the net gain, beyond noise?"""
    top = np.isin(np.arange(len(ranks)), np.argsort(-np.nan_to_num(ranks, nan=-np.inf), kind="stable")[:k])
    on = _categories(data)[:, None]
    excess, se, df = combined(data, 100 * data.y, on * (top - share))
    part, whole = (combined(data, 100 * data.y, on * weight)[0] for weight in (1.0 * top, np.ones(len(top))))
    p = float(t_test(excess, se, df)[1])
    carried = f"{part / whole:.0%}" if whole > 0 else "nothing"
    text = f"the top {k} datasets carry {carried} of the net gain (p {p:.2g} against {share:.0%})"
    return Verdict(shown(1, excess, p, alpha), text)


def _categories(data: Study) -> np.ndarray:
    """True for the synthetic categories among the factors."""
    return np.array([name != "public" for name in data.factors])


def _gains(replication: pd.DataFrame, data: Study, column: str) -> np.ndarray:
    """Sum of the categories' effects per dataset of the study, NaN where a dataset is missing."""
    rows = replication[(replication["level"] == "task") & (replication["factor"] != "public")]
    return rows.groupby("task")[column].sum(min_count=1).reindex(list(data.tasks)).to_numpy()


def average_gain(evidence: Evidence, test: dict) -> Verdict:
    """Mean over all tasks, with all categories against none: the sum of the main effects over all runs."""
    gain, t, p = total_gain(evidence)
    if not np.isfinite(p):
        return Verdict(UNTESTABLE, "no error for the average gain in these results")
    text = f"sum of the main effects {minus(gain, 2)} points (p {p:.2g})"
    return Verdict(shown(1, gain, p, evidence.analysis.settings.alpha), text)


def total_gain(evidence: Evidence) -> tuple[float, float, float]:
    """Sum of the categories' main effects on the mean of all tasks, its t and its p (points, over runs).

    Equal to "all against none" up to three-way interactions (two-way ones cancel), with the error of all runs instead
    of two. Of the second study only the effects are known, which in a balanced design are uncorrelated.
    """
    a = evidence.analysis
    if evidence.rows is None:
        total, se, df = combined(a.study, outcomes(a.study, "overall").y, _categories(a.study)[:, None] * 1.0)
    else:
        rows = evidence.rows[(evidence.rows["level"] == "overall") & (evidence.rows["factor"] != "public")]
        total, se = float(rows["effect"].sum(skipna=False)), float(np.sqrt((rows["se"] ** 2).sum(skipna=False)))
        df = rows["df"].min()
    if not se > 0:
        return total, np.nan, np.nan
    t, p = t_test(total, se, df)
    return total, float(t), float(p)


def own_rows(a: Analysis) -> pd.DataFrame:
    """The tidy rows of the generator whose influence is analysed."""
    own = set(a.study.runs["subset"])
    names = [g for g in a.generators if set(a.tidy.loc[a.tidy["generator"] == g, "subset"]) - {BASE} == own]
    return a.tidy[a.tidy["generator"] == names[0]]


def published_gain(evidence: Evidence, test: dict) -> Verdict:
    """Recomputes a published table (mean gain, share of the net gain in the top sets, how many fall): no test of these
    runs."""
    found = tables.top(tables.published_gains(evidence.reference)["gain"], test["top"])
    same = all(round(found[key], 2) == test[key] for key in ("mean", "share", "fall"))
    text = f"recomputed from the published scores, {'as printed' if same else 'not as printed'}: mean "
    text += f"{minus(found['mean'], 2)}; the top {test['top']} of {found['tasks']} carry {found['share']:.0%}"
    return Verdict(UNTESTABLE, f"{text}; {found['fall']} fall")
