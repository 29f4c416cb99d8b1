"""The embedder: equal to sentence-transformers, adapters that others can read, attention bodies that agree."""

from __future__ import annotations

import json
import random
import warnings

import numpy as np
import pytest
import torch
from engine_kit import DECODERS, FAMILIES, difference, embedder, gradients, one_by_one, text, wake

from lib.common.files import KitError
from lib.embedder.embedder import Embedder
from lib.embedder.packing import padded, ragged
from lib.generate.overlap import suite_texts
from lib.params.model import ModelParams

TEXTS = ["", "hi", "  spaces around  ", "Ünïcödé and 漢字 {braces} {0}", "word " * 700, "hi"]
LENGTHS = [1, 7, 7, 7, 20, 3, 1, 12]


@pytest.fixture(scope="module")
def minilm():
    return Embedder.from_params(ModelParams())


@pytest.fixture(scope="module")
def sentence_transformer(minilm):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(minilm.source.place, device="cpu")


def texts(count=40):
    return [*TEXTS, *sum((t[:8] for t in suite_texts().values()), [])[:count]]


def test_encode_equals_sentence_transformers(minilm, sentence_transformer):
    some = texts()
    found = minilm.encode(some)
    assert found.shape == (len(some), 384) and found.dtype == np.float32
    assert np.abs(found - sentence_transformer.encode(some)).max() < 1e-6
    assert np.array_equal(found[1], found[5])


def test_rows_come_in_input_order_whatever_the_batching(minilm):
    some = texts(24)
    whole = minilm.encode(some)
    for budget in (1, 64, 300):
        other = Embedder(minilm.core, minilm.tokenizer, ModelParams(encode_tokens=budget), minilm.source)
        assert np.abs(other.encode(some) - whole).max() < 1e-6
    order = np.random.default_rng(0).permutation(len(some))
    assert np.abs(minilm.encode([some[i] for i in order]) - whole[order]).max() < 1e-6
    assert minilm.encode([]).shape == (0, 384)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    trained = Embedder.from_params(ModelParams())
    plain = trained.encode(texts(10))
    trained.attach_lora(seed=1)
    assert np.array_equal(trained.encode(texts(10)), plain), "a fresh adapter must change nothing"
    wake(trained)
    folder = tmp_path_factory.mktemp("adapter")
    trained.save_adapter(folder)
    return folder, trained.encode(texts(10)), trained.adapter_digest(), plain


def test_an_adapter_is_read_by_plain_peft_and_sentence_transformers(adapter, minilm, sentence_transformer):
    from peft import PeftModel
    from transformers import AutoModel

    folder, expected, _, _ = adapter
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = PeftModel.from_pretrained(AutoModel.from_pretrained(minilm.source.place), folder).eval()
    ids, lengths = padded(minilm.tokenize(texts(10)), 0)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).float()
    with torch.no_grad():
        hidden = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    assert np.abs(torch.nn.functional.normalize(mean, dim=1).numpy() - expected).max() < 1e-5
    sentence_transformer.load_adapter(str(folder))
    assert np.abs(sentence_transformer.encode(texts(10)) - expected).max() < 1e-5


def test_the_adapter_folder_names_no_machine(adapter):
    config = json.loads((adapter[0] / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert "/work" not in json.dumps(config) and "site-packages" not in json.dumps(config)


def test_load_switch_off_and_load_another(adapter, minilm, tmp_path):
    folder, expected, digest, plain = adapter
    assert minilm.adapter_digest() == "base"
    minilm.load_adapter(folder)
    assert np.array_equal(minilm.encode(texts(10)), expected) and minilm.adapter_digest() == digest
    minilm.set_adapter(None)
    assert np.array_equal(minilm.encode(texts(10)), plain) and minilm.adapter_digest() == "base"
    minilm.set_adapter("default")
    assert np.array_equal(minilm.encode(texts(10)), expected)
    minilm.attach_lora(seed=2)
    wake(minilm, seed=9)
    minilm.save_adapter(tmp_path)
    other = minilm.encode(texts(10))
    minilm.load_adapter(folder)
    assert np.array_equal(minilm.encode(texts(10)), expected) and not np.array_equal(other, expected)
    minilm.load_adapter(tmp_path)
    assert np.array_equal(minilm.encode(texts(10)), other)
    minilm._drop_adapters()


def test_the_fingerprint_sees_what_changes_embeddings(minilm):
    prints = {minilm.fingerprint()}
    for change in ({"max_length": 64}, {"pooling": "cls"}, {"query_template": "{instruction}: {text}"}):
        prints.add(Embedder(minilm.core, minilm.tokenizer, ModelParams(**change), minilm.source).fingerprint())
    assert len(prints) == 4
    assert Embedder(minilm.core, minilm.tokenizer, ModelParams(lora_rank=4), minilm.source).fingerprint() in prints


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "/nowhere"}, "does not exist"),
        ({"name": "bundled:other"}, "bundled model is"),
        ({"pooling": "last"}, "append_eos"),
        ({"append_eos": True}, "no end-of-sequence"),
    ],
)
def test_a_model_that_cannot_be_is_one_sentence(change, words):
    with pytest.raises(KitError, match=words) as told:
        Embedder.from_params(ModelParams(**change))
    assert "\n" not in str(told.value)


def test_an_adapter_that_does_not_fit_is_one_sentence(tmp_path, adapter, minilm):
    with pytest.raises(KitError, match="no adapter"):
        embedder(lora=False).load_adapter(tmp_path)
    small = embedder(lora=False)
    with pytest.raises(KitError, match="does not fit") as told:
        small.load_adapter(adapter[0])
    assert "\n" not in str(told.value)
    embedder("mistral").save_adapter(tmp_path)
    with pytest.raises(KitError, match="does not fit"):
        minilm.load_adapter(tmp_path)
    minilm._drop_adapters()


def test_templates():
    found = embedder(
        "bert",
        lora=False,
        query_template="Instruct: {instruction}\nQuery: {text}",
        document_template="Document: {text}",
    )
    assert found.text_of("a {text} b", "do {text}") == "Instruct: do {text}\nQuery: a {text} b"
    assert found.text_of("a") == "Document: a" and found.text_of("a", "x", document=True) == "Document: a"


def test_not_a_number_is_never_returned():
    found = embedder("bert")
    with torch.no_grad():
        [w for n, w in found.model.named_parameters() if "lora_B" in n][-1].fill_(float("nan"))
    with pytest.raises(KitError, match="NaN"):
        found.encode(["w1 w2"])


# ── padded and end to end: one set of embeddings and gradients ────────────────────────────────────────
def rows(found, lengths=LENGTHS, seed=0):
    stream = random.Random(seed)
    return [[4 + stream.randrange(80) for _ in range(n - 1)] + [2 if found.eos is not None else 5] for n in lengths]


CASES = [
    (family, pooling)
    for family in FAMILIES
    for pooling in (["last", "mean"] if family in DECODERS else ["mean", "cls"])
]


@pytest.mark.parametrize(("family", "pooling"), CASES)
@pytest.mark.parametrize(
    "lengths",
    [
        pytest.param(LENGTHS, id="mixed"),
        pytest.param([6] * 5, id="equal", marks=pytest.mark.slow),
        pytest.param([1], id="one", marks=pytest.mark.slow),
    ],
)
def test_every_way_through_the_model_is_the_same_function(family, pooling, lengths):
    found = embedder(family, pooling)
    some = rows(found, lengths)
    weight = torch.randn(len(some), found.dim, generator=torch.Generator().manual_seed(3))
    expected = one_by_one(found, some)
    (expected * weight).sum().backward()
    grad = gradients(found.model)
    for attention in ("padded", "ragged"):
        found.model.zero_grad()
        vectors = found.embed(some, attention)
        (vectors * weight).sum().backward()
        assert difference(vectors.detach(), expected.detach()) < 2e-6, attention
        assert difference(gradients(found.model), grad) < 1e-5, attention


def test_packed_rows_with_positions_only_would_be_wrong():
    """The trap that ``use_cache=False`` and our own attention avoid: without them texts see each other."""
    found = embedder("mistral", lora=False)
    some = rows(found, [5, 6])
    ids, places, _ = ragged(some)
    with torch.no_grad():
        state = found.core(input_ids=ids, position_ids=places, use_cache=True).last_hidden_state[0, -1]
        wrong = torch.nn.functional.normalize(state, dim=0)
        assert (wrong - one_by_one(found, some)[1]).abs().max() > 1e-3
        assert (found.embed(some, "ragged")[1] - one_by_one(found, some)[1]).abs().max() < 1e-6


def test_a_text_that_does_not_end_as_it_must_is_refused():
    found = embedder("qwen2")
    with pytest.raises(KitError, match="end-of-sequence"):
        found.embed([[5, 6, 7]])


def test_the_eos_is_in_every_encoded_text():
    found = embedder("mistral")
    stream = random.Random(0)
    some = [text(stream, 1, 60) for _ in range(10)]
    assert all(row[-1] == 2 and len(row) <= 48 for row in found.tokenize(some))
    assert np.isfinite(found.encode(some)).all()
