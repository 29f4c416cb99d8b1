"""Search in a corpus too large for memory: exact, whatever the size, and in memory that does not grow with it."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

TASK = SimpleNamespace(name="Large", type="Retrieval", prompt=None)
DIM, FOUND = 64, 10


class Numbered:
    """Embeds "text 17" as row 17 of a table."""

    def __init__(self, table):
        self.table = table

    def encode(self, texts, instruction=""):
        return self.table[[int(text.split()[1]) for text in texts]]


class Corpus:
    """The first ``count`` rows as documents, their texts made when they are read."""

    def __init__(self, count):
        self.ids = [f"d{row}" for row in range(count)]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, key):
        return self.ids if key == "id" else {"text": [f"text {row}" for row in range(len(self.ids))[key]]}


@pytest.fixture(scope="module")
def table():
    """20,000 random documents and 40 queries, each with ten documents nearer than chance, at clear distances."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20_040, DIM)).astype(np.float32)
    places = rng.permutation(20_000)[: 40 * FOUND].reshape(40, FOUND)
    for query, near in zip(rows[20_000:], places, strict=True):
        query /= np.linalg.norm(query)
        for cosine, place in zip(np.linspace(0.95, 0.68, FOUND), near, strict=True):
            aside = rows[place] - (rows[place] @ query) * query
            rows[place] = 3 * (cosine * query + np.sqrt(1 - cosine**2) * aside / np.linalg.norm(aside))
    return rows


def search(table, count, folder):
    """Search ``count`` documents for all queries: {query: {document: cosine}} and the peak of the memory in bytes."""
    from datasets import Dataset

    from lib.score.encoder import MtebEncoder

    queries = Dataset.from_dict({"id": [f"q{i}" for i in range(40)], "text": [f"text {20_000 + i}" for i in range(40)]})
    encoder, corpus = MtebEncoder(Numbered(table), corpus_dir=folder), Corpus(count)
    where = {"task_metadata": TASK, "hf_split": "test", "hf_subset": "default"}
    tracemalloc.start()
    try:
        encoder.index(corpus, **where)
        found = encoder.search(queries, top_k=FOUND, **where)
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_twenty_thousand_streamed_documents_rank_as_by_brute_force(table, tmp_path, monkeypatch):
    monkeypatch.setattr("lib.score.encoder.LARGE", 1000)
    found, _ = search(table, 20_000, tmp_path)
    assert [path.stat().st_size for path in tmp_path.glob("*.f16")] == [20_000 * DIM * 2]
    cosines = table[20_000:] @ (table[:20_000] / np.linalg.norm(table[:20_000], axis=1, keepdims=True)).T
    best = np.argsort(-cosines, axis=1)[:, :FOUND]
    for number, rows in enumerate(best):
        assert list(found[f"q{number}"]) == [f"d{row}" for row in rows]
        assert list(found[f"q{number}"].values()) == pytest.approx(cosines[number, rows], abs=1e-3)


def test_memory_does_not_grow_with_the_vectors_of_a_streamed_corpus(table, tmp_path, monkeypatch):
    """Ten thousand documents more cost their names; kept in memory, they cost their vectors as well."""
    vectors = 10_000 * DIM * 4
    monkeypatch.setattr("lib.score.encoder.BLOCK", 1000)
    growth = {}
    for kind, large in (("streamed", 1000), ("in memory", 10**6)):
        monkeypatch.setattr("lib.score.encoder.LARGE", large)
        peaks = [search(table, count, tmp_path / f"{kind}{count}")[1] for count in (9_000, 19_000)]
        growth[kind] = peaks[1] - peaks[0]
    assert growth["streamed"] < growth["in memory"] - vectors, growth
