"""How a claim is decided: one rule per kind of test, each a function of the analysis and the claim's numbers.

Verdicts:
- reproduced: the results show what the claim says, beyond their own noise
- direction only: they point that way, without being sure
- below noise: they show neither the claim nor its opposite
- contradicted: they show the opposite, beyond their own noise
- not testable here: this design or this table cannot decide it
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.figures.base import minus
from lib.influence.analysis import Analysis

REPRODUCED, DIRECTION, NOISE, CONTRADICTED, UNTESTABLE = VERDICTS = (
    "reproduced",
    "direction only",
    "below noise",
    "contradicted",
    "not testable here",
)


@dataclass(frozen=True)
class Verdict:
    """One of VERDICTS with the numbers behind it, in a sentence."""

    verdict: str
    numbers: str


@dataclass(frozen=True)
class Evidence:
    """What claims are judged on. `costs`: `lib.generation.costs.cost_table`, or None; `reference`: the published scores."""

    analysis: Analysis
    reference: pd.DataFrame
    costs: pd.DataFrame | None = None


def significant_or_not(sign: float, estimate: float, t: float, p: float, alpha: float) -> str:
    """The common ladder: significant in the claimed sign or against it, at least one standard error, or neither."""
    right = estimate * sign > 0
    if p < alpha:
        return REPRODUCED if right else CONTRADICTED
    return DIRECTION if right and abs(t) >= 1 else NOISE


def effect(evidence: Evidence, test: dict) -> Verdict:
    """Effect of a category on a task type: decided by the corrected p across runs."""
    a = evidence.analysis
    rows = a.effects.query("level == 'type' and factor == @test['factor'] and type == @test['type']")
    if rows.empty or not np.isfinite(rows["p"].iloc[0]):
        return Verdict(UNTESTABLE, f"no effect of {test['factor']} on {test['type']} with an error in these results")
    row = rows.iloc[0]
    verdict = significant_or_not(test["sign"], row["effect"], row["t"], row[a.corrected], a.settings.alpha)
    text = f"{points(row)} over runs, corrected p {row[a.corrected]:.2g}; normalised {minus(row['normalized'], 2)}" + (
        f" (paper {minus(test['normalized'], 2)})" if "normalized" in test else ""
    )
    other = a.across.query("factor == @test['factor'] and type == @test['type']").iloc[0]
    if np.isfinite(other["p_t"]):
        text += (
            f"; over the {other['n_tasks']} datasets 95 % {minus(other['ci_low'], 2)} to {minus(other['ci_high'], 2)}"
        )
    return Verdict(verdict, text)


def no_improvement(evidence: Evidence, test: dict) -> Verdict:
    """No task type improves: shown only when every interval excludes a gain of `margin` points, not by silence."""
    a = evidence.analysis
    rows = a.effects.query("level == 'type' and factor == @test['factor']").dropna(subset=["p"])
    if rows.empty:
        return Verdict(UNTESTABLE, f"no effect of {test['factor']} with an error in these results")
    up = rows[(rows[a.corrected] < a.settings.alpha) & (rows["effect"] > 0)]
    if len(up):
        best = up.sort_values("effect").iloc[-1]
        return Verdict(
            CONTRADICTED,
            f"{len(up)} of {len(rows)} types improve: {', '.join(up['type'])}; most {best['type']}, {points(best)}",
        )
    wide = rows[rows["ci_high"] >= test["margin"]]
    text = f"0 of {len(rows)} types improve; largest {minus(rows['effect'].max(), 2)} points"
    if wide.empty:
        return Verdict(REPRODUCED, f"{text}; all 95 % intervals end below +{test['margin']:g}")
    text += f"; the interval of {', '.join(wide['type'])} reaches +{test['margin']:g} or more"
    return Verdict(DIRECTION if (rows["effect"] <= 0).all() else NOISE, text)


def tasks_improving(evidence: Evidence, test: dict) -> Verdict:
    """How many datasets of a type improve, against a published share: binomial 95 % interval around our count."""
    from scipy import stats

    a = evidence.analysis
    rows = a.effects.query("level == 'task' and type == @test['type']").dropna(subset=["p"])
    n = rows["task"].nunique()
    if n == 0:
        return Verdict(UNTESTABLE, f"no {test['type']} set with an error in these results")
    up = rows[(rows[a.corrected] < a.settings.alpha) & (rows["effect"] > 0)]
    k, share = up["task"].nunique(), test["improving"] / test["of"]
    intervals = [stats.binomtest(i, n).proportion_ci(1 - a.settings.alpha) for i in (0, k, n)]
    fits = [ci.low <= share <= ci.high for ci in intervals]
    text = (
        f"{k} of {n} improve"
        + (f" ({', '.join(dict.fromkeys(up['task']))})" if k else "")
        + f"; 95 % interval of the share {intervals[1].low:.0%} to {intervals[1].high:.0%}, published {share:.0%}"
    )
    if fits[0] and fits[2]:
        return Verdict(UNTESTABLE, f"{text}; with {n} sets every count would fit")
    if not fits[1]:
        return Verdict(CONTRADICTED, text)
    return Verdict(REPRODUCED if 0 < k < n else NOISE, text)


def sparse_effects(evidence: Evidence, test: dict) -> Verdict:
    """Some dataset x category pairs improve, at most `most` of them, and most pairs exclude a gain of `margin`."""
    a = evidence.analysis
    rows = a.effects.query("level == 'task'").dropna(subset=["p"])
    if rows.empty:
        return Verdict(UNTESTABLE, "no effect on a single dataset has an error in these results")
    up = float(((rows[a.corrected] < a.settings.alpha) & (rows["effect"] > 0)).mean())
    excluded = float((rows["ci_high"] < test["margin"]).mean())
    text = (
        f"{up:.0%} of {len(rows)} dataset × category pairs improve significantly; "
        f"{excluded:.0%} exclude a gain of {test['margin']:g} points"
    )
    if up == 0:
        return Verdict(NOISE, text)
    if up > 0.5:
        return Verdict(CONTRADICTED, text)
    return Verdict(REPRODUCED if up <= test["most"] and excluded > 0.5 else DIRECTION, text)


def trade_off(evidence: Evidence, test: dict) -> Verdict:
    """One category significantly helps a task type and significantly harms another one."""
    a = evidence.analysis
    rows = a.effects.query("level == 'type'").dropna(subset=["p"])
    if rows["type"].nunique() < 2:
        return Verdict(UNTESTABLE, "fewer than two task types with an error in these results")
    hints, one_sided = [], []
    for factor, own in rows.groupby("factor", sort=False):
        sure = own[own[a.corrected] < a.settings.alpha]
        up, down = (list(sure.loc[sure["effect"] * s > 0, "type"]) for s in (1, -1))
        if up and down:
            return Verdict(REPRODUCED, f"{factor} helps {', '.join(up)} and harms {', '.join(down)}")
        opposite = own[(own["t"].abs() >= 1) & (own["effect"] * (-1 if up else 1) > 0)]
        if (up or down) and len(opposite):
            hints.append(
                f"{factor}: {', '.join(up or down)} {'up' if up else 'down'} for sure, "
                f"{', '.join(opposite['type'])} the other way within noise"
            )
        if len(sure) == len(own):
            one_sided.append(factor)
    if hints:
        return Verdict(DIRECTION, "; ".join(hints))
    if one_sided:
        return Verdict(CONTRADICTED, f"{', '.join(one_sided)} moves every task type the same way")
    return Verdict(NOISE, "no category significantly moves two task types in opposite directions")


def interaction_with(evidence: Evidence, test: dict) -> Verdict:
    """Any interaction of a factor with a category, per task type: found, or not seen above the noise."""
    a = evidence.analysis
    if test["factor"] not in a.study.factors:
        return Verdict(UNTESTABLE, f"every run has the same level of {test['factor']}; the crossed design has both")
    parts = a.interactions["term"].str.split(":")
    rows = a.interactions[(a.interactions["level"] == "type") & parts.map(lambda p: test["factor"] in p)].dropna(
        subset=["p"]
    )
    if rows.empty:
        return Verdict(UNTESTABLE, f"these runs do not determine the interactions of {test['factor']}")
    sure = rows[rows[a.corrected] < a.settings.alpha].sort_values("p")
    if len(sure):
        most = sure.iloc[0]
        return Verdict(
            REPRODUCED,
            f"{len(sure)} of {len(rows)} interactions found; first {most['term']} on {most['type']}, {points(most)}",
        )
    widest = float((rows["ci_high"] - rows["ci_low"]).median() / 2)
    return Verdict(NOISE, f"none of {len(rows)} interactions found; each is known to ±{widest:.2f} points")


def points(row) -> str:
    return f"{minus(row['effect'], 2)} points (95 % {minus(row['ci_low'], 2)} to {minus(row['ci_high'], 2)})"
