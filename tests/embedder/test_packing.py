"""Tokenising, distinct texts, and micro-batches."""

from __future__ import annotations

import random

import pytest
from engine_kit import WORDS, tokenizer

from lib.common.files import KitError
from lib.embedder.packing import distinct, micro_batches, padded, padding_table, ragged, tokenize


def test_eos_is_appended_once_and_survives_truncation():
    words = tokenizer()
    eos = words.eos_token_id
    rows = tokenize(words, ["w1 w2", " ".join(WORDS[:30]), ""], max_length=8, eos=eos)
    assert [row[-1] for row in rows] == [eos] * 3 and [len(row) for row in rows] == [3, 8, 1]
    assert [row.count(eos) for row in rows] == [1, 1, 1]
    assert tokenize(words, ["w1 </s>"], 8, eos)[0].count(eos) == 1  # a tokenizer that appends it by itself


def test_a_text_without_tokens_is_refused():
    with pytest.raises(KitError, match="no tokens"):
        tokenize(tokenizer(), ["w1", ""], max_length=8)


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_every_text_is_in_one_micro_batch_within_the_budget(pad, seed):
    stream = random.Random(seed)
    lengths = [stream.randint(1, 60) for _ in range(stream.randint(1, 80))]
    budget = stream.randint(1, 300)
    found = micro_batches(lengths, budget, pad=pad)
    assert sorted(i for batch in found for i in batch.rows) == list(range(len(lengths)))
    for batch in found:
        own = [lengths[i] for i in batch.rows]
        assert batch.tokens == sum(own) and batch.padded == (max(own) * len(own) if pad else sum(own))
        assert batch.padded <= budget or len(own) == 1
    assert [b.padded for b in found] == sorted((b.padded for b in found), reverse=True)
    assert found == micro_batches(lengths, budget, pad=pad)


def test_sorting_pads_less_than_any_order():
    stream = random.Random(1)
    lengths = [int(stream.lognormvariate(3, 0.8)) + 1 for _ in range(768)]
    table = padding_table(lengths, budget=2048)
    assert 1 == table["end to end"] < table["sorted"] < 1.2 < table["in order"] < table["one width"]


def test_tensors():
    ids, lengths = padded([[5, 6, 7], [8]], pad=0)
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]] and lengths.tolist() == [3, 1]
    ids, places, offsets = ragged([[5, 6, 7], [8]])
    assert (ids.tolist(), places.tolist(), offsets.tolist()) == ([[5, 6, 7, 8]], [[0, 1, 2, 0]], [0, 3, 4])


def test_distinct():
    assert distinct(["b", "a", "b"]) == (["b", "a"], [0, 1, 0])
