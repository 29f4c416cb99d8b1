"""Verdicts: how a claim is decided, on what evidence, and one rule per kind of test about the effects of a regression.

A rule says what one study shows: the claim, its opposite, or neither (each beyond noise, at the level of the study).
`settle` makes the verdict of it, with the replication:

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

from lib.common.design import minus
from lib.influence.influence import KEYS, Analysis
from lib.influence.regression import adjust, combined, margin
from lib.params.model import InfluenceParams

VERDICTS = "reproduced", "in one study", "below noise", "opposite in one study", "contradicted", "not testable here"
REPRODUCED, ONCE, NOISE, OPPOSED, CONTRADICTED, UNTESTABLE = VERDICTS
TWICE = {ONCE: REPRODUCED, OPPOSED: CONTRADICTED}


@dataclass(frozen=True)
class Verdict:
    """One of VERDICTS with the numbers behind it, in a sentence. Rules say ONCE, OPPOSED, NOISE or UNTESTABLE."""

    verdict: str
    numbers: str


@dataclass(frozen=True)
class Evidence:
    """What claims are judged on. Designs without a regression have no analysis but `contrasts` and `settings`."""

    analysis: Analysis | None
    reference: pd.DataFrame  # the published scores
    costs: pd.DataFrame | None = None  # of `lib.generate.dataset.cost_table`
    replication: pd.DataFrame | None = None  # of `lib.influence.influence.compare`
    rows: pd.DataFrame | None = None  # the effects that rules look at; None: those of the analysis
    contrasts: pd.DataFrame | None = None  # of `isolation` or `contrasts` in `lib.influence.designs`
    settings: InfluenceParams = InfluenceParams()

    @property
    def effects(self) -> pd.DataFrame:
        """The effects of the study that is being judged."""
        return self.analysis.effects if self.rows is None else self.rows

    @property
    def alpha(self) -> float:
        """The level of every test."""
        return (self.analysis or self).settings.alpha

    def second(self) -> Evidence | None:
        """The same evidence with the effects of the second study, None without one.

        Its p need no correction: it is only asked about the cells that the first study marked.
        """
        if self.replication is None or self.analysis is None:
            return None
        again = self.replication[[*KEYS, "second", "second_se", "second_p"]].fillna({"task": "", "type": ""})
        rows = self.analysis.effects.merge(again, on=KEYS, how="left")
        effect, se, p = rows["second"], rows["second_se"], rows["second_p"]
        half, marked = margin(se, rows["df"], self.alpha), (self.analysis.corrected, "p_holm")
        asked, holm = (p.where((rows[name] < self.alpha) | p.isna(), 1.0) for name in marked)
        columns = {"effect": effect, "se": se, "p": p, "p_bh": asked, "p_holm": holm}
        columns |= {"ci_low": effect - half, "ci_high": effect + half}
        columns["normalized"] = rows["normalized"] / rows["effect"] * effect
        return replace(self, rows=rows.assign(**columns))


def at(table: pd.DataFrame | None, **keys) -> pd.DataFrame:
    """Return the rows with a test whose columns have these values; none where the table is of another design."""
    if table is None or set(keys) - set(table):
        return pd.DataFrame()
    return table[(table[list(keys)] == pd.Series(keys)).all(axis=1) & table["p"].notna()]


def settle(first: Verdict, second: Verdict | None) -> Verdict:
    """The verdict of two studies: shown twice, shown once, or whatever the first one says."""
    if first.verdict not in TWICE:
        return first
    if second is None or second.verdict == UNTESTABLE:
        return Verdict(first.verdict, f"{first.numbers}; no second study of it")
    verdict = TWICE[first.verdict] if second.verdict == first.verdict else first.verdict
    return Verdict(verdict, f"{first.numbers}; second study: {second.numbers}")


def shown(sign: float, estimate: float, p: float, alpha: float) -> str:
    """ONCE or OPPOSED when significant, NOISE when not."""
    return NOISE if not p < alpha else ONCE if estimate * sign > 0 else OPPOSED


def unknown(what: str) -> Verdict:
    """The verdict where nothing was estimated."""
    return Verdict(UNTESTABLE, f"no {what} with an error in these results")


def points(row) -> str:
    """An effect with its interval, in words."""
    return f"{minus(row['effect'], 2)} points (95 % {minus(row['ci_low'], 2)} to {minus(row['ci_high'], 2)})"


def effect(evidence: Evidence, test: dict) -> Verdict:
    """Effect of a category on a task type: decided by the corrected p over runs."""
    a, where = evidence.analysis, {"factor": test["factor"], "type": test["type"]}
    rows = at(evidence.effects, level="type", **where)
    if rows.empty:
        return unknown(f"effect of {test['factor']} on {test['type']}")
    row = rows.iloc[0]
    verdict = shown(test["sign"], row["effect"], row[a.corrected], evidence.alpha)
    text = f"{points(row)} over runs, p {row[a.corrected]:.2g}; normalised {minus(row['normalized'], 2)}"
    if "normalized" in test:
        scale = row["normalized"] / row["effect"] if row["effect"] else 0.0
        low, high = (scale * row[name] * test["sign"] for name in ("ci_low", "ci_high"))
        text += f" (paper {minus(test['normalized'], 2)})"
        text += ", which the 95 % interval excludes" if max(low, high) < abs(test["normalized"]) else ""
    other = at(a.across.rename(columns={"p_t": "p"}), **where)
    if evidence.rows is None and len(other):
        low, high = other.iloc[0][["ci_low", "ci_high"]]
        text += f"; over runs and datasets 95 % {minus(low, 2)} to {minus(high, 2)}"
    return Verdict(verdict, text)


def no_improvement(evidence: Evidence, test: dict) -> Verdict:
    """No task type improves: shown only when every interval excludes a gain of `margin` points, not by silence."""
    rows = at(evidence.effects, level="type", factor=test["factor"])
    if rows.empty:
        return unknown(f"effect of {test['factor']}")
    up = rows[(adjust(rows["p"], "holm") < evidence.alpha) & (rows["effect"] > 0)]
    if len(up):
        best = up.sort_values("effect").iloc[-1]
        text = f"{len(up)} of {len(rows)} types improve: {', '.join(up['type'])}; most {best['type']}, {points(best)}"
        return Verdict(OPPOSED, text)
    wide = rows[rows["ci_high"] >= test["margin"]]
    text = f"0 of {len(rows)} types improve; largest {minus(rows['effect'].max(), 2)} points"
    if wide.empty:
        return Verdict(ONCE, f"{text}; all 95 % intervals end below +{test['margin']:g}")
    return Verdict(NOISE, f"{text}; the interval of {', '.join(wide['type'])} reaches +{test['margin']:g} or more")


def tasks_improving(evidence: Evidence, test: dict) -> Verdict:
    """A minority of a type's datasets improves: one at least, while most exclude a gain of `margin` points."""
    rows = at(evidence.effects, level="task", type=test["type"])
    if rows["task"].nunique() < 2:
        return unknown(f"effect on two {test['type']} sets")
    up = _improved(evidence, rows).groupby(rows["task"]).any()
    out = (rows["ci_high"] < test["margin"]).groupby(rows["task"]).all()
    text = f"{up.sum()} of {len(up)} improve" + (f" ({', '.join(up[up].index)})" if up.any() else "")
    text += f", published {test['improving']} of {test['of']}; {out.sum()} exclude a gain of {test['margin']:g} points"
    return Verdict(_minority(up, out, 0.5), text)


def sparse_effects(evidence: Evidence, test: dict) -> Verdict:
    """Some dataset x category pairs improve while most exclude a gain of `margin`; not if the mean of the others
    rises."""
    rows, study = at(evidence.effects, level="task"), evidence.analysis.study
    if rows.empty:
        return unknown("effect on a single dataset")
    up, out = _improved(evidence, rows), rows["ci_high"] < test["margin"]
    text = f"{up.mean():.0%} of {len(rows)} dataset × category pairs improve significantly; "
    text += f"{out.mean():.0%} exclude a gain of {test['margin']:g} points"
    # without the largest the mean of noise is below zero, so this errs towards saying nothing
    left = rows.nsmallest(len(rows) - int(np.ceil(test["most"] * len(rows))), "effect")
    kept = pd.crosstab(left["factor"], left["task"]).reindex(index=study.factors, columns=study.tasks, fill_value=0)
    _, se, df = combined(study, 100 * study.y, kept.to_numpy() / len(left))
    if (mean := left["effect"].mean()) > margin(se, df, evidence.alpha):
        text += f"; without the best {test['most']:.0%} the mean is still {minus(mean, 2)} points"
        return Verdict(OPPOSED, text)
    return Verdict(_minority(up, out, test["most"]), text)


def _improved(evidence: Evidence, rows: pd.DataFrame) -> pd.Series:
    """Which rows improve beyond noise, by Holm over all datasets and categories: no false one in 95 % of studies."""
    return (rows["p_holm"] < evidence.alpha) & (rows["effect"] > 0)


def _minority(up: pd.Series, out: pd.Series, most: float) -> str:
    """Some improve, and most do not: both beyond noise; or more than half do."""
    if up.mean() > 0.5:
        return OPPOSED
    return ONCE if up.any() and up.mean() <= most and out.mean() > 0.5 else NOISE


def trade_off(evidence: Evidence, test: dict) -> Verdict:
    """One category helps a task type and harms another one, both by Holm's corrected p over runs."""
    rows, one_sided = at(evidence.effects, level="type"), []
    if rows["type"].nunique() < 2:
        return unknown("effect on two task types")
    for factor, own in rows.groupby("factor", sort=False):
        sure = own[own["p_holm"] < evidence.alpha]
        up, down = (list(sure.loc[sure["effect"] * s > 0, "type"]) for s in (1, -1))
        if up and down:
            return Verdict(ONCE, f"{factor} helps {', '.join(up)} and harms {', '.join(down)}")
        one_sided += [factor] if len(sure) == len(own) else []
    if one_sided:
        return Verdict(OPPOSED, f"{', '.join(one_sided)} moves every task type the same way")
    return Verdict(NOISE, "no category is seen to help one task type and to harm another")


def interaction_with(evidence: Evidence, test: dict) -> Verdict:
    """Any interaction of a factor with a category, per task type (Holm over these), or none seen above the noise."""
    a = evidence.analysis
    if test["factor"] not in a.study.factors:
        return Verdict(UNTESTABLE, f"every run has the same level of {test['factor']}; the crossed design has both")
    rows = at(a.interactions, level="type")
    rows = rows[[test["factor"] in term.split(":") for term in rows["term"]]]
    if rows.empty:
        return Verdict(UNTESTABLE, f"these runs do not determine the interactions of {test['factor']}")
    sure = rows[adjust(rows["p"], "holm") < evidence.alpha].sort_values("p")
    if len(sure):
        most = sure.iloc[0]
        text = f"{len(sure)} of {len(rows)} interactions found; first {most['term']} on {most['type']}, {points(most)}"
        return Verdict(ONCE, text)
    widest = float((rows["ci_high"] - rows["ci_low"]).median() / 2)
    return Verdict(NOISE, f"none of {len(rows)} interactions found; each is known to ±{widest:.2f} points")
