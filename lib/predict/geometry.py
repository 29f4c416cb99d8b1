"""How the texts of an evaluation set lie in a model's space, and how they moved: a sample of each set, and measures.

Vectors are (n, d) float arrays of unit rows. Alignment and uniformity are Wang and Isola's (2020), CKA is linear
(Kornblith et al. 2019). ``Vectors`` keeps what was encoded, so that a notebook that is stopped goes on where it was.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mteb.types import PromptType
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from lib.common.files import digest, write_bytes
from lib.generate.overlap import count_words

SEARCH = ("Retrieval", "Reranking")
LABELLED = ("Classification", "Clustering")
QUERY, DOCUMENT, EITHER = PromptType.query, PromptType.document, None  # sides of a text, as mteb names them


# ── measures ─────────────────────────────────────────────────────────────────────────────────────────────────
def alignment(vectors: np.ndarray, pairs: np.ndarray) -> float:
    """Return the mean squared distance of the texts that belong together, (m, 2) places: 0 (one point) to 4."""
    return float(((vectors[pairs[:, 0]] - vectors[pairs[:, 1]]) ** 2).sum(axis=1).mean())


def uniformity(vectors: np.ndarray) -> float:
    """Return log mean exp(-2 d^2) over all pairs of texts: 0 (one point) down to about -4 (even on the sphere)."""
    return float(np.log(np.exp(-2 * pdist(vectors, "sqeuclidean")).mean()))


def anisotropy(vectors: np.ndarray) -> float:
    """Return the mean cosine of all pairs of texts: 0 where they point everywhere, 1 where all point one way."""
    return float(1 - pdist(vectors, "sqeuclidean").mean() / 2)


def length_bias(vectors: np.ndarray, words: np.ndarray) -> float:
    """Return the rank correlation of distance with unlikeness of length (log words) over all pairs of texts.

    0: length does not matter; positive: short and long texts lie apart. 0 where all texts are equally long.
    """
    apart = pdist(np.log(words)[:, None])
    return float(spearmanr(pdist(vectors, "sqeuclidean"), apart).statistic) if np.ptp(apart) > 0 else 0.0


def cka(one: np.ndarray, two: np.ndarray) -> float:
    """Return the linear centred kernel alignment of two models' vectors of the same texts: 1 for a rotation."""
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    return float(np.linalg.norm(one.T @ two) ** 2 / (np.linalg.norm(one.T @ one) * np.linalg.norm(two.T @ two)))


def agreement(before: np.ndarray, after: np.ndarray, pairs: np.ndarray) -> float:
    """Return the mean cosine of each text's step with the step that its set wants of it.

    Wanted is: along the sphere, towards the text it belongs to and away from the mean of all texts.
    """
    both = np.vstack([pairs, pairs[:, ::-1]])
    at, wanted = before[both[:, 0]], before[both[:, 1]] - before.mean(axis=0)
    return float(_cosines((after - before)[both[:, 0]], wanted - (wanted * at).sum(axis=1, keepdims=True) * at).mean())


def spill(step: np.ndarray, own: np.ndarray) -> float:
    """Return the cosine of the mean step of a set's texts (n, d) with that of the category's own texts (m, d)."""
    return float(_cosines(step.mean(axis=0)[None], own.mean(axis=0)[None])[0])


def _cosines(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return (one * two).sum(axis=1) / np.where(size > 0, size, 1)


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Sample:
    """Texts of one set, each once, and which of them belong together."""

    name: str
    type: str
    texts: tuple[str, ...]
    written: tuple[str, ...]  # as the model reads them, with instruction
    pairs: np.ndarray  # (m, 2) places: a text and one that it belongs to
    documents: np.ndarray  # places of the texts among which others are looked for

    @property
    def words(self) -> np.ndarray:
        """The number of words of each text, at least 1."""
        return np.array([max(count_words(text), 1) for text in self.texts])


class _Texts(dict):
    """Places of texts, counted as they come: {(text, as written): place}."""

    def of(self, text: str, written: str) -> int:
        return self.setdefault((text, written), len(self))


def sample(task, limit: int, write: Callable, seed: int = 0) -> Sample:
    """Return at most about ``limit`` texts of a loaded mteb task, drawn by seed, and the pairs that belong together.

    Belonging together are: a query and its relevant documents; texts of one label; pairs of label 1, or (STS) in the
    top third of scores; translations; a summary and those of more than their mean relevance. ``write(text, side)``
    returns a text as the model reads it. Raises LookupError where the set has no such pairs or another form.
    """
    rng = np.random.default_rng([seed, int(digest(task.metadata.name), 16) % 2**32])
    kind, places = task.metadata.type, _Texts()
    if kind in LABELLED:
        pairs, documents = _labelled(task, limit, write, rng, places)
    else:
        pairs, documents = _asked(*_rows(task), kind in SEARCH, limit, write, rng, places)
    if not pairs:
        raise LookupError("no two of its texts belong together")
    texts, written = zip(*places, strict=True)
    return Sample(task.metadata.name, kind, texts, written, np.array(sorted(set(pairs))), np.unique(documents))


def _labelled(task, limit: int, write, rng, places: _Texts) -> tuple[list, list]:
    """Every two sampled texts of one label."""
    tables = _tables(task)
    texts, labels = (_column(tables, *names) for names in (("text", "sentences"), ("label", "labels")))
    chosen = rng.permutation(len(texts))[:limit]
    found = {places.of(texts[i], write(texts[i], EITHER)): str(labels[i]) for i in chosen}
    return [(i, j) for i in found for j in found if i < j and found[i] == found[j]], list(found)


def _asked(rows: list, others: list[str], search: bool, limit: int, write, rng, places: _Texts) -> tuple[list, list]:
    """Rows drawn until their texts are half of ``limit`` (all, where nothing else can be found), then others."""
    first, second = (QUERY, DOCUMENT) if search else (EITHER, EITHER)
    pairs, documents = [], []
    for row in rng.permutation(len(rows)):
        if len(places) >= (limit // 2 if others else limit):
            break
        text, answers = rows[row]
        at = places.of(text, write(text, first))
        for answer, belongs in answers:
            documents.append(places.of(answer, write(answer, second)))
            pairs += [(at, documents[-1])] * bool(belongs and at != documents[-1])
    for i in rng.permutation(len(others)):
        if len(places) >= limit:
            break
        documents.append(places.of(others[i], write(others[i], second)))
    return pairs, documents


def _rows(task) -> tuple[list[tuple[str, list[tuple[str, bool]]]], list[str]]:
    """Rows (text, [(other text, do they belong together)]), and the documents that may be found beside."""
    kind, (table, *_) = task.metadata.type, _tables(task)
    if kind in SEARCH:
        bodies = {row["id"]: f"{row.get('title') or ''} {row['text']}".strip() for row in table["corpus"]}
        relevant = {q: [d for d, grade in found.items() if grade > 0] for q, found in table["relevant_docs"].items()}
        rows = [(q["text"], [(bodies[d], True) for d in relevant.get(q["id"], ())]) for q in table["queries"]]
        return rows, list(bodies.values())
    if kind == "Summarization":
        return [
            (row["human_summaries"][0], [(s, r > np.mean(row["relevance"])) for s, r in zip(*both, strict=True)])
            for row in table
            if (both := (row["machine_summaries"], row["relevance"]))
        ], []
    one, two = _column([table], "sentence1"), _column([table], "sentence2")
    grades = np.ones(len(one)) if kind == "BitextMining" else np.array(_column([table], "score", "labels", "label"))
    cut = np.quantile(grades, 2 / 3) if kind == "STS" else 1
    return [(a, [(b, grade >= cut)]) for a, b, grade in zip(one, two, grades, strict=True)], []


def _tables(task) -> list:
    """The tables of a loaded task: of its first language, training texts first where it has any."""
    data = next((task.dataset[name] for name in (*task.hf_subsets, "default") if name in task.dataset), task.dataset)
    return [data[split] for split in ("train", *task.eval_splits) if split in data]


def _column(tables: Iterable, *names: str) -> list:
    """The values of the first of these columns that there is, lists in it laid end to end."""
    found = [value for table in tables for value in table[[name for name in names if name in table.column_names][0]]]
    return [part for value in found for part in (value if isinstance(value, list) else [value])]


# ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────────
def vectors(embedder, samples: Sequence[Sample], path: Path, progress: bool = False) -> dict[str, np.ndarray]:
    """Return {sample: (n, d) unit vectors} by the embedder's active adapter, kept in ``path`` (half precision).

    What is kept is used again only for the same texts, adapter and settings.
    """
    texts = [text for one in samples for text in one.written]
    stamp = digest([embedder.fingerprint(), embedder.adapter_digest(), texts])
    try:
        with np.load(path) as kept:
            found = kept["vectors"] if str(kept["stamp"]) == stamp else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        found = None
    if found is None:
        found, file = embedder.encode_written(texts, progress=progress).astype(np.float16), io.BytesIO()
        np.savez(file, vectors=found, stamp=stamp)
        write_bytes(path, file.getvalue())
    found = found.astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    ends = np.cumsum([len(one.written) for one in samples])
    return {one.name: part for one, part in zip(samples, np.split(found, ends[:-1]), strict=True)}
