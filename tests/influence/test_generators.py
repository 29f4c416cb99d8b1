"""Generators compared: planted differences are found, none is not claimed, alike is a finding of its own."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from lib.common.files import KitError
from lib.influence.designs import ALIKE, BOTH, DIFFERENT, OPEN, _compare, contrasts, cost_per_thousand

KINDS = {"STS": 3, "Retrieval": 3, "Clustering": 2}


def simulated(gains, noise=0.5, shared=0.5, seeds=4, seed=0, kinds=KINDS):
    """Runs of none and of generators with these gains (points, over all sets); the runs of a seed share `shared`."""
    rng = np.random.default_rng(seed)
    luck, rows = rng.normal(0, shared, seeds), []
    for name, gain in {"none": 0.0, **{f"sl@{generator}": gain for generator, gain in gains.items()}}.items():
        for k in range(seeds):
            own = rng.normal(0, noise) + (luck[k] if "@" in name else rng.normal(0, shared))
            rows += [
                (name, k, f"{kind}{i}", kind, 0.6 + (gain + own) / 100) for kind in kinds for i in range(kinds[kind])
            ]
    rows += [("base", 0, f"{kind}{i}", kind, 0.5) for kind in kinds for i in range(kinds[kind])]
    return pd.DataFrame(rows, columns=["subset", "seed", "task", "type", "score"])


def overall(table):
    return table[table["level"] == "overall"].set_index(["generator", "against"])


def test_effects_and_tests_are_those_of_scipy_and_statsmodels():
    table = simulated({"a": 3.0, "b": 2.0})
    found = overall(contrasts(table))
    runs = table.query("subset != 'base'").groupby(["subset", "seed"])["score"].mean().mul(100).unstack()
    none, a, b = runs.loc["none"], runs.loc["sl@a"], runs.loc["sl@b"]
    row, test = found.loc[("a", "none")], stats.ttest_ind(a, none)
    low, high = test.confidence_interval(0.95)
    assert (row["t"], row["p"], row["df"]) == pytest.approx((test.statistic, test.pvalue, 6))
    assert (row["ci_low"], row["ci_high"], row["effect"]) == pytest.approx((low, high, (a - none).mean()))
    row, test = found.loc[("b", "a")], stats.ttest_rel(b, a)
    assert (row["t"], row["p"], row["df"]) == pytest.approx((test.statistic, test.pvalue, 3))
    assert row["p_tost"] == pytest.approx(ttost_paired(b.to_numpy(), a.to_numpy(), -1, 1)[0])
    assert ("a", "b") not in found.index and len(found) == 3


@pytest.mark.parametrize(
    ("apart", "noise", "says"), [(0.0, 0.05, ALIKE), (-3.0, 0.1, DIFFERENT), (0.5, 0.02, BOTH), (0.0, 3.0, OPEN)]
)
def test_a_planted_difference_and_a_planted_likeness_are_found(apart, noise, says):
    table = contrasts(simulated({"a": 3.0, "b": 3.0 + apart}, noise))
    assert overall(table).loc[("b", "a"), "says"] == says


def test_without_a_difference_none_is_claimed_more_often_than_promised():
    """And on the margin itself, where they are just not alike, likeness is claimed no more often than promised."""
    rng, counts, n = np.random.default_rng(0), np.zeros(3), 600
    for _ in range(n):
        none, luck, a, b = (pd.Series(each) for each in rng.normal(0, (1, 1, 0.4, 0.4), (4, 4)).T)
        a, b = a + luck, b + luck
        unpaired, paired, edge = (
            _compare(one, other, pair, 1.0, 0.05)
            for one, other, pair in ((a, none, False), (b, a, True), (b + 1.0, a, True))
        )
        counts += [unpaired["p"] < 0.05, paired["p"] < 0.05, edge["p_tost"] < 0.05]
    assert (np.abs(counts / n - 0.05) < 0.027).all(), counts / n


def test_pairing_takes_the_luck_that_generators_share_out_of_their_difference():
    found = overall(contrasts(simulated({"a": 0.0, "b": 0.0}, noise=0.1, shared=3.0)))
    assert found.loc[("b", "a"), "se"] < 0.2 < 1 < found.loc[("a", "none"), "se"]


def test_the_types_are_corrected_together_and_the_sets_are_kept():
    table = contrasts(simulated({"a": 1.0, "b": 1.0}))
    types = table[(table["level"] == "type") & (table["against"] == "none")]
    assert len(types) == 6 and (types["p_holm"] >= types["p"]).all() and types["p_holm"].max() <= 1
    assert set(table.loc[table["level"] == "task", "task"]) == {
        f"{kind}{i}" for kind in KINDS for i in range(KINDS[kind])
    }


def test_what_cannot_be_compared_is_one_sentence():
    table = simulated({"a": 0.0})
    assert len(overall(contrasts(table))) == 1  # one generator against none
    for wrong, words in (
        (table[table["subset"] != "none"], "public data alone"),
        (table[table["subset"] != "sl@a"], "one at least"),
        (table.replace({"subset": {"sl@a": "sl"}}), "names no generator"),
        (table.drop(columns="seed"), "column 'seed'"),
        (table[(table["subset"] == "none") | (table["task"] == "x")].assign(subset="none"), "one at least"),
    ):
        with pytest.raises(KitError, match=words):
            contrasts(wrong)


def test_cost_of_a_thousand_is_empty_where_anything_was_not_measured():
    costs = pd.DataFrame(
        {
            "generator": ["a", "a", "b"],
            "asked": [100, 100, 50],
            "valid": [80, 20, 25],
            "tokens_in": [1000, 500, None],
            "tokens_out": [2000, 1000, None],
            "seconds": [30.0, 20.0, None],
            "cost": [0.1, 0.1, None],
            "currency": "USD",
        }
    )
    a, b = cost_per_thousand(costs).itertuples()
    assert (a.valid, a.tokens_in, a.tokens_out, a.seconds) == (100, 15000, 30000, 500) and a.cost == pytest.approx(2)
    assert pd.isna(b.tokens_in) and pd.isna(b.cost)
