"""The step is exact however it is cut, and the run resumes, stops and logs as it should."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine_kit import WORDS, difference, embedder, gradients, one_by_one, training, triplets, wake

from lib.common.design import Triplet
from lib.common.files import KitError, read_json, read_jsonl
from lib.kernels.lora import fuse_lora
from lib.params.model import MixtureParams
from lib.train import checkpoint
from lib.train.gradcache import GradCache, StepTexts, batch_loss, step_texts, triplet_texts
from lib.train.mixture import plan
from lib.train.trainer import COPY, SUMMARY, Run, learning_rate, train

WAYS = {  # parameters, fused LoRA, attention
    "plain": ({}, False, "padded"),
    "keep some": ({"keep_graph_tokens": 150}, False, "padded"),
    "keep all": ({"keep_graph_tokens": 10**6}, False, "padded"),
    "one token": ({"micro_batch_tokens": 1}, False, "padded"),
    "all at once": ({"micro_batch_tokens": 10**6}, False, "padded"),
    "ragged": ({}, False, "ragged"),
    "fused": ({}, True, "padded"),
    "as in training": ({"keep_graph_tokens": 150}, True, ""),
}


def step(found, rows, params, attention="padded"):
    """Run one step as the trainer does; return (result, gradients)."""
    texts = triplet_texts(found, rows, lambda some: found.tokenize(some, params.max_length))
    found.model.zero_grad()
    return GradCache(found, params, attention=attention).run(texts), gradients(found.model)


def autograd(found, rows, params):
    """The same loss by plain autograd: every text alone through the model, all graphs kept, the whole score matrix."""

    def vectors(texts):
        return torch.cat([one_by_one(found, [row]) for row in found.tokenize(texts, params.max_length)])

    query = vectors([found.text_of(t.query, t.instruction) for t in rows])
    positive = vectors([t.positive for t in rows])
    have = [t for t in rows if t.negative]
    texts = [t.positive for t in rows] + [t.negative for t in have]
    candidates = torch.cat([positive, vectors([t.negative for t in have])]) if have else positive
    scores = query @ candidates.T / params.temperature
    for i, row in enumerate(rows):
        mine = {t.positive for t in rows if t.query == row.query} | {row.query}
        for j, other in enumerate(texts):
            if params.mask_duplicates and j != i and other in mine:
                scores[i, j] = -torch.inf
            elif params.loss == "pair" and j != i and (j < len(rows) or have[j - len(rows)] is not row):
                scores[i, j] = -torch.inf
    loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(rows)))
    found.model.zero_grad()
    loss.backward()
    return loss.item(), gradients(found.model)


TEMPLATE = {"query_template": "w1 w2 w3 {instruction} w4 {text}"}


@pytest.mark.parametrize(
    "family",
    [
        "bert",
        "mistral-sliding",
        pytest.param("qwen2", marks=pytest.mark.slow),
        pytest.param("qwen3", marks=pytest.mark.slow),
        pytest.param("llama", marks=pytest.mark.slow),
    ],
)
def test_the_step_equals_plain_autograd_however_it_is_computed(family):
    rows = triplets(10)
    found = embedder(family, **({} if family == "bert" else TEMPLATE))
    loss, grad = autograd(found, rows, training())
    for name, (changes, fused, attention) in WAYS.items():
        found = embedder(family, **({} if family == "bert" else TEMPLATE))
        if fused:
            fuse_lora(found.model)
        result, own = step(found, rows, training(**changes), attention)
        assert result.loss == pytest.approx(loss, rel=1e-5), name
        assert difference(own, grad) < 1e-5, name


@pytest.mark.parametrize("change", [{"mask_duplicates": False}, {"loss": "pair"}], ids=str)
@pytest.mark.parametrize(
    "rows",
    [triplets(9), triplets(6, low=1, high=1), triplets(6, low=5, high=5, seed=2), triplets(5, low=30, high=39)],
    ids=["mixed", "one word", "equal", "longer than the budget"],
)
def test_forms_of_the_loss(change, rows):
    found = embedder("bert")
    params = training(micro_batch_tokens=24, **change)
    loss, grad = autograd(found, rows, params)
    result, own = step(found, rows, params)
    assert result.loss == pytest.approx(loss, rel=1e-5) and difference(own, grad) < 1e-5


@pytest.mark.parametrize("hard", [True, False])
def test_the_step_equals_sentence_transformers(hard):
    """Their own loss objects, cached and not, on our embeddings' model: same loss, same LoRA gradients."""
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )

    found = embedder("bert")
    rows = [Triplet("", t.query, t.positive, hard * (t.negative or "w9 w8"), "") for t in triplets(9)]
    params = training(mask_duplicates=False, temperature=0.05)
    result, own = step(found, rows, params)
    columns = [[t.query for t in rows], [t.positive for t in rows]] + ([[t.negative for t in rows]] if hard else [])

    class Model(torch.nn.Module):
        def forward(self, features, **_):
            real = features["attention_mask"].bool()
            hidden = found.core(
                input_ids=features["input_ids"], attention_mask=features["attention_mask"]
            ).last_hidden_state
            total = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)
            return {**features, "sentence_embedding": torch.nn.functional.normalize(total, dim=1)}

    features = []
    for column in columns:
        from lib.embedder.packing import padded

        ids, lengths = padded(found.tokenize(column, params.max_length), 0)
        features.append({"input_ids": ids, "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long()})
    for kind, options in (
        (MultipleNegativesRankingLoss, {}),
        (CachedMultipleNegativesRankingLoss, {"mini_batch_size": 4}),
    ):
        found.model.zero_grad()
        loss = kind(torch.nn.Sequential(Model()), scale=20.0, **options)([dict(f) for f in features], None)
        loss.backward()
        assert result.loss == pytest.approx(loss.item(), rel=1e-5)
        assert difference(own, gradients(found.model)) < 1e-5


def test_each_distinct_text_is_embedded_once():
    rows = triplets(10)
    words = [t.query for t in rows] + [t.positive for t in rows] + [t.negative for t in rows if t.negative]
    texts = step_texts(
        [t.query for t in rows],
        [t.positive for t in rows],
        [t.negative for t in rows],
        lambda some: [[len(x)] for x in some],
    )
    assert len(texts.rows) == len(set(words)) < len(words)
    assert texts.negative.count(-1) == sum(not t.negative for t in rows)


def test_pair_without_any_hard_negative_is_refused():
    with pytest.raises(KitError, match="needs hard negatives"):
        step(embedder("bert"), triplets(6, negatives=False), training(loss="pair"))


def test_pair_leaves_known_texts_out_of_the_negatives():
    """A negative that is a positive of the same query in another row, the query itself, or its own positive."""
    found = torch.nn.functional.normalize(torch.randn(8, 5, generator=torch.Generator().manual_seed(3)), dim=1)
    texts = StepTexts([], query=[0, 0, 1, 2], positive=[3, 4, 5, 6], negative=[4, 7, 1, 6])
    rows = zip(texts.query, texts.positive, texts.negative, strict=True)
    each = [torch.log1p(torch.exp(found[q] @ (found[n] - found[p]) / 0.1)).item() for q, p, n in rows]
    params = training(loss="pair", temperature=0.1)
    assert batch_loss(found, texts, params).item() == pytest.approx(each[1] / 4, rel=1e-5)
    every = batch_loss(found, texts, params.model_copy(update={"mask_duplicates": False}))
    assert every.item() == pytest.approx(sum(each) / 4, rel=1e-5)


def test_bf16_is_close():
    from engine_kit import core, tokenizer

    from lib.embedder.embedder import Embedder

    rows = triplets(10)
    exact, grad = step(embedder("qwen2"), rows, training())
    found = embedder("qwen2", lora=False)
    found = Embedder(core("qwen2").bfloat16(), tokenizer(), found.params)
    found.attach_lora(seed=1)
    wake(found)
    fuse_lora(found.model)
    result, own = step(found, rows, training())
    assert own.dtype == torch.float32 and result.loss == pytest.approx(exact.loss, rel=0.05)
    assert torch.nn.functional.cosine_similarity(own, grad, dim=0) > 0.98


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────
POOLS = {"public": triplets(40, seed=1, negatives=False), "sts": triplets(24, seed=2, source="sts")}
BATCHES = plan(POOLS, ("sts",), MixtureParams(steps=6, steps_per_category=2), 8, seed=0)


def one_run(folder, made_of=None, **changes):
    found = embedder("bert", lora=False)
    return found, train(
        found,
        POOLS,
        BATCHES,
        training(checkpoint_every=2, **changes),
        folder,
        seed=4,
        progress=False,
        extra={"made_of": made_of} if made_of else None,
    )


def weights(folder) -> bytes:
    return Path(folder, "adapter_model.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_bits_and_memory_changes_none(tmp_path):
    _, first = one_run(tmp_path / "a")
    _, second = one_run(tmp_path / "b", keep_graph_tokens=120)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert (tmp_path / "a/adapter_config.json").read_bytes() == (tmp_path / "b/adapter_config.json").read_bytes()
    assert first["losses"] == second["losses"] and first["key"] == second["key"]


def test_the_models_own_dropout_is_off_whatever_state_the_model_is_in(tmp_path):
    """BERT's configuration asks for dropout, and a second forward pass would draw another one than the first."""
    losses = []
    for share in (0.0, 0.5):
        found = embedder("bert", lora=False, dropout=share)
        found.model.train()
        done = train(found, POOLS, BATCHES, training(), tmp_path / str(share), 4, progress=False)
        losses.append(done["losses"])
    assert losses[0] == losses[1]


def test_what_a_run_leaves_behind(tmp_path):
    found, summary = one_run(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "log.jsonl",
        SUMMARY,
        COPY,
    }
    log = read_jsonl(tmp_path / "log.jsonl")
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5, 6] and [row["source"] for row in log] == [
        b.source for b in BATCHES
    ]
    assert {"loss", "tokens", "tokens_per_second", "padding_share", "memory_mb", "grad_norm"} <= set(log[0])
    assert summary == read_json(tmp_path / SUMMARY) and summary["steps_per_source"] == {"public": 4, "sts": 2}
    vectors = found.encode(["w1 w2", "w3"])
    fresh = embedder("bert", lora=False)
    fresh.load_adapter(tmp_path)
    assert (abs(fresh.encode(["w1 w2", "w3"]) - vectors) < 1e-6).all() and fresh.adapter_digest() == summary[
        "adapter_digest"
    ]
    before = weights(tmp_path)
    again = embedder("bert", lora=False)
    assert train(again, POOLS, BATCHES, training(checkpoint_every=2), tmp_path, 4, progress=False) == summary
    assert weights(tmp_path) == before and len(read_jsonl(tmp_path / "log.jsonl")) == 6


@pytest.mark.parametrize("dies_at", [1, 3, 5])
def test_a_run_cut_off_in_the_middle_of_a_step_ends_in_the_same_bits(tmp_path, monkeypatch, dies_at):
    _, whole = one_run(tmp_path / "whole")
    calls = []

    def dying(self, *args):
        calls.append(1)
        if len(calls) == dies_at + 1:
            raise KeyboardInterrupt  # between the first pass and the second
        return original(self, *args)

    original = GradCache._second_pass
    monkeypatch.setattr(GradCache, "_second_pass", dying)
    with pytest.raises(KeyboardInterrupt):
        one_run(tmp_path / "cut")
    torch.manual_seed(99)
    monkeypatch.setattr(GradCache, "_second_pass", original)
    _, resumed = one_run(tmp_path / "cut")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole") and resumed["losses"] == whole["losses"]
    assert [row["step"] for row in read_jsonl(tmp_path / "cut/log.jsonl")] == [1, 2, 3, 4, 5, 6]


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {tests!r} + "/../kits"]
import test_training as t
from lib.train.gradcache import GradCache
calls, original = [], GradCache._embed
def dying(self, *args):
    calls.append(1)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *args)
GradCache._embed = dying
t.one_run(sys.argv[1])
"""


@pytest.mark.slow
def test_sigkill_in_the_middle_of_a_step(tmp_path):
    """The real thing: the process dies between two micro-batches; a new one finishes to the same bits."""
    _, _ = one_run(tmp_path / "whole")
    code = KILLED.format(tests=str(Path(__file__).parent))
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cut"), "22"], env=dict(os.environ), check=False
    )
    assert killed.returncode == -signal.SIGKILL and (tmp_path / "cut" / checkpoint.NAME).is_file()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "cut"), "0"], env=dict(os.environ), check=True)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path, monkeypatch):
    original = Run.texts
    poisoned = 3

    def texts(self, batch):
        if batch is self.batches[poisoned]:
            with torch.no_grad():
                self.embedder.core.embeddings.LayerNorm.weight.fill_(float("inf"))
        return original(self, batch)

    monkeypatch.setattr(Run, "texts", texts)
    named = rf"step 4 gave loss nan.* batch of {BATCHES[3].source} \(rows {BATCHES[3].rows[0]}"
    with pytest.raises(KitError, match=named) as told:
        one_run(tmp_path)
    assert "\n" not in str(told.value) and not (tmp_path / SUMMARY).exists()
    state = checkpoint.read(tmp_path / checkpoint.NAME)
    assert state["step"] == 3 and all(torch.isfinite(w).all() for w in state["adapter"].values())
    monkeypatch.undo()
    one_run(tmp_path / "whole")
    one_run(tmp_path)  # the cause is gone: the run ends as if nothing had happened
    assert weights(tmp_path) == weights(tmp_path / "whole")


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "finish", lambda self, extra: {})
    one_run(tmp_path)
    assert (tmp_path / checkpoint.NAME).is_file()
    with pytest.raises(KitError, match="other data or parameters"):
        one_run(tmp_path, learning_rate=5e-3)


def test_learning_rate():
    params = training(learning_rate=1.0, warmup_steps=2, schedule="linear")
    assert [learning_rate(s, 6, params) for s in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert learning_rate(5, 6, training(learning_rate=1.0, warmup_steps=2, schedule="constant")) == 1.0
    assert learning_rate(4, 6, training(learning_rate=1.0, warmup_steps=2, schedule="cosine")) == pytest.approx(0.5)


def test_training_learns(tmp_path):
    """A tiny model learns to match a text with its copy: the loss falls by half at least."""
    rows = [Triplet("", f"{a} {b}", f"{b} {a} {a}", "", "") for a, b in zip(WORDS[::2], WORDS[1::2], strict=True)]
    batches = plan({"public": rows}, (), MixtureParams(steps=24), 16, seed=0)
    summary = train(embedder("bert", lora=False), {"public": rows}, batches, training(), tmp_path, 0, progress=False)
    assert sum(summary["losses"][-4:]) < 0.5 * sum(summary["losses"][:4])


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(KitError, match="no batches"):
        train(embedder("bert", lora=False), POOLS, [], training(), tmp_path, 0)


def test_log_cut_back(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": s}) + "\n" for s in (1, 2, 3)) + '{"step": 4, "lo')
    assert checkpoint.trim_log(path, 2) == [{"step": 1}, {"step": 2}] == read_jsonl(path)
