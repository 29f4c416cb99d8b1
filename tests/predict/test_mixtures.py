"""Mixtures: doses in proportion, merged adapters exact, fresh runs that go on where they were."""

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from test_judge import world

from lib.common.files import KitError, write_json
from lib.embedder.embedder import Embedder
from lib.params.model import MixtureParams, ModelParams
from lib.params.params import load
from lib.predict import choose, mixtures
from lib.train.mixture import PUBLIC

STEPS = MixtureParams(budget="fixed_steps", steps=40, steps_per_category=8)
FULL = {"short_short": 8, "short_long": 8, "long_short": 8, "long_long": 8, PUBLIC: 8}
NAMES = tuple(FULL)[:4]


def shared_out(*points, most=(99, 99, 99, 99)):
    return mixtures.doses(dict(zip(NAMES, points, strict=True)), FULL, dict(zip(NAMES, most, strict=True)))


def test_doses_follow_the_influences():
    assert shared_out(1, 1, 1, 1) == FULL
    assert shared_out(3, 1, 4, 0) == {"short_short": 12, "short_long": 4, "long_short": 16, PUBLIC: 8}
    assert shared_out(3, -5, 1, 0) == {"short_short": 24, "long_short": 8, PUBLIC: 8}
    assert shared_out(-1, -1, 0, 0) == {PUBLIC: 40}
    capped = shared_out(1, 0.001, 5, 0, most=(16, 3, 10, 10))
    assert capped == {"short_short": 16, "short_long": 3, "long_short": 10, PUBLIC: 11}, (
        "what nobody may take is public"
    )


@pytest.mark.parametrize("seed", range(5))
def test_doses_fill_the_steps_and_are_nearest_to_proportional(seed):
    points = np.random.default_rng(seed).uniform(0.05, 2, 4)
    found = shared_out(*points)
    assert sum(found.values()) == 40 and found[PUBLIC] == 8
    exact = 32 * points / points.sum()
    assert all(abs(found.get(name, 0) - part) < 1.5 for name, part in zip(NAMES, exact, strict=True))


def test_mixtures_have_names_and_those_of_the_study_keep_theirs():
    assert mixtures.of_subset(NAMES, STEPS) == FULL
    assert mixtures.name_of(FULL, STEPS) == "ss+sl+ls+ll" and mixtures.name_of({PUBLIC: 40}, STEPS) == "none"
    assert mixtures.name_of({"short_short": 10, "long_short": 16, PUBLIC: 14}, STEPS) == "ss10+ls16"
    with pytest.raises(KitError, match="set it to fixed_steps"):
        mixtures.of_subset(NAMES, MixtureParams(budget="fixed_epochs"))


@pytest.mark.slow  # the first import of mteb
def test_fresh_runs_go_on_where_they_were_and_use_no_seed_of_the_study(tmp_path, monkeypatch):
    params, done = load("classroom", {"paths.runs": str(tmp_path), "profile": "mine"}), []

    def score(params, embedder, name, seed, say):
        if len(done) == 3:
            raise KitError("killed")
        done.append((name, seed))
        return pd.DataFrame({"subset": [name], "seed": seed, "task": "A", "type": "STS", "score": 0.5})

    monkeypatch.setattr(mixtures, "_trained", lambda *given: None)
    monkeypatch.setattr(mixtures, "_rows", score)
    wanted = {"none": {PUBLIC: 40}, "ss9": {"short_short": 9, PUBLIC: 31}}
    with pytest.raises(KitError, match="killed"):
        mixtures.fresh(params, wanted, [10, 11], lambda _: None)
    assert done == [("none", 10), ("ss9", 10), ("none", 11)], "a seed is whole before the next one begins"
    table = mixtures.found(params, mixtures.FRESH)
    assert len(table) == 3 and (tmp_path / "improve" / "mine" / "fresh.csv").is_file()
    assert mixtures.found(params, mixtures.MERGED) is None
    with pytest.raises(KitError, match="seed 1 is one of the study's"):
        mixtures.fresh(params, wanted, [10, 1], lambda _: None)


def test_fresh_runs_are_judged_on_the_half_that_a_mixture_was_not_chosen_on():
    random, types = np.random.default_rng(0), ("STS",) * 8 + ("Retrieval",) * 8
    half = choose.halves(types)
    first, second = {"short_short": 9, PUBLIC: 31}, {"long_long": 9, PUBLIC: 31}
    pairs = {
        "all": (FULL, FULL),
        "none": ({PUBLIC: 40}, {PUBLIC: 40}),
        "uniform": (FULL, FULL),
        "doses": (first, second),
    }
    better = {"ss9": ~half, "ll9": half}  # by two points, each only where it was not chosen
    rows = [
        (name, seed, f"set{i:02}", kind, 0.6 + 0.02 * better.get(name, 0 * half)[i] + 0.002 * random.normal())
        for name in ("ss+sl+ls+ll", "none", "ss9", "ll9")
        for seed in (10, 11, 12)
        for i, kind in enumerate(types)
    ]
    table = pd.DataFrame(rows, columns=["subset", "seed", "task", "type", "score"])
    params = load("classroom")
    found = mixtures.judged(choose.arranged(table), pairs, params)
    whole = found[found["type"] == ""].set_index(["strategy", "against"])
    assert whole.loc[("doses", "all"), "low"] < 2 < whole.loc[("doses", "all"), "high"]
    assert "uniform" not in found["strategy"].tolist() and abs(whole.loc[("none", "all"), "gain"]) < 0.3
    with pytest.raises(KitError, match="one fresh seed has no error"):
        mixtures.judged(choose.arranged(table[table["seed"] == 10]), pairs, params)
    with pytest.raises(KitError, match="there are no scores of ll9"):
        mixtures.judged(choose.arranged(table[table["subset"] != "ll9"]), pairs, params)


def test_a_merged_adapter_is_the_exact_sum_of_products(tmp_path):
    params, folders = load("classroom"), {}
    for seed, weight in ((1, 0.25), (2, 1.0), (3, -0.5)):
        one = Embedder.from_params(ModelParams())
        one.attach_lora(seed)
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, value in one.model.named_parameters():
                if "lora_B" in name:
                    value.copy_(0.02 * torch.randn(value.shape, generator=random))
        one.save_adapter(tmp_path / str(seed))
        folders[tmp_path / str(seed)] = weight
    both = mixtures.merge(params, folders, tmp_path / "out" / "seed0")
    parts = [(load_file(folder / "adapter_model.safetensors"), weight) for folder, weight in folders.items()]
    found = load_file(tmp_path / "out" / "seed0" / "adapter_model.safetensors")
    plain = PeftModel.from_pretrained(Embedder.from_params(ModelParams()).model, str(tmp_path / "out" / "seed0"))
    assert plain.peft_config["default"].r == 3 * ModelParams().lora_rank
    scale = ModelParams().lora_alpha / ModelParams().lora_rank
    for a in (name for name in found if "lora_A" in name):
        b = a.replace("lora_A", "lora_B")
        wanted = sum(weight * scale * part[b] @ part[a] for part, weight in parts)
        assert torch.allclose(found[b] @ found[a], wanted, atol=1e-6)
    text = ["a text of some words"]
    again = Embedder.from_params(ModelParams(), adapter=tmp_path / "out" / "seed0").encode(text)
    assert np.allclose(both.encode(text), again, atol=1e-6)
    assert not np.allclose(both.encode(text), Embedder.from_params(ModelParams()).encode(text), atol=1e-3)


def test_the_scalings_weigh_none_and_the_singles(tmp_path, monkeypatch):
    (known, _), params, asked = world(np.random.default_rng(0)), load("classroom", {"paths.runs": str(tmp_path)}), {}
    for name in ("none", *known.codes):
        write_json(params.models_dir / name / "seed0" / "train.json", {"adapter_digest": name})
    monkeypatch.setattr(mixtures, "merge", lambda params, weights, out: list(weights.values()))
    monkeypatch.setattr(mixtures, "_score", lambda params, weights, tasks, home, name: asked.update({name: weights}) or
                        pd.DataFrame({"task": known.tasks, "score": 0.5}))  # fmt: skip
    for scaling in ("mean", "sum"):
        record = mixtures._merged(params, known, 0, tmp_path, scaling, 15)
    assert asked == {"1111.mean": [0.0, *[0.25] * 4], "1111.sum": [-3, 1, 1, 1, 1]} and len(record["scores"]) == 31
    monkeypatch.setattr(mixtures, "merge", None)
    assert mixtures._merged(params, known, 0, tmp_path, "sum", 15) == record, "made again"
    with pytest.raises(KitError, match="say mean or sum"):
        mixtures.merged_scores(params, known, 0, tmp_path, ["half"])


def test_what_cannot_be_merged_is_said(tmp_path):
    with pytest.raises(KitError, match="no adapter to merge"):
        mixtures.merge(load("classroom"), {tmp_path / "none" / "seed0": 1}, tmp_path / "out")


def test_the_scaling_is_chosen_on_the_other_sets():
    known, _ = world(np.random.default_rng(0), effect=2, noise=0.01, sets=6)
    options = {"good": known.by_seed[0], "bad": -known.by_seed[0]}
    options = {name: np.where(np.arange(6) % 2 == 0, values, -values) for name, values in options.items()}
    found = mixtures.chosen_on_other_half(options, known, 0)
    assert np.array_equal(found[:, 1], options["good"][:, 1]) and np.array_equal(found[:, 0], options["bad"][:, 0])
