"""Claims: the headline claims of the paper, each decided by a rule on the results at hand and on their replication.

The rules about effects are in `lib.influence.verdicts`; those about gains and about the designs without a regression
are here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.bundled import DATA
from lib.common.design import CROSSED, FACTORIAL, minus
from lib.common.files import KitError
from lib.influence import tables, verdicts
from lib.influence.regression import combined, main_effects, margin, t_test
from lib.influence.scores import Study
from lib.influence.verdicts import NOISE, ONCE, OPPOSED, TWICE, UNTESTABLE, Evidence, Verdict, at, points, shown

CLAIMS = DATA / "claims.yaml"


def average_gain(evidence: Evidence, test: dict) -> Verdict:
    """Mean over all tasks, with all categories against none: the sum of the main effects over all runs."""
    gain, p = total_gain(evidence)
    if not np.isfinite(p):
        return Verdict(UNTESTABLE, "no error for the average gain in these results")
    return Verdict(shown(1, gain, p, evidence.alpha), f"sum of the main effects {minus(gain, 2)} points (p {p:.2g})")


def total_gain(evidence: Evidence) -> tuple[float, float]:
    """Sum of the categories' main effects on the mean of all tasks, and its p (points, over runs).

    Equal to "all against none" up to three-way interactions (two-way ones cancel), with the error of all runs instead
    of two. Of the second study only the effects are known, which in a balanced design are uncorrelated.
    """
    study = evidence.analysis.study
    if evidence.rows is None:
        gain, se, df = combined(study, tables.outcomes(study, "overall").y, _categories(study)[:, None] * 1.0)
    else:
        rows = evidence.rows[(evidence.rows["level"] == "overall") & (evidence.rows["factor"] != "public")]
        gain, se = float(rows["effect"].sum(skipna=False)), float(np.sqrt((rows["se"] ** 2).sum(skipna=False)))
        df = rows["df"].min()
    return gain, float(t_test(gain, se, df)[1]) if se > 0 else np.nan


def concentrated_gain(evidence: Evidence, test: dict) -> Verdict:
    """The best `fraction` of datasets carries `share` of the net gain, ranked by other runs than are counted."""
    study, alpha = evidence.analysis.study, evidence.alpha
    gain, p = total_gain(evidence)
    if not np.isfinite(p):
        return Verdict(UNTESTABLE, "no error for the average gain in these results")
    if gain <= 0 or p >= alpha:
        return Verdict(NOISE, f"average gain {minus(gain, 2)} points (p {p:.2g}): no gain to be shared out")
    k = max(1, round(test["fraction"] * len(study.tasks)))
    second = evidence.second()
    if second is not None:
        again, p = total_gain(second)
        if not (again > 0 and p < alpha):
            return Verdict(NOISE, f"average gain {minus(gain, 2)} points, but {minus(again, 2)} in the second study")
        rows = second.rows[(second.rows["level"] == "task") & (second.rows["factor"] != "public")]
        ranks = rows.groupby("task")["effect"].sum(min_count=1).reindex(list(study.tasks)).to_numpy()
        found = _carried(study, ranks, k, test["share"], alpha)
        return Verdict(TWICE.get(found.verdict, found.verdict), f"{found.numbers} when ranked by the second study")
    halves = [study.only(study.parity == half) for half in sorted(set(study.parity))]
    if len(halves) < 2:
        return Verdict(UNTESTABLE, "one seed and no second study: the same luck would rank the datasets and be counted")
    found = []
    for rank, count in (halves, halves[::-1]):
        gains = main_effects(rank, 100 * rank.y).effect[_categories(rank)].sum(axis=0)
        found.append(_carried(count, gains, k, test["share"], alpha))
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


def published_gain(evidence: Evidence, test: dict) -> Verdict:
    """Recomputes a published table (mean gain, share of the net gain in the top sets, how many fall): no test of these
    runs."""
    found = tables.top(tables.published_gains(evidence.reference)["gain"], test["top"])
    same = all(round(found[key], 2) == test[key] for key in ("mean", "share", "fall"))
    text = f"recomputed from the published scores, {'as printed' if same else 'not as printed'}: mean "
    text += f"{minus(found['mean'], 2)}; the top {test['top']} of {found['tasks']} carry {found['share']:.0%}"
    return Verdict(UNTESTABLE, f"{text}; {found['fall']} fall")


def alone(evidence: Evidence, test: dict) -> Verdict:
    """Effect of a category by itself on a task type, beside public data or without: by the corrected p over runs."""
    rows = at(evidence.contrasts, level="type", **{name: test[name] for name in ("factor", "type", "public")})
    if rows.empty:
        what = f"no effect of {test['factor']} alone on {test['type']}"
        return Verdict(UNTESTABLE, f"{what} with an error in these results")
    row, corrected = rows.iloc[0], f"p_{evidence.settings.correction}"
    against = "public data only" if test["public"] else "the untrained base"
    text = f"{points(row)} over runs against {against}, p {row[corrected]:.2g}"
    return Verdict(shown(test["sign"], row["effect"], row[corrected], evidence.alpha), text)


def generator_parity(evidence: Evidence, test: dict) -> Verdict:
    """Over all sets the small generator is at most `margin` points below the large one: the 90 % interval excludes
    more."""
    rows = at(evidence.contrasts, level="overall")
    small, large = (_named(rows.get("generator", ()), test[side]) for side in ("small", "large"))
    pair = rows[rows["generator"].isin([small, large]) & rows["against"].isin([small, large])] if small else rows[:0]
    if pair.empty:
        needs = f"needs runs on data of {test['small']} and of {test['large']}"
        return Verdict(UNTESTABLE, f"{needs} (the design generators), and an error for their difference")
    row = pair.iloc[0]
    apart = row["effect"] * (1 if row["generator"] == small else -1)
    half = float(margin(row["se"], row["df"], 2 * evidence.alpha))
    text = (
        f"{small} minus {large}: {minus(apart, 2)} points over all sets (90 % over runs "
        f"{minus(apart - half, 2)} to {minus(apart + half, 2)}); margin {test['margin']:g}; TOST p {row['p_tost']:.2g}"
    )
    low, high = apart - half > -test["margin"], apart + half < -test["margin"]
    return Verdict(ONCE if low else OPPOSED if high else NOISE, text)


def cost_ratio(evidence: Evidence, test: dict) -> Verdict:
    """Cost of a thousand valid triplets, small against large generator: within a factor 1.5 of the published ratio."""
    each, costs = [], evidence.costs
    for side in ("small", "large") if costs is not None else ():
        own = costs[costs["generator"] == _named(costs["generator"], test[side])]
        each.append(pd.to_numeric(own["cost"]).sum(skipna=False) / (own["valid"].sum() or np.nan))
    if not each or not all(np.isfinite(cost) and cost > 0 for cost in each):
        needs = f"needs measured costs of {test['small']} and of {test['large']}"
        return Verdict(UNTESTABLE, f"{needs} (bundled answers have no price)")
    ratio = each[0] / each[1]
    text = f"cost ratio per valid triplet {ratio:.2f}, published {test['ratio']:.2f}"
    return Verdict(OPPOSED if ratio >= 1 else ONCE if 2 / 3 <= ratio / test["ratio"] <= 1.5 else NOISE, text)


def _named(generators, part: str) -> str:
    """Return the one generator whose name holds `part`, "" for none or several."""
    found = [name for name in dict.fromkeys(generators) if part.lower() in str(name).lower()]
    return found[0] if len(found) == 1 else ""


RULES = {
    rule.__name__: rule
    for rule in (
        *(verdicts.effect, verdicts.no_improvement, verdicts.tasks_improving, verdicts.sparse_effects),
        *(verdicts.trade_off, verdicts.interaction_with, concentrated_gain, average_gain, published_gain),
        *(generator_parity, cost_ratio, alone),
    )
}
# rules that take no second view: the second study is not asked again
ONE_STUDY = {"interaction_with", "generator_parity", "cost_ratio", "published_gain", "concentrated_gain", "alone"}


def load(path: str | Path = CLAIMS, design: str = FACTORIAL) -> list[dict]:
    """Return the claims of a YAML file about a design: those that name it under ``designs``, or name none where it is
    one with a regression. Raises KitError for a claim without a known test."""
    import yaml

    claims = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["claims"]
    for claim in claims:
        if (kind := claim["test"].get("kind")) not in RULES:
            raise KitError(f"claim {claim['id']!r} has the unknown test {kind!r}; the tests are {', '.join(RULES)}")
    return [claim for claim in claims if design in claim.get("designs", (FACTORIAL, CROSSED))]


def evaluate(evidence: Evidence, claims: list[dict] | None = None) -> pd.DataFrame:
    """Return one row per claim: id, claim, verdict, numbers, published, source, test (its kind), rule (in words)."""
    rows = []
    for claim in load() if claims is None else claims:
        kind = claim["test"]["kind"]
        try:
            verdict = judge(evidence, claim["test"])
        except KeyError as error:
            raise KitError(f"claim {claim['id']!r}: its test lacks {error}; see lib/data/claims.yaml") from None
        row = {"id": claim["id"], "claim": claim["claim"], "verdict": verdict.verdict, "numbers": verdict.numbers}
        row |= {"published": claim["published"], "source": claim["source"], "test": kind}
        rows.append(row | {"rule": " ".join(RULES[kind].__doc__.split("\n\n")[0].split())})
    return pd.DataFrame(rows)


def judge(evidence: Evidence, test: dict) -> Verdict:
    """Return the verdict of one test: what the study shows, and whether the replication shows it again."""
    rule = RULES[test["kind"]]
    again = None if test["kind"] in ONE_STUDY else evidence.second()
    return verdicts.settle(rule(evidence, test), None if again is None else rule(again, test))


def cells(judged: pd.DataFrame) -> pd.DataFrame:
    """Return the heat map's cells that a claim is about: factor, type, published, verdict."""
    verdict, columns = judged.set_index("id")["verdict"], ["factor", "type", "published", "verdict"]
    about = [claim for claim in load() if claim["test"]["kind"] == "effect"]
    rows = [(c["test"]["factor"], c["test"]["type"], c["published"], verdict[c["id"]]) for c in about]
    return pd.DataFrame(rows, columns=columns)
