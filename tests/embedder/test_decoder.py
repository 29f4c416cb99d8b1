"""A causal decoder as embedder: the same vectors in plain peft and sentence-transformers, and no look ahead.

Always on a small random decoder with a real kind of tokenizer; on the real SmolLM2-135M where its folder is
(README: `make generator`).
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import standin_models as models
import torch

from lib.embedder.embedder import Embedder
from lib.params.model import ModelParams

REAL = Path(__file__).parents[2] / "models" / "smollm2-135m-instruct"
TEMPLATE = "Instruct: {instruction}\nQuery: {text}"
TEXTS = ["a cat sat", "Wie spät ist es?", "rank these passages by relevance to the question, then stop", "x"]


@pytest.fixture(scope="module", params=["random", pytest.param("real", marks=pytest.mark.slow)])
def folder(request, tmp_path_factory):
    if request.param == "random":
        made = tmp_path_factory.mktemp("decoder") / "tiny-Qwen2-1.5B"
        models.make(made)
        return made
    if not (REAL / "config.json").is_file():
        pytest.skip("the real decoder is not here; `make generator` fetches it")
    return REAL


def test_a_folder_of_the_kit_is_found_from_everywhere(folder, tmp_path, monkeypatch):
    from lib.common import bundled
    from lib.embedder.models import resolve

    monkeypatch.setattr(bundled, "ROOT", folder.parent)
    monkeypatch.chdir(tmp_path)
    found = resolve(ModelParams(name=folder.name, pooling="last", append_eos=True))
    assert Path(found.place) == folder and found.local


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """An embedder with an adapter that changes its vectors, and the adapter's folder."""
    params = ModelParams(name=str(folder), pooling="last", append_eos=True, max_length=64, query_template=TEMPLATE)
    embedder = Embedder.from_params(params)
    plain = embedder.encode(TEXTS, instruction="say it")
    embedder.attach_lora(seed=1)
    with torch.no_grad():
        stream = torch.Generator().manual_seed(5)
        for name, weight in embedder.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.01 * torch.randn(weight.shape, generator=stream))
    adapter = tmp_path_factory.mktemp("adapter")
    embedder.save_adapter(adapter)
    assert np.abs(embedder.encode(TEXTS, instruction="say it") - plain).max() > 1e-3
    return embedder, adapter


def test_plain_peft_gives_the_same_vectors(folder, trained):
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer

    embedder, adapter = trained
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = PeftModel.from_pretrained(AutoModel.from_pretrained(folder, dtype=torch.float32), adapter).eval()
    expected = embedder.encode(TEXTS, instruction="say it")
    for text, vector in zip(TEXTS, expected, strict=True):
        ids = tokenizer(TEMPLATE.format(instruction="say it", text=text) + tokenizer.eos_token, return_tensors="pt")
        with torch.no_grad():
            last = model(**ids).last_hidden_state[0, -1]
        assert np.abs(torch.nn.functional.normalize(last, dim=0).numpy() - vector).max() < 1e-5


def test_sentence_transformers_gives_the_same_vectors(folder, trained):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as parts

    embedder, adapter = trained
    reader = parts.Transformer(str(folder), model_kwargs={"dtype": torch.float32})
    reader.modality_config = {"text": reader.modality_config["text"]}  # else a chat template is put around every text
    pooling = parts.Pooling(reader.get_word_embedding_dimension(), pooling_mode="lasttoken")
    theirs = SentenceTransformer(modules=[reader, pooling, parts.Normalize()], device="cpu")
    theirs.load_adapter(str(adapter))
    eos = theirs.tokenizer.eos_token
    written = [TEMPLATE.format(instruction="say it", text=text) + eos for text in TEXTS]
    assert np.abs(theirs.encode(written) - embedder.encode(TEXTS, instruction="say it")).max() < 1e-5


def test_a_later_token_never_changes_an_earlier_state(trained):
    """In training (ragged and padded, several texts at once) and in scoring: cut a text, and its states stay."""
    embedder, _ = trained
    rows = embedder.tokenize(TEXTS)
    longest = max(rows, key=len)
    for cut in range(1, len(longest) - 1):
        row = [*longest[:cut], embedder.eos]
        changed = [*longest[: cut + 1], embedder.eos]
        with torch.no_grad():
            for attention in ("padded", "ragged"):
                alone = embedder.embed([row], attention)
                beside = embedder.embed([changed, row, longest], attention)
                assert (alone[0] - beside[1]).abs().max() < 1e-5
    with torch.no_grad():
        ids = torch.tensor([longest])
        other = ids.clone()
        other[0, -2] = (other[0, -2] + 1) % 100 + 5
        first, second = (embedder.core(input_ids=x, use_cache=False).last_hidden_state[0, :-2] for x in (ids, other))
    assert torch.allclose(first, second, atol=1e-6)
