"""Features and the texts of sets: every bundled set can be read, and a planted rule is found on sets left out."""

import numpy as np
import pandas as pd
import pytest

from lib.common.design import Triplet
from lib.params.params import ScoringParams
from lib.predict.features import NAMES, features, leave_one_set_out
from lib.predict.sets import GRADES, LABELS, PAIRS, Sides, read_sides
from lib.score.suites import tasks


def test_every_bundled_set_has_two_sides():
    names = ["AskBench", "SameQuestion", "EverydaySTS", "HomeCommands", "GlossClusters", "MinutesSumm", "DjangoGerman",
             "KitchenTableFAQ"]  # fmt: skip
    found = {one.task: one for one in read_sides(tasks(names), ScoringParams(), 6)}
    kinds = [found[name].kind for name in names]
    assert kinds == [PAIRS, GRADES, GRADES, LABELS, LABELS, GRADES, PAIRS, PAIRS]
    for one in found.values():
        assert len(one.left) == len(one.right) <= 12 and all(one.left) and all(one.right)
        assert len(one.known) in (0, len(one.left))
    assert all(found["AskBench"].wrong) and found["AskBench"].instructions[1] == "" != found["AskBench"].instructions[0]
    again = {one.task: one for one in read_sides(tasks(names), ScoringParams(), 6)}
    assert again == found


def test_features_say_how_alike_a_category_and_a_set_are():
    pool = [Triplet("find it", "one two", "three four five six")] * 3
    near = Sides("near", PAIRS, ["one two"], ["three four five six"], instructions=("find it", ""))
    far = Sides("far", PAIRS, ["nine"] * 2, ["ten"] * 2)

    def encode(some, instruction):
        return np.array([[float("e" in text) + 0.1, float(len(text))] for text in some])

    table = features({"sl": pool}, [near, far], encode).set_index("task")
    assert table.loc["near", "shared bigrams"] == 1 and table.loc["far", "shared bigrams"] == 0
    assert table.loc["near", "left length"] == 0 and table.loc["far", "right length"] == pytest.approx(np.log(4))
    assert table.loc["near", "nearness"] == pytest.approx(1) == table.loc["near", "instruction"]


def test_a_rule_of_features_is_found_on_sets_left_out_and_noise_is_not():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.normal(size=120) for name in NAMES})
    table = table.assign(category=np.repeat(list("abcd"), 30), task=np.tile(np.arange(30), 4))
    rule = (2 * table["nearness"]).to_numpy().reshape(4, 30)
    found = leave_one_set_out(table, rule + 0.3 * rng.normal(size=rule.shape))
    assert np.corrcoef(found.ravel(), rule.ravel())[0, 1] > 0.9
    noise = rng.normal(size=rule.shape)
    assert abs(np.corrcoef(leave_one_set_out(table, noise).ravel(), noise.ravel())[0, 1]) < 0.25
