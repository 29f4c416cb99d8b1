"""How a claim is decided: one rule per kind of test, each a function of one study's results and the claim's numbers.

A rule says what one study shows: the claim, its opposite, or neither (each beyond noise, at the level of the study).
`settle` makes the verdict of it, with the sign and size in the replication:

- reproduced: shown here, and again in the second study
- in one study: shown here; there is no second study of it, or it does not show it again
- below noise: neither the claim nor its opposite is shown
- opposite in one study, contradicted: the same two steps for the opposite of the claim
- not testable here: this design or this table cannot decide it
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lib.common.display import minus
from lib.influence.errors import combined
from lib.influence.influence import Analysis
from lib.influence.regression import adjust, margin
from lib.params.params import InfluenceParams

REPRODUCED, ONCE, NOISE, OPPOSED, CONTRADICTED, UNTESTABLE = VERDICTS = (
    "reproduced",
    "in one study",
    "below noise",
    "opposite in one study",
    "contradicted",
    "not testable here",
)
NO_SECOND = "no second study of it"


@dataclass(frozen=True)
class Verdict:
    """One of VERDICTS with the numbers behind it, in a sentence. Rules say ONCE, OPPOSED, NOISE or UNTESTABLE."""

    verdict: str
    numbers: str


@dataclass(frozen=True)
class Evidence:
    """What claims are judged on.

    `costs`: `lib.generate.dataset.cost_table`, or None; `reference`: the published scores; `replication`: the second
    study cell by cell (level, task, type, factor, second, second_se, second_p, ...), or None; `rows`: the effects that
    rules look at, of the first study where None. Designs without a regression have no analysis but `contrasts`: the
    table of `lib.influence.alone.isolation` or `lib.influence.generators.contrasts`, at the level of `settings`.
    """

    analysis: Analysis | None
    reference: pd.DataFrame
    costs: pd.DataFrame | None = None
    replication: pd.DataFrame | None = None
    rows: pd.DataFrame | None = None
    contrasts: pd.DataFrame | None = None
    settings: InfluenceParams = InfluenceParams()

    @property
    def effects(self) -> pd.DataFrame:
        """The effects of the study that is being judged."""
        return self.analysis.effects if self.rows is None else self.rows

    def second(self) -> Evidence | None:
        """The same evidence with the effects of the second study, None without one.

        Its p-values need no correction: it is only asked about the cells that the first study marked.
        """
        if self.replication is None or self.analysis is None:
            return None
        keys, a = ["level", "task", "type", "factor"], self.analysis
        again = self.replication[[*keys, "second", "second_se", "second_p"]].fillna({"task": "", "type": ""})
        rows = a.effects.merge(again, on=keys, how="left")
        effect, se, p = rows["second"], rows["second_se"], rows["second_p"]
        half = margin(se, rows["df"], a.settings.alpha)
        asked, holm = (p.where((rows[c] < a.settings.alpha) | p.isna(), 1.0) for c in (a.corrected, "p_holm"))
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = rows["normalized"] / rows["effect"]
        intervals = {"ci_low": effect - half, "ci_high": effect + half}
        columns = {"effect": effect, "se": se, "t": effect / se, "p": p, **intervals, "p_bh": asked, "p_holm": holm}
        return replace(self, rows=rows.assign(**columns, normalized=scale * effect))


def settle(first: Verdict, second: Verdict | None) -> Verdict:
    """The verdict of two studies: shown twice, shown once, or whatever the first one says."""
    twice = {ONCE: REPRODUCED, OPPOSED: CONTRADICTED}
    if first.verdict not in twice:
        return first
    if second is None or second.verdict == UNTESTABLE:
        return Verdict(first.verdict, f"{first.numbers}; {NO_SECOND}")
    verdict = twice[first.verdict] if second.verdict == first.verdict else first.verdict
    return Verdict(verdict, f"{first.numbers}; second study: {second.numbers}")


def shown(sign: float, estimate: float, p: float, alpha: float) -> str:
    """ONCE or OPPOSED when significant, NOISE when not."""
    return NOISE if not p < alpha else ONCE if estimate * sign > 0 else OPPOSED


def effect(evidence: Evidence, test: dict) -> Verdict:
    """Effect of a category on a task type: decided by the corrected p over runs."""
    a = evidence.analysis
    rows = evidence.effects.query("level == 'type' and factor == @test['factor'] and type == @test['type']")
    if rows.empty or not np.isfinite(rows["p"].iloc[0]):
        return Verdict(UNTESTABLE, f"no effect of {test['factor']} on {test['type']} with an error in these results")
    row = rows.iloc[0]
    verdict = shown(test["sign"], row["effect"], row[a.corrected], a.settings.alpha)
    text = f"{points(row)} over runs, p {row[a.corrected]:.2g}; normalised {minus(row['normalized'], 2)}"
    if "normalized" in test:
        scale = row["normalized"] / row["effect"] if row["effect"] else 0.0
        low, high = (scale * row[name] * test["sign"] for name in ("ci_low", "ci_high"))
        text += f" (paper {minus(test['normalized'], 2)})"
        text += ", which the 95 % interval excludes" if max(low, high) < abs(test["normalized"]) else ""
    other = a.across.query("factor == @test['factor'] and type == @test['type']").iloc[0]
    if evidence.rows is None and np.isfinite(other["p_t"]):
        text += f"; over runs and datasets 95 % {minus(other['ci_low'], 2)} to {minus(other['ci_high'], 2)}"
    return Verdict(verdict, text)


def no_improvement(evidence: Evidence, test: dict) -> Verdict:
    """No task type improves: shown only when every interval excludes a gain of `margin` points, not by silence."""
    rows = evidence.effects.query("level == 'type' and factor == @test['factor']").dropna(subset=["p"])
    if rows.empty:
        return Verdict(UNTESTABLE, f"no effect of {test['factor']} with an error in these results")
    up = rows[(adjust(rows["p"], "holm") < evidence.analysis.settings.alpha) & (rows["effect"] > 0)]
    if len(up):
        best = up.sort_values("effect").iloc[-1]
        improve = f"{len(up)} of {len(rows)} types improve: {', '.join(up['type'])}"
        return Verdict(OPPOSED, f"{improve}; most {best['type']}, {points(best)}")
    wide = rows[rows["ci_high"] >= test["margin"]]
    text = f"0 of {len(rows)} types improve; largest {minus(rows['effect'].max(), 2)} points"
    if wide.empty:
        return Verdict(ONCE, f"{text}; all 95 % intervals end below +{test['margin']:g}")
    return Verdict(NOISE, f"{text}; the interval of {', '.join(wide['type'])} reaches +{test['margin']:g} or more")


def tasks_improving(evidence: Evidence, test: dict) -> Verdict:
    """A minority of a type's datasets improves: one at least, while most exclude a gain of `margin` points."""
    rows = evidence.effects.query("level == 'task' and type == @test['type']").dropna(subset=["p"])
    if rows["task"].nunique() < 2:
        return Verdict(UNTESTABLE, f"fewer than two {test['type']} sets with an error in these results")
    sure = improved(evidence, rows)
    up = sure.groupby(rows["task"]).any()
    out = (rows["ci_high"] < test["margin"]).groupby(rows["task"]).all()
    text = f"{up.sum()} of {len(up)} improve" + (f" ({', '.join(up[up].index)})" if up.any() else "")
    text += f", published {test['improving']} of {test['of']}; {out.sum()} exclude a gain of {test['margin']:g} points"
    return Verdict(_minority(up.to_numpy(), out.to_numpy(), 0.5), text)


def sparse_effects(evidence: Evidence, test: dict) -> Verdict:
    """Some dataset x category pairs improve while most exclude a gain of `margin`; not if the mean of the others
    rises."""
    rows = evidence.effects.query("level == 'task'").dropna(subset=["p"])
    if rows.empty:
        return Verdict(UNTESTABLE, "no effect on a single dataset has an error in these results")
    up, out = improved(evidence, rows).to_numpy(), (rows["ci_high"] < test["margin"]).to_numpy()
    text = (
        f"{up.mean():.0%} of {len(rows)} dataset × category pairs improve significantly; "
        f"{out.mean():.0%} exclude a gain of {test['margin']:g} points"
    )
    mean, se, df = _without_the_best(evidence, rows, test["most"])
    if mean > margin(se, df, evidence.analysis.settings.alpha):
        text += f"; without the best {test['most']:.0%} the mean is still {minus(mean, 2)} points"
        return Verdict(OPPOSED, text)
    return Verdict(_minority(up, out, test["most"]), text)


def improved(evidence: Evidence, rows: pd.DataFrame) -> pd.Series:
    """Which rows improve beyond noise, by Holm over all datasets and categories: no false one in 95 % of studies."""
    return (rows["p_holm"] < evidence.analysis.settings.alpha) & (rows["effect"] > 0)


def _minority(up: np.ndarray, out: np.ndarray, most: float) -> str:
    """Some improve, and most do not: both beyond noise; or more than half do."""
    if up.mean() > 0.5:
        return OPPOSED
    return ONCE if up.any() and up.mean() <= most and out.mean() > 0.5 else NOISE


def _without_the_best(evidence: Evidence, rows: pd.DataFrame, most: float) -> tuple[float, float, float]:
    """Mean effect of the pairs that are left without the largest ones, with its error over the first study's runs.

    Taking the largest out of noise leaves a mean below zero, so this errs towards saying nothing.
    """
    a = evidence.analysis
    left = rows.nsmallest(len(rows) - int(np.ceil(most * len(rows))), "effect")
    weights = np.zeros((len(a.study.factors), len(a.study.tasks)))
    for factor, task in zip(left["factor"], left["task"], strict=True):
        weights[a.study.factors.index(factor), a.study.tasks.index(task)] = 1 / len(left)
    _, se, df = combined(a.study, 100 * a.study.y, weights)
    return float(left["effect"].mean()), se, df


def trade_off(evidence: Evidence, test: dict) -> Verdict:
    """One category helps a task type and harms another one, both by Holm's corrected p over runs."""
    alpha = evidence.analysis.settings.alpha
    rows = evidence.effects.query("level == 'type'").dropna(subset=["p"])
    if rows["type"].nunique() < 2:
        return Verdict(UNTESTABLE, "fewer than two task types with an error in these results")
    one_sided = []
    for factor, own in rows.groupby("factor", sort=False):
        sure = own[own["p_holm"] < alpha]
        up, down = (list(sure.loc[sure["effect"] * s > 0, "type"]) for s in (1, -1))
        if up and down:
            return Verdict(ONCE, f"{factor} helps {', '.join(up)} and harms {', '.join(down)}")
        if len(sure) == len(own):
            one_sided.append(factor)
    if one_sided:
        return Verdict(OPPOSED, f"{', '.join(one_sided)} moves every task type the same way")
    return Verdict(NOISE, "no category is seen to help one task type and to harm another")


def interaction_with(evidence: Evidence, test: dict) -> Verdict:
    """Any interaction of a factor with a category, per task type (Holm over these), or none seen above the noise."""
    a = evidence.analysis
    if test["factor"] not in a.study.factors:
        return Verdict(UNTESTABLE, f"every run has the same level of {test['factor']}; the crossed design has both")
    parts = a.interactions["term"].str.split(":")
    rows = a.interactions[(a.interactions["level"] == "type") & parts.map(lambda p: test["factor"] in p)]
    rows = rows.dropna(subset=["p"])
    if rows.empty:
        return Verdict(UNTESTABLE, f"these runs do not determine the interactions of {test['factor']}")
    sure = rows[adjust(rows["p"], "holm") < a.settings.alpha].sort_values("p")
    if len(sure):
        most = sure.iloc[0]
        text = f"{len(sure)} of {len(rows)} interactions found; first {most['term']} on {most['type']}, {points(most)}"
        return Verdict(ONCE, text)
    widest = float((rows["ci_high"] - rows["ci_low"]).median() / 2)
    return Verdict(NOISE, f"none of {len(rows)} interactions found; each is known to ±{widest:.2f} points")


def points(row) -> str:
    """An effect with its interval, in words."""
    return f"{minus(row['effect'], 2)} points (95 % {minus(row['ci_low'], 2)} to {minus(row['ci_high'], 2)})"
