"""Features and the texts of sets: every bundled set can be read, and a planted rule is found on sets left out."""

import numpy as np
import pandas as pd
import pytest

from lib.common.design import Triplet
from lib.common.files import KitError
from lib.params.params import load
from lib.predict import sets
from lib.predict.sets import FEATURES, GRADES, LABELS, PAIRS, Sides, features, leave_one_set_out, read_sides
from lib.score import suites


def test_every_bundled_set_has_two_sides():
    names = ["AskBench", "SameQuestion", "EverydaySTS", "HomeCommands", "GlossClusters", "MinutesSumm", "DjangoGerman",
             "KitchenTableFAQ"]  # fmt: skip
    params = load("classroom")
    found = {one.task: one for one in read_sides(params, names, 6)}
    kinds = [found[name].kind for name in names]
    assert kinds == [PAIRS, GRADES, GRADES, LABELS, LABELS, GRADES, PAIRS, PAIRS]
    for one in found.values():
        assert len(one.left) == len(one.right) <= 12 and all(one.left) and all(one.right)
        assert len(one.known) in (0, len(one.left))
    assert all(found["AskBench"].wrong) and found["AskBench"].instructions[1] == "" != found["AskBench"].instructions[0]
    again = {one.task: one for one in read_sides(params, names, 6)}
    assert again == found


@pytest.mark.parametrize(
    "name",
    ["GlossTopics", "ForumThreads", "KindOf", "WordSenses", "FieldNotes", "TechSTS", "MinutesSumm", "DjangoGerman"],
)
def test_a_sample_pairs_what_its_set_says_belongs_together(name):
    (task,) = suites.tasks([name])
    task.load_data()
    sides = {}

    def write(text, side):
        sides.setdefault(text, set()).add(side)
        return f"{side and side.value}: {text}"

    one = sets.sample(task, 40, write)
    assert one.texts == sets.sample(task, 40, write).texts != sets.sample(task, 40, write, seed=1).texts
    assert len(one.texts) == len(one.written) <= 48 and len(set(one.written)) == len(one.written)
    assert set(one.pairs[:, 1]) <= set(one.documents) and (one.pairs[:, 0] != one.pairs[:, 1]).all()
    text = [(one.texts[i], one.texts[j]) for i, j in one.pairs]
    if one.type in sets.SEARCH:
        data = task.dataset["default"]["test"]
        bodies = {row["id"]: f"{row['title'] or ''} {row['text']}".strip() for row in data["corpus"]}
        asked = {row["id"]: row["text"] for row in data["queries"]}
        right = {(asked[q], bodies[d]) for q, found in data["relevant_docs"].items() for d, n in found.items() if n > 0}
        assert set(text) <= right
        assert all(one.written[i].startswith("query: ") for i in one.pairs[:, 0])
        assert all(one.written[i].startswith("document: ") for i in one.documents)
    elif one.type in sets.LABELLED:
        rows = [row for part in task.dataset.values() for row in part]
        label = {row.get("text", row.get("sentences")): row.get("label", row.get("labels")) for row in rows}
        assert all(label[a] == label[b] for a, b in text) and len(text) > 40
    else:
        assert all(one.written[i].startswith("None: ") for i in one.documents)
    if one.type == "PairClassification":
        test = task.dataset["test"]
        assert set(text) <= {(r["sentence1"], r["sentence2"]) for r in test if r["labels"] == 1}


def test_less_than_three_sets_are_too_few_to_explain():
    with pytest.raises(KitError, match="2 sets can be looked at"):
        sets.read_samples(load("classroom"), ["TechSTS", "KindOf"], 8, lambda text, instruction: text)


def test_features_say_how_alike_a_category_and_a_set_are():
    pool = [Triplet("find it", "one two", "three four five six")] * 3
    near = Sides("near", PAIRS, ["one two"], ["three four five six"], instructions=("find it", ""))
    far = Sides("far", PAIRS, ["nine"] * 2, ["ten"] * 2)

    def encode(some):
        return np.array([[float("e" in text) + 0.1, float(len(text))] for text in some])

    table = features({"sl": pool}, [near, far], encode).set_index("task")
    assert table.loc["near", "shared bigrams"] == 1 and table.loc["far", "shared bigrams"] == 0
    assert table.loc["near", "left length"] == 0 and table.loc["far", "right length"] == pytest.approx(np.log(4))
    assert table.loc["near", "nearness"] == pytest.approx(1) == table.loc["near", "instruction"]


def test_a_rule_of_features_is_found_on_sets_left_out_and_noise_is_not():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.normal(size=120) for name in FEATURES})
    table = table.assign(category=np.repeat(list("abcd"), 30), task=np.tile(np.arange(30), 4))
    rule = (2 * table["nearness"]).to_numpy().reshape(4, 30)
    found = leave_one_set_out(table, rule + 0.3 * rng.normal(size=rule.shape))
    assert np.corrcoef(found.ravel(), rule.ravel())[0, 1] > 0.9
    noise = rng.normal(size=rule.shape)
    assert abs(np.corrcoef(leave_one_set_out(table, noise).ravel(), noise.ravel())[0, 1]) < 0.25
