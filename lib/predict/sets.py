"""The evaluation sets as pairs of texts: what gradients and features need of a set, of any of the types.

A set becomes two lists of texts and what is known about them: ``pairs`` (a text and the one that belongs to it, maybe
with a wrong one beside), ``grades`` (two texts and how well they go together) or ``labels`` (texts and their classes).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lib.common.files import KitError
from lib.params.params import ScoringParams

PAIRS, GRADES, LABELS = "pairs", "grades", "labels"


@dataclass(frozen=True)
class Sides:
    """A sample of one set: ``left`` and ``right`` texts (of labels the same), and what is known about them."""

    task: str
    kind: str  # PAIRS, GRADES or LABELS
    left: list[str]
    right: list[str]
    known: list[Any] = field(default_factory=list)  # grades of the pairs, or labels of the texts
    wrong: list[str] = field(default_factory=list)  # beside each pair a wrong one, "" where there is none
    instructions: tuple[str, str] = ("", "")  # of the left and of the right texts


def read_sides(tasks: Sequence, settings: ScoringParams, sample: int) -> list[Sides]:
    """Return a seeded sample of ``sample`` pairs of every set (of labelled texts, twice as many).

    Raises KitError for a set that cannot be loaded, or of a type or shape that has no such pairs.
    """
    from lib.score.hub import load, prepare, unload
    from lib.score.suites import fresh, kept_random_state

    ready, lost = prepare(tasks, settings.data_dir)
    for name, why in lost.items():
        raise KitError(f"{name} cannot be read ({why})")
    found = []
    with kept_random_state():
        for task in map(fresh, ready):
            load(task)
            found.append(_sides(task, settings.instructions, random.Random(f"{task.metadata.name} {sample}"), sample))
            unload(task)
    return found


def _sides(task, mode: str, rng: random.Random, sample: int) -> Sides:
    """One loaded set as sides."""
    from mteb.types import PromptType

    from lib.score.encoder import instruction_of

    meta = task.metadata
    search = meta.type in ("Retrieval", "Reranking")
    sides = (PromptType.query, PromptType.document) if search else (None, None)
    instructions = tuple(instruction_of(meta, side, mode) for side in sides)
    try:
        made = _READERS[meta.type](task.dataset, meta.eval_splits[0], rng, sample)
    except (KeyError, TypeError, AttributeError) as error:
        raise KitError(
            f"{meta.name} ({meta.type}) is not in a shape that can be compared with training data "
            f"({type(error).__name__}: {error}); leave it out with scoring.exclude"
        ) from error
    return Sides(meta.name, **made, instructions=instructions)


def _search(data, split: str, rng: random.Random, sample: int) -> dict:
    """Queries with a relevant document each; of a reranking set with a wrong candidate too."""
    data = data["default"][split]
    texts = {row["id"]: " ".join(filter(None, (row.get("title"), row["text"]))) for row in data["corpus"]}
    queries = {row["id"]: row["text"] for row in data["queries"]}
    left, right, wrong = [], [], []
    for name in _some(sorted(queries), rng, sample):
        judged = data["relevant_docs"][name]
        good = sorted(i for i, grade in judged.items() if grade > 0)
        bad = sorted(i for i in (data["top_ranked"] or {}).get(name, ()) if not judged.get(i))
        left.append(queries[name])
        right.append(texts[rng.choice(good)])
        wrong.append(texts[rng.choice(bad)] if bad else "")
    return {"kind": PAIRS, "left": left, "right": right, "wrong": wrong}


def _labelled(data, split: str, rng: random.Random, sample: int) -> dict:
    rows = data[split]
    column = "text" if "text" in rows.column_names else "sentences"
    label = "label" if column == "text" else "labels"
    texts, labels = rows[column][:], rows[label][:]
    some = _some(range(len(texts)), rng, 2 * sample)
    left = [texts[i] for i in some]
    return {"kind": LABELS, "left": left, "right": left, "known": [labels[i] for i in some]}


def _graded(grade: str):
    def read(data, split: str, rng: random.Random, sample: int) -> dict:
        rows = data[split]
        some = _some(range(len(rows)), rng, sample)
        left, right, known = ([rows[i][name] for i in some] for name in ("sentence1", "sentence2", grade))
        return {"kind": GRADES, "left": left, "right": right, "known": [float(one) for one in known]}

    return read


def _bitext(data, split: str, rng: random.Random, sample: int) -> dict:
    rows = data[split]
    some = _some(range(len(rows)), rng, sample)
    return {"kind": PAIRS, "left": [rows[i]["sentence1"] for i in some], "right": [rows[i]["sentence2"] for i in some]}


def _summaries(data, split: str, rng: random.Random, sample: int) -> dict:
    """Machine summaries beside a person's, and how relevant they were found."""
    left, right, known = [], [], []
    rows = data[split]
    for i in _some(range(len(rows)), rng, sample):
        row = rows[i]
        left += row["machine_summaries"]
        right += [row["human_summaries"][0]] * len(row["machine_summaries"])
        known += row["relevance"]
    return {"kind": GRADES, "left": left[:sample], "right": right[:sample], "known": [float(k) for k in known[:sample]]}


def _some(rows, rng: random.Random, sample: int) -> list:
    rows = list(rows)
    return rows if len(rows) <= sample else rng.sample(rows, sample)


_READERS = {"Retrieval": _search, "Reranking": _search, "Classification": _labelled, "Clustering": _labelled,
            "PairClassification": _graded("labels"), "STS": _graded("score"), "Summarization": _summaries,
            "BitextMining": _bitext}  # fmt: skip
