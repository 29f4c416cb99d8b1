"""Claims: the headline claims of the paper, each decided by a rule on the results at hand and on their replication.

Here are the rules about gains and about designs without a regression; `lib.influence.verdicts` has those about effects.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import yaml

from lib.common.bundled import data_path
from lib.common.design import CROSSED, FACTORIAL, minus
from lib.influence import tables, verdicts
from lib.influence.designs import cost_per_thousand
from lib.influence.regression import combined, main_effects, margin, t_test
from lib.influence.scores import Study
from lib.influence.verdicts import NOISE, ONCE, OPPOSED, TWICE, UNTESTABLE, Evidence, Verdict


def average_gain(evidence: Evidence, test: dict) -> Verdict:
    """Mean over all tasks, with all categories against none: the sum of the main effects over all runs."""
    gain, p = total_gain(evidence)
    if not np.isfinite(p):
        return Verdict(UNTESTABLE, "no error for the average gain in these results")
    return Verdict(
        verdicts.shown(1, gain, p, evidence.alpha), f"sum of the main effects {minus(gain, 2)} points (p {p:.2g})"
    )


def total_gain(evidence: Evidence) -> tuple[float, float]:
    """Sum of the categories' main effects on the mean of all tasks, and its p (points, over runs).

    Equal to "all against none" up to three-way interactions, with the error of all runs instead of two. Of the second
    study only the effects are known, which in a balanced design are uncorrelated.
    """
    study = evidence.analysis.study
    if evidence.rows is None:
        gain, se, df = combined(study, tables.outcomes(study, "overall").y, _categories(study)[:, None] * 1.0)
    else:
        rows = evidence.rows.query("level == 'overall' and factor != 'public'")
        gain, se = rows["effect"].sum(skipna=False), np.sqrt((rows["se"] ** 2).sum(skipna=False))
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
    second = evidence.second()
    if second is not None:
        again, p = total_gain(second)
        if not (again > 0 and p < alpha):
            return Verdict(NOISE, f"average gain {minus(gain, 2)} points, but {minus(again, 2)} in the second study")
        rows = second.rows.query("level == 'task' and factor != 'public'")
        ranks = rows.groupby("task")["effect"].sum(min_count=1).reindex(list(study.tasks)).to_numpy()
        verdict, text, _ = _carried(study, ranks, test, alpha)
        return Verdict(TWICE.get(verdict, verdict), f"{text} when ranked by the second study")
    if not study.parity.any():
        return Verdict(UNTESTABLE, "one seed and no second study: the same luck would rank the datasets and be counted")
    halves = [study.only(study.parity == half) for half in (0, 1)]
    gains = [main_effects(half, 100 * half.y).effect[_categories(half)].sum(axis=0) for half in halves]
    one, other = _carried(halves[1], gains[0], test, alpha), _carried(halves[0], gains[1], test, alpha)
    verdict = one[0] if one[0] == other[0] else NOISE
    return Verdict(verdict, f"{one[1]} and {other[2]} when ranked by the other seeds")


def _carried(data: Study, ranks: np.ndarray, test: dict, alpha: float) -> tuple[str, str, str]:
    """Is the gain of the top datasets by ``ranks`` above, or below, a share of the net gain, beyond noise?"""
    k, share = max(1, round(test["fraction"] * len(ranks))), test["share"]
    top = np.isin(np.arange(len(ranks)), np.argsort(-np.nan_to_num(ranks, nan=-np.inf), kind="stable")[:k])
    on = _categories(data)[:, None]
    excess, se, df = combined(data, 100 * data.y, on * (top - share))
    part, whole = (combined(data, 100 * data.y, on * weight)[0] for weight in (1.0 * top, np.ones(len(top))))
    p = float(t_test(excess, se, df)[1])
    carried = f"{part / whole:.0%}" if whole > 0 else "nothing"
    text = f"the top {k} datasets carry {carried} of the net gain (p {p:.2g} against {share:.0%})"
    return verdicts.shown(1, excess, p, alpha), text, carried


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
    rows = verdicts.at(evidence.contrasts, level="type", **{name: test[name] for name in ("factor", "type", "public")})
    if rows.empty:
        return verdicts.unknown(f"effect of {test['factor']} alone on {test['type']}")
    row, p = rows.iloc[0], rows.iloc[0][f"p_{evidence.settings.correction}"]
    against = "public data only" if test["public"] else "the untrained base"
    text = f"{verdicts.points(row)} over runs against {against}, p {p:.2g}"
    return Verdict(verdicts.shown(test["sign"], row["effect"], p, evidence.alpha), text)


def generator_parity(evidence: Evidence, test: dict) -> Verdict:
    """Over all sets the small generator is at most `margin` points below the large one: the 90 % interval excludes
    more."""
    rows = verdicts.at(evidence.contrasts, level="overall")
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
    each = {} if evidence.costs is None else cost_per_thousand(evidence.costs).set_index("generator")["cost"]
    small, large = (each.get(_named(each.keys(), test[side]), np.nan) for side in ("small", "large"))
    if not (small > 0 and large > 0):
        needs = f"needs measured costs of {test['small']} and of {test['large']}"
        return Verdict(UNTESTABLE, f"{needs} (bundled answers have no price)")
    ratio = small / large
    text = f"cost ratio per valid triplet {ratio:.2f}, published {test['ratio']:.2f}"
    return Verdict(OPPOSED if ratio >= 1 else ONCE if 2 / 3 <= ratio / test["ratio"] <= 1.5 else NOISE, text)


def _named(generators, part: str) -> str:
    """Return the one generator whose name holds `part`, "" for none or several."""
    found = [name for name in dict.fromkeys(generators) if part.lower() in str(name).lower()]
    return found[0] if len(found) == 1 else ""


OF_EFFECTS = verdicts.effect, verdicts.no_improvement, verdicts.tasks_improving, verdicts.sparse_effects
TWO_STUDIES = *OF_EFFECTS, verdicts.trade_off, average_gain  # these are asked again of the second study
ONE_STUDY = verdicts.interaction_with, generator_parity, cost_ratio, published_gain, concentrated_gain, alone
RULES = {rule.__name__: rule for rule in (*TWO_STUDIES, *ONE_STUDY)}


def load(design: str = FACTORIAL) -> list[dict]:
    """Return the claims of ``lib/data/claims.yaml`` about a design: those that name it under ``designs``, or name none
    where it is one with a regression."""
    claims = yaml.safe_load(data_path("claims.yaml").read_text(encoding="utf-8"))["claims"]
    return [claim for claim in claims if design in claim.get("designs", (FACTORIAL, CROSSED))]


def evaluate(evidence: Evidence, claims: list[dict] | None = None) -> pd.DataFrame:
    """Return one row per claim: id, claim, verdict, numbers, published, source, test (its kind), rule (in words)."""
    rows = []
    for claim in load() if claims is None else claims:
        verdict, kind = judge(evidence, claim["test"]), claim["test"]["kind"]
        row = {"id": claim["id"], "claim": claim["claim"], "verdict": verdict.verdict, "numbers": verdict.numbers}
        row |= {"published": claim["published"], "source": claim["source"], "test": kind}
        rows.append(row | {"rule": " ".join(RULES[kind].__doc__.split("\n\n")[0].split())})
    return pd.DataFrame(rows)


def judge(evidence: Evidence, test: dict) -> Verdict:
    """Return the verdict of one test: what the study shows, and whether the replication shows it again."""
    rule = RULES[test["kind"]]
    again = evidence.second() if rule in TWO_STUDIES else None
    return verdicts.settle(rule(evidence, test), None if again is None else rule(again, test))


def cells(judged: pd.DataFrame) -> pd.DataFrame:
    """Return the heat map's cells that a claim is about: factor, type, published, verdict."""
    about = judged[judged["test"] == "effect"].set_index("id")
    tests = pd.DataFrame([{"id": c["id"], **c["test"]} for c in load()]).set_index("id")[["factor", "type"]]
    return about.join(tests)[["factor", "type", "published", "verdict"]].reset_index(drop=True)
