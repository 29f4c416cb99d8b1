"""Gains: the published arithmetic, the sparsity curve by hand, and what sorting does to noise."""

import numpy as np
import pandas as pd
import pytest

from lib.common import bundled
from lib.common.design import minus
from lib.figures import texts
from lib.influence import tables


def test_published_scores_give_the_published_arithmetic():
    reference = bundled.reference("published_mteb_scores")
    assert reference["wang2024_full"].mean() == pytest.approx(66.63, abs=0.005)
    assert reference["wang2024_without_synthetic"].mean() == pytest.approx(64.56, abs=0.005)
    gain = tables.published_gains(reference).set_index("task")["gain"]
    found = tables.top(gain, 8)
    assert found["tasks"] == 56 and found["fall"] == 14 and found["within_one"] == 26
    assert found["mean"] == pytest.approx(2.07, abs=0.005) and found["share"] == pytest.approx(0.72, abs=0.005)
    assert tables.curve(gain)["task"].head(3).tolist() == ["TRECCOVID", "FEVER", "ClimateFEVER"]


def test_curve_by_hand_and_no_share_of_a_loss():
    ranked = tables.curve(pd.Series({"a": 1.0, "b": 4.0, "c": -1.0}))
    assert ranked["task"].tolist() == ["b", "a", "c"]
    assert ranked["cumulated"].tolist() == [4, 5, 4] and ranked["share"].tolist() == [1, 1.25, 1]
    assert tables.curve(pd.Series({"a": 1.0, "b": -4.0}))["share"].isna().all()


def test_ranking_by_other_seeds_takes_the_bend_of_noise_away():
    rng = np.random.default_rng(3)
    noise = pd.DataFrame(
        [{"task": f"t{i}", "seed": s, "gain": 1 + rng.normal(0, 3)} for i in range(400) for s in (0, 1)]
    )
    plain = tables.curve(noise.groupby("task")["gain"].mean())
    honest = tables.honest_curve(noise)
    assert plain["share"].iloc[56] > 0.35  # every task gains 1 point, yet a seventh seems to carry a third and more
    assert honest["share"].iloc[56] == pytest.approx(1 / 7, abs=0.12)
    assert tables.honest_curve(noise[noise["seed"] == 0]) is None


def test_small_things():
    assert minus(-1.234, 1) == "−1.2" and minus(-0.04, 1) == "0.0" and minus(2, 0) == "+2"
    assert texts.order_types(["Zebra", "STS", "Classification"]) == ["Classification", "STS", "Zebra"]
    assert texts.order_factors(["ll", "mine", "ss"]) == ["ss", "ll", "mine"]
    assert texts.category_name("ss:ll") == "short-short × long-long"
