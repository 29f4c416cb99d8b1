"""Claims: every rule gives every verdict it can, on studies with planted truth."""

import numpy as np
import pandas as pd
import pytest
from alarms import replicated
from planted import CODES, exactly, study

from lib.common import bundled
from lib.common.design import DESIGNS
from lib.influence import claims, verdicts
from lib.influence.designs import contrasts, isolation
from lib.influence.influence import analyse
from lib.influence.verdicts import CONTRADICTED, NOISE, ONCE, OPPOSED, REPRODUCED, UNTESTABLE, VERDICTS, Evidence
from lib.params.model import InfluenceParams

QUICK = InfluenceParams()
TWO = {"Reranking": 2, "STS": 2}


def evidence(table, costs=None):
    return Evidence(analyse(table, QUICK), bundled.reference("published_mteb_scores"), costs)


def test_kit_claims_are_complete_and_each_rule_is_used():
    loaded = claims.load()
    assert len({claim["id"] for claim in loaded}) == len(loaded) >= 10
    loaded += claims.load(design="isolation")
    assert {claim["test"]["kind"] for claim in loaded} == set(claims.RULES)
    assert all(rule.__doc__ for rule in claims.RULES.values())
    text = " ".join(claim["claim"] for claim in loaded).lower()
    for words in ("improve reranking", "harm sts", "short-short", "2 of 6", "sparse", "8b", "fifth", "average"):
        assert words in text


# wobble .5 over 32 runs: a standard error of about .19 points
@pytest.mark.parametrize(
    ("planted", "verdict"), [(2.0, ONCE), (0.3, NOISE), (0.05, NOISE), (-0.3, NOISE), (-2.0, OPPOSED)]
)
def test_effect_claim(planted, verdict):
    test = {"kind": "effect", "factor": "sl", "type": "Reranking", "sign": 1}
    found = verdicts.effect(evidence(exactly(TWO, {("sl", "Reranking"): planted}, 0.5)), test)
    assert found.verdict == verdict, found
    assert f"{abs(planted):.2f} points" in found.numbers


def test_claims_that_these_results_cannot_decide():
    plain = evidence(study({"STS": 2}))
    two_runs = evidence(study(TWO).query("subset in ('none', 'sl') and seed == 0"))
    harm = {"kind": "effect", "factor": "sl", "type": "STS", "sign": -1}
    assert verdicts.effect(plain, {**harm, "type": "Retrieval"}).verdict == UNTESTABLE
    assert verdicts.effect(two_runs, harm).verdict == UNTESTABLE  # as many coefficients as runs: no error
    assert verdicts.no_improvement(plain, {"factor": "bt", "margin": 1.0}).verdict == UNTESTABLE
    assert (
        verdicts.tasks_improving(plain, {"type": "Clustering", "improving": 2, "of": 6, "margin": 1.0}).verdict
        == UNTESTABLE
    )
    assert verdicts.sparse_effects(two_runs, {"most": 0.25, "margin": 1.0}).verdict == UNTESTABLE
    assert verdicts.trade_off(plain, {}).verdict == UNTESTABLE  # one task type
    assert verdicts.interaction_with(plain, {"factor": "public"}).verdict == UNTESTABLE
    assert claims.average_gain(two_runs, {}).verdict == UNTESTABLE
    assert claims.concentrated_gain(two_runs, {"fraction": 1 / 7, "share": 0.5}).verdict == UNTESTABLE
    assert claims.generator_parity(plain, {"small": "8B", "large": "70B", "margin": 1}).verdict == UNTESTABLE


def test_a_harm_is_judged_like_a_help():
    table = exactly(TWO, {("sl", "STS"): -2.0}, 0.5)
    found = verdicts.effect(evidence(table), {"factor": "sl", "type": "STS", "sign": -1, "normalized": -1.34})
    assert found.verdict == ONCE and "(paper −1.34)" in found.numbers


@pytest.mark.parametrize(
    ("effects", "wobble", "verdict"),
    [
        ({}, 0.5, ONCE),
        ({("ss", "STS"): -0.1, ("ss", "Reranking"): -0.1}, 4.0, NOISE),
        ({("ss", "STS"): 0.1}, 4.0, NOISE),
        ({("ss", "STS"): 2.0}, 0.5, OPPOSED),
    ],
)
def test_no_improvement_claim_needs_more_than_silence(effects, wobble, verdict):
    found = verdicts.no_improvement(evidence(exactly(TWO, effects, wobble)), {"factor": "ss", "margin": 1.0})
    assert found.verdict == verdict, found


@pytest.mark.parametrize(
    ("count", "moving", "verdict"), [(12, 4, ONCE), (12, 12, OPPOSED), (12, 0, NOISE), (7, 0, NOISE), (3, 1, ONCE)]
)
def test_tasks_improving_claim(count, moving, verdict):
    table = study({"Clustering": count}, noise=0.3)
    up = table["task"].isin([f"Clustering{i}" for i in range(moving)]) & (table["ll"] == 1)
    table["score"] += 0.03 * up
    found = verdicts.tasks_improving(evidence(table), {"type": "Clustering", "improving": 2, "of": 6, "margin": 1.0})
    assert found.verdict == verdict and found.numbers.startswith(f"{moving} of {count}"), found


@pytest.mark.parametrize(
    ("effects", "wobble", "verdict"),
    [
        ({("sl", "Reranking"): 2.0}, 0.5, ONCE),
        ({}, 0.5, NOISE),
        ({(c, k): 2.0 for c in CODES[:3] for k in TWO}, 0.5, OPPOSED),
        ({(c, k): 2.0 for c in CODES[:2] for k in ("STS",)} | {("ls", "STS"): 2.0}, 0.5, OPPOSED),
    ],
)
def test_sparse_effects_claim(effects, wobble, verdict):
    found = verdicts.sparse_effects(evidence(exactly(TWO, effects, wobble)), {"most": 0.25, "margin": 1.0})
    assert found.verdict == verdict, found


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ({("sl", "Reranking"): 2.0, ("sl", "STS"): -2.0}, ONCE),
        ({("sl", "Reranking"): 2.0, ("sl", "STS"): -0.3}, NOISE),
        ({("sl", "Reranking"): 2.0, ("ll", "STS"): -2.0}, NOISE),
        ({}, NOISE),
        ({("sl", "Reranking"): 2.0, ("sl", "STS"): 2.0}, OPPOSED),
    ],
)
def test_trade_off_claim(effects, verdict):
    assert verdicts.trade_off(evidence(exactly(TWO, effects, 0.5)), {}).verdict == verdict


@pytest.mark.parametrize(("planted", "verdict"), [(1.0, ONCE), (0.12, NOISE), (-0.12, NOISE), (-1.0, OPPOSED)])
def test_average_gain_claim(planted, verdict):
    table = exactly(TWO, {(c, k): planted for c in CODES for k in TWO}, 0.5)
    found = claims.average_gain(evidence(table), {})
    assert found.verdict == verdict and f"{abs(4 * planted):.2f} points" in found.numbers, found


def test_total_gain_is_all_against_none_whatever_the_two_way_interactions():
    table = exactly(TWO, {("sl", "STS"): 1.5, ("ll", "STS"): -0.5}, 0.0)
    table["score"] += 0.02 * (table["sl"] - 0.5) * (table["ll"] - 0.5) + 0.01 * (table["ss"] - 0.5) * (
        table["ls"] - 0.5
    )
    a = analyse(table.assign(score=table["score"] + np.random.default_rng(0).normal(0, 1e-9, len(table))), QUICK)
    corner = table.groupby("subset")["score"].mean() * 100
    assert claims.total_gain(Evidence(a, None))[0] == pytest.approx(corner["ss+sl+ls+ll"] - corner["none"], abs=1e-5)


@pytest.mark.parametrize(("again", "verdict"), [(1.5, REPRODUCED), (0.0, ONCE), (-1.5, ONCE), (None, ONCE)])
def test_a_verdict_needs_its_sign_and_size_in_the_second_study(again, verdict):
    first = exactly(TWO, {("sl", "Reranking"): 2.0}, 0.5)
    test = {"kind": "effect", "factor": "sl", "type": "Reranking", "sign": 1}
    both = evidence(first) if again is None else replicated(first, exactly(TWO, {("sl", "Reranking"): again}, 0.5))
    found = claims.judge(both, test)
    assert found.verdict == verdict and ("no second study" if again is None else "second study: ") in found.numbers
    against = claims.judge(both, {**test, "sign": -1})
    assert against.verdict == {REPRODUCED: CONTRADICTED, ONCE: OPPOSED}[verdict]


def test_published_size_can_be_excluded():
    test = {"kind": "effect", "factor": "sl", "type": "STS", "sign": -1, "normalized": -1.34}
    found = verdicts.effect(evidence(exactly(TWO, {("ll", "STS"): 2.0}, 0.5)), test)
    assert found.verdict == NOISE and "excludes" in found.numbers
    assert len(VERDICTS) == 6


def concentrated(share_of_first, seeds=2, noise=0.05, net=2.0):
    table = study({"STS": 7}, seeds=seeds, noise=noise)
    first = table["task"] == "STS0"
    each = np.where(first, 7 * net * share_of_first, 7 * net * (1 - share_of_first) / 6)
    return table.assign(
        score=table["score"] + each / 100 * table[list(CODES)].sum(axis=1) / 4 * (table["subset"] != "base")
    )


@pytest.mark.parametrize(
    ("table", "verdict"),
    [
        (concentrated(0.8), ONCE),
        (concentrated(1 / 7), OPPOSED),
        (concentrated(0.8, net=-2.0), NOISE),
        (concentrated(0.8, seeds=1), UNTESTABLE),
    ],
)
def test_concentrated_gain_claim(table, verdict):
    found = claims.concentrated_gain(evidence(table), {"fraction": 1 / 7, "share": 0.5})
    assert found.verdict == verdict, found


def compared(apart, noise, small="Llama-8B", large="Llama-70B", seeds=6):
    """Two generators' runs, the small one's `apart` points from the large one's; each run has its own luck."""
    rng = np.random.default_rng(1)
    lucks = rng.normal(0, noise, (3, seeds))
    lucks -= lucks.mean(axis=1, keepdims=True)  # the differences are the planted ones
    rows = [
        (name, seed, f"STS{i}", "STS", 0.6 + (gain + luck) / 100)
        for run, (name, gain) in enumerate((("none", 0), (f"sl@{large}", 3), (f"sl@{small}", 3 + apart)))
        for seed, luck in enumerate(lucks[run])
        for i in range(6)
    ]
    return contrasts(pd.DataFrame(rows, columns=["subset", "seed", "task", "type", "score"]))


@pytest.mark.parametrize(
    ("apart", "noise", "verdict"), [(-0.2, 0.1, ONCE), (-3.0, 0.1, OPPOSED), (-0.5, 3.0, NOISE), (-1.5, 3.0, NOISE)]
)
def test_generator_claim(apart, noise, verdict):
    """Datasets that agree prove nothing where a run's luck is larger: the error is that of the runs."""
    test = {"small": "8B", "large": "70B", "margin": 1.0}
    found = claims.generator_parity(Evidence(None, None, contrasts=compared(apart, noise)), test)
    assert found.verdict == verdict, found
    turned = Evidence(None, None, contrasts=compared(apart, noise, "x-70B", "x-8B"))  # the other way about
    back = claims.generator_parity(turned, test)
    assert back.verdict == ONCE, "better is at most a margin worse"
    unknown = claims.generator_parity(turned, test | {"small": "GPT"})
    assert unknown.verdict == UNTESTABLE and "the design generators" in unknown.numbers


@pytest.mark.parametrize(("small", "verdict"), [(0.22, ONCE), (0.6, NOISE), (1.2, OPPOSED), (None, UNTESTABLE)])
def test_cost_claim(small, verdict):
    costs = pd.DataFrame({"generator": ["L-8B", "L-70B", "none given"], "cost": [small, 1.0, None], "valid": 100})
    costs = costs.assign(asked=100, tokens_in=0, tokens_out=0, seconds=0, currency="USD")
    whole = Evidence(None, None, costs)
    assert claims.cost_ratio(whole, {"small": "8B", "large": "70B", "ratio": 0.2}).verdict == verdict


@pytest.mark.parametrize(("planted", "verdict"), [(2.0, ONCE), (0.0, NOISE), (-2.0, OPPOSED)])
def test_alone_claim(planted, verdict):
    rng, gains = np.random.default_rng(2), {"none": 0, "sl": planted, "ss": 0, "ll": 0}
    rows = [(n, s, "R", "Reranking", 0.6 + (g + rng.normal(0, 0.2)) / 100) for n, g in gains.items() for s in (0, 1)]
    table = isolation(pd.DataFrame(rows, columns=["subset", "seed", "task", "type", "score"]))
    test = {"factor": "sl", "type": "Reranking", "public": 1, "sign": 1}
    assert claims.alone(Evidence(None, None, contrasts=table), test).verdict == verdict
    assert claims.alone(Evidence(None, None, contrasts=table), test | {"public": 0}).verdict == UNTESTABLE


def test_each_design_is_asked_its_own_claims():
    asked = {design: {claim["id"] for claim in claims.load(design=design)} for design in DESIGNS}
    assert asked["factorial"] == asked["crossed"] and "public_interaction" in asked["crossed"]
    assert asked["generators"] == {"generators_alike", "fifth_of_the_cost", "small_alike"}
    assert all(claim["test"]["kind"] == "alone" for claim in claims.load(design="isolation"))


@pytest.mark.parametrize(("share", "verdict"), [(0.8, REPRODUCED), (1 / 7, CONTRADICTED)])
def test_the_second_study_ranks_what_the_first_one_counts(share, verdict):
    both = replicated(concentrated(share, seeds=1, noise=0.3), concentrated(share, seeds=1, noise=0.3))
    found = claims.judge(both, {"kind": "concentrated_gain", "fraction": 1 / 7, "share": 0.5})
    assert found.verdict == verdict, found


def test_interaction_with_public_needs_the_crossed_design():
    test = {"factor": "public"}
    on = study(TWO, noise=0.3, base_rows=False)
    off = study(TWO, noise=0.3, base_rows=False, seed=0)
    off = off[
        off["subset"].isin(["ll", "sl+ll", "ss+ls", "sl+ls+ll"]) | off["subset"].isin(["ss", "sl", "ss+sl+ls", "none"])
    ]
    off = off[off["subset"] != "none"].assign(public=0, subset=lambda t: t["subset"] + "-alone")
    both = pd.concat([on, off], ignore_index=True)
    assert verdicts.interaction_with(evidence(both), test).verdict == NOISE
    both["score"] += 0.03 * both["public"] * both["sl"]
    found = verdicts.interaction_with(evidence(both), test)
    assert found.verdict == ONCE and "sl" in found.numbers, found


def test_published_gain_is_recomputed():
    test = {"mean": 2.07, "top": 8, "share": 0.72, "fall": 14}
    reference = bundled.reference("published_mteb_scores")
    found = claims.published_gain(Evidence(None, reference), test)
    assert found.verdict == UNTESTABLE and ", as printed" in found.numbers  # arithmetic, and no result of these runs
    changed = reference.assign(wang2024_full=reference["wang2024_full"] + 0.1)
    assert "not as printed" in claims.published_gain(Evidence(None, changed), test).numbers
