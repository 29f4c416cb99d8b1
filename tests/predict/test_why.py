"""Why a category helps: the measures, the sample of a set, the judge on planted and empty studies, the notebook."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lib.common.bundled import ROOT
from lib.common.design import Triplet, write_triplets
from lib.predict import explain, why
from lib.predict.sets import Sample
from tests.kits import planted

TYPES = np.repeat(["A", "B", "C", "D", "E", "F"], [7, 4, 6, 3, 6, 2])
SUITE = {
    "Classification": ["GlossTopics", "VerbTopics", "DiagnosisChapters", "ReviewTone"],
    "Retrieval": ["CounterClaim", "DiagnosisNames", "ReverseDictionary", "WeaknessNames"],
}


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# ── measures ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_measures_see_what_they_should_and_no_rotation():
    rng = np.random.default_rng(0)
    x = unit(rng.normal(size=(60, 8)))
    turned = x @ np.linalg.qr(rng.normal(size=(8, 8)))[0]

    def spread(vectors, words):
        return why.spread(vectors, np.arange(60).reshape(-1, 2), words)

    words = np.exp(rng.normal(size=60))
    whole = spread(x, words)
    assert spread(turned, words) == pytest.approx(whole)
    assert why.cka(x, turned) == pytest.approx(1) and why.cka(x, unit(rng.normal(size=x.shape))) < 0.5
    crowded = spread(unit(x + 2), words)
    assert crowded["anisotropy"] > 0.5 and crowded["uniformity"] > whole["uniformity"] + 1
    assert why.spread(x, np.array([[3, 3]]), words)["alignment"] == 0
    long = spread(unit(np.column_stack([3 * np.log(words), rng.normal(size=(60, 3))])), words)
    assert long["length bias"] > 0.3 > abs(whole["length bias"]) + 0.1
    assert spread(x, np.ones(60))["length bias"] == 0


def test_agreement_and_spill_over_have_their_signs():
    rng = np.random.default_rng(1)
    before, pairs = unit(rng.normal(size=(40, 6))), np.arange(40).reshape(-1, 2)
    partner = before[pairs[:, ::-1].ravel()]
    for way in (0.1, -0.1):
        after = unit(before + way * partner)
        assert np.sign(why.agreement(before, after, pairs)) == np.sign(way)
        moved, was = (why.spread(v, pairs, np.ones(40))["alignment"] for v in (after, before))
        assert np.sign(moved - was) == -np.sign(way)
    step = rng.normal(size=(5, 6)) + 3
    assert why.spill(step, step + 1) > 0.9 > -0.9 > why.spill(step, -step)
    assert why.spill(0 * step, step) == 0 and why.agreement(before, before, pairs) == 0


class Counting:
    """An embedder that counts what it encodes."""

    def __init__(self, adapter="a"):
        self.adapter, self.encoded = adapter, 0

    def fingerprint(self):
        return "f"

    def adapter_digest(self):
        return self.adapter

    def encode_written(self, texts, progress=False):
        self.encoded += len(texts)
        return np.array([[len(text), text.count("a") + 1, 1.0] for text in texts], np.float32)


def test_vectors_are_kept_until_anything_about_them_changes(tmp_path):
    def some(*texts):
        return Sample("s" + texts[0], "STS", texts, texts, np.array([[0, 1]]), np.array([1]))

    parts, path, embedder = [some("a", "bb"), some("ccc", "dd", "aa")], tmp_path / "none-seed0.npz", Counting()
    first = why.vectors(embedder, parts, path)
    assert [len(found) for found in first.values()] == [2, 3]
    assert np.allclose(np.linalg.norm(first["sccc"], axis=1), 1)
    again = why.vectors(embedder, parts, path)
    assert embedder.encoded == 5 and all((again[name] == first[name]).all() for name in first)
    why.vectors(Counting("b"), parts, path)
    why.vectors(embedder, parts, path)
    assert embedder.encoded == 10, "another adapter's vectors were taken"
    path.write_bytes(path.read_bytes()[:100])
    why.vectors(embedder, parts, path)
    assert embedder.encoded == 15, "a damaged file was taken"


# ── the judge ────────────────────────────────────────────────────────────────────────────────────────────────
def empty_study(rng, explanations=4):
    """Effects and explanations that have nothing to do with each other, but both have luck per set and per type."""
    kind = np.unique(TYPES, return_inverse=True)[1]

    def table():
        own, of_set, of_type = rng.normal(size=(28, 4)), rng.normal(size=(28, 1)), rng.normal(size=(6, 1))[kind]
        return own + 0.7 * of_set + 1.4 * of_type + rng.normal(size=4)

    return {f"e{i}": [table()] for i in range(explanations)}, table()


def found(xs, y, level, strata=None, draws=99):
    rows, own = explain.rows_of(level, y, TYPES)
    xs = {name: [explain.rows_of(level, x, TYPES)[0] for x in parts] for name, parts in xs.items()}
    judged = explain.judge(xs, [rows], own if strata is None else strata, draws).set_index("explanation")
    return set(judged.index[judged["p_holm"] < 0.05])


def test_rows_left_out_are_predicted_by_the_fit_of_the_others():
    rng = np.random.default_rng(0)
    x, y, strata = rng.normal(size=(9, 4)), rng.normal(size=(9, 4)), np.array([0, 0, 0, 1, 1, 1, 1, 0, 1])
    errors = (explain.left_out(x, strata, 4) @ y.ravel()).reshape(9, 4)
    cells = [(i, j) for i in range(9) for j in range(4)]
    design = np.array(
        [[x[i, j], *(float((s, k) == (strata[i], j)) for s in (0, 1) for k in range(4))] for i, j in cells]
    )
    for row in range(9):
        inside = np.array([i != row for i, _ in cells])
        fit = np.linalg.lstsq(design[inside], y.ravel()[inside], rcond=None)[0]
        assert np.allclose(y[row] - design[~inside] @ fit, errors[row])


def test_an_explanation_that_drives_the_effects_is_found():
    rng, hits = np.random.default_rng(2), {"sets": 0, "types": 0}
    for _ in range(10):
        xs, y = empty_study(rng)
        y = y + 1.5 * xs["e3"][0]
        for level in hits:
            hits[level] += "e3" in found(xs, y, level)
    assert hits["sets"] >= 9 and hits["types"] >= 3, "six types show less than 28 sets, but something"


def test_where_nothing_explains_nothing_is_found_unless_sets_are_exchanged_across_types():
    rng, hits = np.random.default_rng(3), {"sets": 0, "types": 0, "across": 0}
    for study in range(200):
        xs, y = empty_study(rng)
        for level in ("sets", "types"):
            hits[level] += bool(found(xs, y, level))
        if study < 40:
            hits["across"] += bool(found(xs, y, "sets", np.zeros(28, int)))
    assert hits["sets"] <= 10 and hits["types"] <= 10, "more than 5 % of 200 empty studies"
    assert hits["across"] > 8, "the wrong null is wrong"


def test_truths_share_no_run_with_the_adapters_that_explain_them():
    data = planted.study({"STS": 3, "Retrieval": 3}, seeds=2, effects={("ss", "STS"): 4.0}, base_rows=False)
    from lib.influence.scores import study

    own = study(data)
    these, others = explain.truths(own, own.tasks, [0, 1])
    assert [seeds for seeds, _ in others.parts] == [(0,), (1,)]
    other = study(data.assign(score=data["score"].where(data["seed"] == 1, 0.1)))
    kept, moved = (explain.truths(one, own.tasks, [0, 1])[1].parts for one in (own, other))
    assert np.allclose(kept[0][1], moved[0][1]) and not np.allclose(kept[1][1], moved[1][1])
    sts = np.array(own.types) == "STS"
    assert np.allclose(these.parts[0][1][sts, 0], 4, atol=1) and 0 <= these.ceiling["sets"] <= 1
    (alone,) = explain.truths(own.only((own.runs["seed"] == 0).to_numpy()), own.tasks, [0])
    assert alone.name == "these runs" and np.isnan(alone.ceiling["sets"])


def test_a_case_shows_the_text_that_moved_most_and_the_median_one():
    texts = tuple("abcdef")
    one = Sample("s", "STS", texts, texts, np.array([[0, 3], [1, 4], [2, 5]]), np.array([3, 4, 5]))
    before = unit(np.eye(6) + 0.1)
    after = before.copy()
    after[1] = unit(before[1:2] + 0.5 * before[4:5])[0]
    after[2] = unit(before[2:3] - 0.2 * before[5:6])[0]
    helped, harmed = (why.case(one, [before], [after], sign) for sign in (1.0, -1.0))
    assert list(helped["text"]) == ["b", "a"] and list(harmed["text"]) == ["c", "a"]
    assert helped["right"][0] == helped["nearest with"][0] == "e" and helped["place"][0] == "1 to 1"
    assert harmed["place"][0] == "1 to 3"


# ── the notebook ─────────────────────────────────────────────────────────────────────────────────────────────
def small_study(home):
    """A finished study in ``home``: eight sets, five adapters that nobody trained, effects drawn at random."""
    import torch

    from lib.embedder.embedder import Embedder
    from lib.params.params import load

    overrides = {"paths.runs": str(home / "runs"), "paths.figures": str(home / "figures"), "study.seeds": [0]}
    overrides |= {"scoring.suite": [name for names in SUITE.values() for name in names]}
    params = load("classroom", overrides)
    embedder = Embedder.from_params(params.model)
    for seed, run in enumerate(("none", "ss", "sl", "ls", "ll")):
        embedder.attach_lora(seed)
        with torch.no_grad():
            for name, weight in embedder.model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, 0.02, generator=torch.Generator().manual_seed(seed))
        embedder.save_adapter(params.models_dir / run / "seed0")
    for category in params.study.categories:
        rows = [Triplet("find it", f"what is {category} {i}", f"it is number {i} of them") for i in range(20)]
        write_triplets(params.data_dir / "triplets" / f"{category}.jsonl", rows)
    table = planted.study({kind: 4 for kind in SUITE}, seeds=1, noise=2.0)
    names = {f"{kind}{i}": name for kind, own in SUITE.items() for i, name in enumerate(own)}
    table.assign(task=table["task"].map(names)).to_csv(params.results_file, index=False)
    return overrides


@pytest.mark.slow
def test_notebook_on_a_small_study(tmp_path):
    overrides = small_study(tmp_path)
    command = [sys.executable, *"-m papermill --cwd notebooks --kernel python3 --no-progress-bar".split()]
    command += ["-p", "sample", "16", "-y", f"overrides: {json.dumps(overrides)}"]
    command += ["notebooks/08_why.ipynb", str(tmp_path / "out.ipynb")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "runs" / "classroom" / "why").glob("*.npz"))) == 5
    judged = pd.read_csv(tmp_path / "figures" / "classroom" / "why.csv")
    assert set(judged["explanation"]) == {*why.EXPLANATIONS, explain.RULER} and set(judged["level"]) == {"sets"}
    cells = pd.read_csv(tmp_path / "figures" / "classroom" / "why_cells.csv")
    assert len(cells) == 32 and np.isfinite(cells[list(why.EXPLANATIONS)]).all(axis=None)
