"""A merged adapter is the sum of its adapters' changes, in plain peft; the choice of the scaling looks elsewhere."""

import numpy as np
import pytest
import torch
from engine_kit import core, embedder, wake
from peft import PeftModel
from test_judge import world

from lib.common.files import KitError
from lib.predict import merging


def changes(model):
    """Change of weights of every adapted layer of a peft model."""
    return {n: m.get_delta_weight("default") for n, m in model.named_modules() if hasattr(m, "get_delta_weight")}


@pytest.fixture
def adapters(tmp_path):
    folders = []
    for seed in range(3):
        found = embedder("bert")
        found.attach_lora(seed)
        wake(found, seed)
        found.save_adapter(tmp_path / str(seed))
        folders.append(tmp_path / str(seed))
    return folders


@pytest.mark.parametrize("scaling", merging.SCALINGS)
def test_plain_peft_loads_the_exact_sum(adapters, tmp_path, scaling):
    weights = merging.weights_of(2, scaling)
    out = merging.merge(adapters, weights, tmp_path / "out")
    parts = [changes(PeftModel.from_pretrained(core("bert"), str(folder))) for folder in adapters]
    merged = PeftModel.from_pretrained(core("bert"), str(out))
    assert merged.peft_config["default"].r == 4 * (3 if scaling == "sum" else 2)
    for name, found in changes(merged).items():
        wanted = sum(weight * part[name] for weight, part in zip(weights, parts, strict=True))
        assert torch.allclose(found, wanted, atol=1e-6), name


def test_one_single_is_itself_whatever_the_scaling():
    assert merging.weights_of(1, "sum") == [0.0, 1.0] and merging.weights_of(1, "mean") == [0.0, 1.0]
    assert merging.weights_of(3, "sum") == [-2.0, 1.0, 1.0, 1.0] and sum(merging.weights_of(4, "mean")) == 1
    with pytest.raises(KitError, match="say mean or sum"):
        merging.weights_of(2, "half")


def test_what_cannot_be_merged_is_said(adapters, tmp_path):
    with pytest.raises(KitError, match="no adapter to merge"):
        merging.merge([adapters[0], tmp_path / "none" / "seed0"], [1, 1], tmp_path / "out")


def test_the_scaling_is_chosen_on_the_other_sets():
    known, _ = world(np.random.default_rng(0), effect=2, noise=0.01, sets=6)
    options = {"good": known.y[0], "bad": -known.y[0]}
    options = {name: np.where(np.arange(6) % 2 == 0, values, -values) for name, values in options.items()}
    found, choices = merging.chosen_on_other_half(options, known, 0)
    assert choices == ["good", "bad"]
    assert np.array_equal(found[:, 1], options["good"][:, 1]) and np.array_equal(found[:, 0], options["bad"][:, 0])
