"""Evaluation sets as texts that belong together, whatever their type: what notebooks 06 and 08 need of a set.

``read_sides`` takes what gradients and ``features`` look at, ``read_samples`` the texts whose vectors are measured.
Both draw by seed from the same rows: a text and its answers, with how well each answer goes with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.linalg import norm

from lib.common.design import Triplet
from lib.common.files import KitError, digest
from lib.generate.overlap import count_words
from lib.params.params import Params
from lib.score import hub, suites

SEARCH, LABELLED = ("Retrieval", "Reranking"), ("Classification", "Clustering")
PAIRS, GRADES, LABELS = "pairs", "grades", "labels"
FEATURES = ("left length", "right length", "shared bigrams", "instruction", "nearness")


@dataclass(frozen=True)
class Sides:
    """A sample of one set: ``left`` and ``right`` texts (of labels the same), and what is known about them."""

    task: str
    kind: str  # PAIRS (right belongs to left), GRADES (how well it does) or LABELS (texts and their classes)
    left: list[str]
    right: list[str]
    known: list[Any] = field(default_factory=list)  # grades of the pairs, or labels of the texts
    wrong: list[str] = field(default_factory=list)  # beside each pair a wrong one, "" where there is none
    instructions: tuple[str, str] = ("", "")  # of the left and of the right texts


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


def read_sides(params: Params, names: Sequence[str], count: int) -> list[Sides]:
    """Return ``count`` pairs of each of these sets of the suite. Raises KitError for one that has no such pairs."""
    found, left = _read(params, names, lambda task: sides(task, params.scoring.instructions, count))
    for name, why in left.items():
        raise KitError(f"{name} cannot be compared with training data: {why}; leave it out with scoring.exclude")
    return [replace(found[name], task=name) for name in names]


def read_samples(params: Params, names: Sequence[str], limit: int, write: Callable) -> tuple[list[Sample], dict]:
    """Return about ``limit`` texts of each set, as ``write(text, instruction)`` them, and {set left out: why}."""
    from lib.score.encoder import instruction_of

    def one(task):
        how = partial(instruction_of, task.metadata, mode=params.scoring.instructions)
        return sample(task, limit, lambda text, side: write(text, how(side)))

    found, left = _read(params, names, one)
    return [replace(one, name=name) for name, one in found.items()], left


def _read(params: Params, names: Sequence[str], make: Callable) -> tuple[dict, dict[str, str]]:
    """{set: ``make(loaded task)``} and {set left out: why}; of an aggregate its first part."""
    tasks = [task for task in suites.tasks(params.scoring.suite) if task.metadata.name in names]
    (ready, left), found = hub.prepare(tasks, params.scoring.data_dir), {}
    with suites.kept_random_state():
        for task in map(suites.fresh, ready):
            name, part = task.metadata.name, suites.leaves(task)[0]
            hub.load(part)
            try:
                found[name] = make(part)
            except (LookupError, TypeError, AttributeError) as error:
                left[name] = f"its texts have another form ({error})"
            hub.unload(part)
    return found, left


# ── rows, the same for all types ─────────────────────────────────────────────────────────────────────────────
class Row(NamedTuple):
    """A text, its answers (key, text, grade: how well it goes with the text), and wrong candidates (key, text)."""

    key: Any  # keys give an order where the rows of a table have none: those of queries and documents
    text: str
    answers: list
    wrong: Sequence = ()


def _rows(task) -> tuple[list[Row], list[str]]:
    """Rows of a loaded task, and the documents that may be found beside the answers."""
    kind, (table, *_) = task.metadata.type, _tables(task, task.eval_splits)
    if kind in SEARCH:
        bodies = {row["id"]: " ".join(filter(None, (row.get("title"), row["text"]))) for row in table["corpus"]}
        rows = []
        for query in table["queries"]:
            judged = table["relevant_docs"].get(query["id"], {})
            candidates = (table["top_ranked"] or {}).get(query["id"], ())
            answers = [(i, bodies[i], grade) for i, grade in judged.items() if grade > 0]
            wrong = [(i, bodies[i]) for i in candidates if not judged.get(i)]
            rows.append(Row(query["id"], query["text"], answers, wrong))
        return rows, list(bodies.values())
    if kind == "Summarization":  # a person's summary, and how relevant machines' were found
        rows = [(row["human_summaries"][0], row["machine_summaries"], row["relevance"]) for row in table]
        return [Row(0, text, list(zip(found, found, grades, strict=True))) for text, found, grades in rows], []
    one, two = (_column([table], name) for name in ("sentence1", "sentence2"))
    grades = [1.0] * len(one) if kind == "BitextMining" else _column([table], "score", "labels", "label")
    return [Row(0, a, [(0, b, grade)]) for a, b, grade in zip(one, two, grades, strict=True)], []


def _labelled(task, splits: Sequence[str]) -> list[tuple[str, Any]]:
    tables = _tables(task, splits)
    return list(zip(_column(tables, "text", "sentences"), _column(tables, "label", "labels"), strict=True))


def _tables(task, splits: Sequence[str]) -> list:
    """The tables of a loaded task, of its first language."""
    data = next((task.dataset[name] for name in (*task.hf_subsets, "default") if name in task.dataset), task.dataset)
    return [data[split] for split in splits if split in data]


def _column(tables: Sequence, *names: str) -> list:
    """The values of the first of these columns that there is, lists in it laid end to end."""
    found = [value for table in tables for value in table[[name for name in names if name in table.column_names][0]]]
    return [part for value in found for part in (value if isinstance(value, list) else [value])]


# ── two ways to draw from them ───────────────────────────────────────────────────────────────────────────────
def sides(task, mode: str, count: int) -> Sides:
    """Return ``count`` pairs of a loaded task (of labelled texts, twice as many), drawn by the name of the set."""
    from mteb.types import PromptType

    from lib.score.encoder import instruction_of

    meta, rng = task.metadata, random.Random(f"{task.metadata.name} {count}")
    search, known, wrong = meta.type in SEARCH, [], []
    how = tuple(
        instruction_of(meta, side if search else None, mode) for side in (PromptType.query, PromptType.document)
    )

    def some(rows: list, most: int) -> list:
        return rows if len(rows) <= most else rng.sample(rows, most)

    if meta.type in LABELLED:
        left, known = map(list, zip(*some(_labelled(task, task.eval_splits[:1]), 2 * count), strict=True))
        return Sides(meta.name, LABELS, left, left, known, wrong, how)
    rows = some(sorted((row for row in _rows(task)[0] if row.answers), key=lambda row: row.key), count)
    if search:
        left, right = [row.text for row in rows], []
        for row in rows:
            right.append(rng.choice(sorted(row.answers))[1])
            wrong.append(rng.choice(sorted(row.wrong))[1] if row.wrong else "")
        return Sides(meta.name, PAIRS, left, right, known, wrong, how)
    flat = [(row.text, text, float(grade)) for row in rows for _, text, grade in row.answers][:count]
    left, right, grades = map(list, zip(*flat, strict=True))
    if meta.type == "BitextMining":
        return Sides(meta.name, PAIRS, left, right, known, wrong, how)
    both = (right, left) if meta.type == "Summarization" else (left, right)
    return Sides(meta.name, GRADES, *both, grades, wrong, how)


def sample(task, limit: int, write: Callable, seed: int = 0) -> Sample:
    """Return about ``limit`` texts of a loaded task, drawn by seed, as ``write(text, side)`` them, and what belongs.

    Together belong: a query and its relevant documents; texts of one label; pairs of label 1, or (STS) in the top third
    of scores; translations; a summary and those of more than mean relevance. Raises LookupError where none do.
    """
    from mteb.types import PromptType

    rng = np.random.default_rng([seed, int(digest(task.metadata.name), 16) % 2**32])
    kind, places, pairs, documents = task.metadata.type, {}, [], []

    def place(text: str, side=None) -> int:
        text = text.strip() if side == PromptType.document else text
        return places.setdefault((text, write(text, side)), len(places))

    if kind in LABELLED:
        rows = _labelled(task, ("train", *task.eval_splits))
        documents = {place(rows[i][0]): str(rows[i][1]) for i in rng.permutation(len(rows))[:limit]}
        pairs = [(i, j) for i in documents for j in documents if i < j and documents[i] == documents[j]]
    else:
        rows, others = _rows(task)
        query, document = (PromptType.query, PromptType.document) if kind in SEARCH else (None, None)
        cut = np.quantile([row.answers[0][2] for row in rows], 2 / 3) if kind == "STS" else 1
        for at in rng.permutation(len(rows)):  # until half of the limit (all, where nothing else can be found)
            if len(places) >= (limit // 2 if others else limit):
                break
            asked, answers = place(rows[at].text, query), rows[at].answers
            for _, text, grade in answers:
                documents.append(place(text, document))
                belongs = grade > np.mean([g for *_, g in answers]) if kind == "Summarization" else grade >= cut
                pairs += [(asked, documents[-1])] * bool(belongs and asked != documents[-1])
        for at in rng.permutation(len(others)):
            if len(places) < limit:
                documents.append(place(others[at], document))
    if not pairs:
        raise LookupError("no two of its texts belong together")
    texts, written = zip(*places, strict=True)
    return Sample(task.metadata.name, kind, texts, written, np.array(sorted(set(pairs))), np.unique(list(documents)))


# ── is a category like a set? ────────────────────────────────────────────────────────────────────────────────
def features(pools: dict[str, Sequence[Triplet]], some: Sequence[Sides], encode, sample: int = 24) -> pd.DataFrame:
    """Return one row per category and set, in that order: ``category, task`` and FEATURES.

    Lengths: |log ratio| of median words; shared bigrams: share of the set's word pairs that a category has; the others:
    cosine of mean vectors by ``encode(texts)``, the untrained base's, of ``sample`` texts of each side.
    """

    def described(left: list[str], right: list[str], instructions: list[str]) -> tuple:
        words = [[text.lower().split() for text in part] for part in (left, right)]
        lengths = np.log([max(np.median([len(text) for text in part]), 1) for part in words])
        bigrams = {pair for part in words for text in part for pair in zip(text, text[1:], strict=False)}
        some = [*left[:sample], *right[:sample]]
        return lengths, bigrams, [encode(texts).mean(axis=0) for texts in (instructions[:sample], some)]

    theirs = [described(one.left, one.right, [one.instructions[0] or one.task]) for one in some]
    rows = []
    for category, pool in pools.items():
        queries, positives = ([getattr(t, side) for t in pool] for side in ("query", "positive"))
        lengths, bigrams, vectors = described(queries, positives, sorted({t.instruction for t in pool}))
        for one, (set_lengths, set_bigrams, set_vectors) in zip(some, theirs, strict=True):
            shared = len(bigrams & set_bigrams) / max(len(set_bigrams), 1)
            cosines = [float(a @ b / norm(a) / norm(b)) for a, b in zip(vectors, set_vectors, strict=True)]
            found = (*np.abs(lengths - set_lengths), shared, *cosines)
            rows.append({"category": category, "task": one.task, **dict(zip(FEATURES, found, strict=True))})
    return pd.DataFrame(rows)
