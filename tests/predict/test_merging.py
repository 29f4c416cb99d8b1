"""A merged adapter is the sum of its adapters' changes, in plain peft; the choice of the scaling looks elsewhere."""

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from test_judge import world

from lib.common.files import KitError
from lib.embedder.embedder import Embedder
from lib.params.params import ModelParams, load
from lib.predict import merging


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
    both = merging.merge(params, folders, tmp_path / "out" / "seed0")
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


def test_one_single_is_itself_whatever_the_scaling():
    assert merging.weights_of(1, "sum") == [0.0, 1.0] and merging.weights_of(1, "mean") == [0.0, 1.0]
    assert merging.weights_of(3, "sum") == [-2.0, 1.0, 1.0, 1.0] and sum(merging.weights_of(4, "mean")) == 1
    with pytest.raises(KitError, match="say mean or sum"):
        merging.weights_of(2, "half")


def test_what_cannot_be_merged_is_said(tmp_path):
    with pytest.raises(KitError, match="no adapter to merge"):
        merging.merge(load("classroom"), {tmp_path / "none" / "seed0": 1}, tmp_path / "out")


def test_the_scaling_is_chosen_on_the_other_sets():
    known, _ = world(np.random.default_rng(0), effect=2, noise=0.01, sets=6)
    options = {"good": known.y[0], "bad": -known.y[0]}
    options = {name: np.where(np.arange(6) % 2 == 0, values, -values) for name, values in options.items()}
    found, choices = merging.chosen_on_other_half(options, known, 0)
    assert choices == ["good", "bad"]
    assert np.array_equal(found[:, 1], options["good"][:, 1]) and np.array_equal(found[:, 0], options["bad"][:, 0])
