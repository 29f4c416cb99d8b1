"""Evaluation sets as texts that belong together, whatever their type: what notebooks 06 and 08 need of a set."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
FEATURES = ["left length", "right length", "shared bigrams", "instruction", "nearness"]


@dataclass(frozen=True)
class Sides:
    """A sample of one set: ``left`` and ``right`` texts (of labels the same), and what is known about them."""

    task: str
    kind: str  # PAIRS (right belongs to left), GRADES (how well it does) or LABELS (texts and their classes)
    left: list[str]
    right: list[str]
    known: list[Any] = field(default_factory=list)  # grades of the pairs, or labels of the texts
    wrong: list[str] = field(default_factory=list)  # beside each pair of search a wrong one, "" where there is none
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
        mode = params.scoring.instructions
        return sample(task, limit, lambda text, side: write(text, instruction_of(task.metadata, side, mode)))

    found, left = _read(params, names, one)
    if len(found) < 3:
        raise KitError(f"{len(found)} sets can be looked at, and this needs three; have more in scoring.suite")
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
def _rows(task) -> tuple[list[tuple], list[str]]:
    """Rows of a loaded task, and the documents that may be found beside the answers.

    A row is a key, a text, its answers (key, text, grade: how well it goes with the text) and wrong ones (key, text).
    Keys of queries and documents give them an order; the rows of other tables have one.
    """
    kind, (table, *_) = task.metadata.type, _tables(task, task.eval_splits)
    if kind in SEARCH:
        bodies = {row["id"]: " ".join(filter(None, (row.get("title"), row["text"]))) for row in table["corpus"]}
        rows = []
        for query in table["queries"]:
            judged = table["relevant_docs"].get(query["id"], {})
            candidates = (table["top_ranked"] or {}).get(query["id"], ())
            answers = [(i, bodies[i], grade) for i, grade in judged.items() if grade > 0]
            wrong = [(i, bodies[i]) for i in candidates if not judged.get(i)]
            rows.append((query["id"], query["text"], answers, wrong))
        return rows, list(bodies.values())
    if kind == "Summarization":  # a person's summary, and how relevant machines' were found
        rows = [(row["human_summaries"][0], row["machine_summaries"], row["relevance"]) for row in table]
        return [(0, text, list(zip(found, found, grades, strict=True)), ()) for text, found, grades in rows], []
    one, two = (_column([table], name) for name in ("sentence1", "sentence2"))
    grades = [1.0] * len(one) if kind == "BitextMining" else _column([table], "score", "labels", "label")
    return [(0, a, [(0, b, grade)], ()) for a, b, grade in zip(one, two, grades, strict=True)], []


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


def _roles(task) -> tuple:
    """What mteb calls a text and its answers."""
    from mteb.types import PromptType

    return (PromptType.query, PromptType.document) if task.metadata.type in SEARCH else (None, None)


# ── two ways to draw from them, by seed ──────────────────────────────────────────────────────────────────────
def sides(task, mode: str, count: int) -> Sides:
    """Return ``count`` pairs of a loaded task (of labelled texts, twice as many), drawn by the name of the set."""
    from lib.score.encoder import instruction_of

    meta, rng, known, wrong = task.metadata, random.Random(f"{task.metadata.name} {count}"), [], []
    kind = PAIRS if meta.type in (*SEARCH, "BitextMining") else LABELS if meta.type in LABELLED else GRADES

    def some(rows: list, most: int) -> list:
        return rows if len(rows) <= most else rng.sample(rows, most)

    if kind == LABELS:
        left, known = zip(*some(_labelled(task, task.eval_splits[:1]), 2 * count), strict=True)
        right = left
    else:
        rows = some(sorted((row for row in _rows(task)[0] if row[2]), key=lambda row: row[0]), count)
        if meta.type in SEARCH:
            left, right = [text for _, text, *_ in rows], []
            for _, _, answers, others in rows:
                right.append(rng.choice(sorted(answers))[1])
                wrong.append(rng.choice(sorted(others))[1] if others else "")
        else:
            flat = [(one, two, float(grade)) for _, one, answers, _ in rows for _, two, grade in answers][:count]
            left, right, grades = zip(*flat, strict=True)
            known = grades if kind == GRADES else []
        if meta.type == "Summarization":
            left, right = right, left
    how = tuple(instruction_of(meta, role, mode) for role in _roles(task))
    return Sides(meta.name, kind, list(left), list(right), list(known), wrong, how)


def sample(task, limit: int, write: Callable, seed: int = 0) -> Sample:
    """Return about ``limit`` texts of a loaded task, drawn by seed, as ``write(text, side)`` them, and what belongs.

    Together belong: a query and its relevant documents; texts of one label; pairs of label 1, or (STS) in the top third
    of scores; translations; a summary and those of more than mean relevance. Raises LookupError where none do.
    """
    rng = np.random.default_rng([seed, int(digest(task.metadata.name), 16) % 2**32])
    (query, document), kind, places, pairs, documents = _roles(task), task.metadata.type, {}, [], []

    def place(text: str, side=None) -> int:
        text = text.strip() if side and side == document else text
        return places.setdefault((text, write(text, side)), len(places))

    if kind in LABELLED:
        rows = _labelled(task, ("train", *task.eval_splits))
        documents = {place(rows[i][0]): str(rows[i][1]) for i in rng.permutation(len(rows))[:limit]}
        pairs = [(i, j) for i in documents for j in documents if i < j and documents[i] == documents[j]]
    else:
        rows, others = _rows(task)
        cut = np.quantile([answers[0][2] for _, _, answers, _ in rows], 2 / 3) if kind == "STS" else 1
        for at in rng.permutation(len(rows)):  # until half of the limit (all, where nothing else can be found)
            if len(places) >= (limit // 2 if others else limit):
                break
            _, text, answers, _ = rows[at]
            asked = place(text, query)
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
def features(pools: dict[str, Sequence[Triplet]], some: Sequence[Sides], encode) -> pd.DataFrame:
    """Return one row per category and set, in that order: ``category, task`` and FEATURES.

    Lengths: |log ratio| of median words; shared bigrams: share of the set's word pairs that a category has; the others:
    cosine of mean vectors by ``encode(texts)``, the untrained base's, of 24 texts of each side.
    """

    def described(left: list[str], right: list[str], instructions: list[str]) -> tuple:
        words = [[text.lower().split() for text in part] for part in (left, right)]
        lengths = np.log([max(np.median([len(text) for text in part]), 1) for part in words])
        bigrams = {pair for part in words for text in part for pair in zip(text, text[1:], strict=False)}
        return lengths, bigrams, [encode(few).mean(axis=0) for few in (instructions[:24], [*left[:24], *right[:24]])]

    sets, rows = [(one.task, *described(one.left, one.right, [one.instructions[0] or one.task])) for one in some], []
    for category, pool in pools.items():
        instructions = sorted({t.instruction for t in pool})
        ours = described([t.query for t in pool], [t.positive for t in pool], instructions)
        for task, lengths, bigrams, vectors in sets:
            shared = len(ours[1] & bigrams) / max(len(bigrams), 1)
            cosines = [float(a @ b / norm(a) / norm(b)) for a, b in zip(ours[2], vectors, strict=True)]
            rows.append([category, task, *np.abs(ours[0] - lengths), shared, *cosines])
    return pd.DataFrame(rows, columns=["category", "task", *FEATURES])


def leave_one_set_out(table: pd.DataFrame, measured: np.ndarray) -> np.ndarray:
    """Return effects (categories, sets) of every set as a ridge regression on the other sets has them.

    It is of the ``measured`` effects on the ``table`` of ``features`` and on which category it is.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.column_stack([pd.get_dummies(table["category"]).to_numpy(float), table[FEATURES].to_numpy(float)])
    sets = np.tile(np.arange(measured.shape[1]), len(measured))
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 16)))
    return cross_val_predict(model, x, measured.ravel(), groups=sets, cv=LeaveOneGroupOut()).reshape(measured.shape)
