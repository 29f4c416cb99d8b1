"""The fixed batches of notebook 03: triplets that a run does not train on, embedded before it and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.special import softmax as row_softmax

from lib.common.design import Triplet
from lib.train.mixture import Batch

if TYPE_CHECKING:
    from lib.embedder.embedder import Embedder

ENOUGH = 16  # held-out triplets that make a test of their own; with fewer, triplets that were trained on fill it up


@dataclass(frozen=True, slots=True)
class Held:
    """A fixed batch of one source, the first ``unseen`` of its triplets in no batch of the run."""

    triplets: list[Triplet]
    unseen: int


@dataclass(frozen=True, slots=True)
class Vectors:
    """A fixed batch embedded: queries and positives (n, d), and the hard negatives there are (m, d)."""

    queries: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    @property
    def cosines(self) -> np.ndarray:
        """(n, n + m) cosines of every query with all positives and all hard negatives."""
        return self.queries @ np.concatenate([self.positives, self.negatives]).T


def held_out(pools: Mapping[str, Sequence[Triplet]], batches: Sequence[Batch], count: int = 48) -> dict[str, Held]:
    """Return one fixed batch per source, of triplets that the run does not train on where ``ENOUGH`` are left."""
    found = {}
    for source, pool in pools.items():
        trained = {row for batch in batches if batch.source == source for row in batch.rows}
        rows = [row for row in range(len(pool)) if row not in trained][:count]
        unseen = len(rows)
        if unseen < ENOUGH:
            rows += sorted(trained)[: count - unseen]
        found[source] = Held([pool[row] for row in rows], unseen)
    return found


def vectors(embedder: Embedder, held: Held) -> Vectors:
    """Return the embeddings of a fixed batch."""
    queries = [embedder.text_of(t.query, t.instruction) for t in held.triplets]
    positives = [embedder.text_of(t.positive, document=True) for t in held.triplets]
    negatives = [embedder.text_of(t.negative, document=True) for t in held.triplets if t.negative]
    every = embedder.encode_written([*queries, *positives, *negatives])
    return Vectors(*np.split(every, [len(queries), 2 * len(queries)]))


def loss(found: Vectors, temperature: float) -> float:
    """Return the InfoNCE loss of a fixed batch."""
    scores = found.cosines.astype(np.float64) / temperature
    return float((logsumexp(scores, axis=1) - np.diag(scores)).mean())


def softmax(cosines: np.ndarray, temperature: float) -> np.ndarray:
    """Return the softmax over each row: how the loss shares its surprise among the choices."""
    return row_softmax(cosines / temperature, axis=1)


def push(cosines: np.ndarray, temperature: float, nearest: int = 3) -> tuple[float, float, float]:
    """Return the softmax weight of the right answer and two parts of the push on wrong ones, means over the queries.

    The push on a wrong answer is its softmax weight. The parts are those of the nearest wrong answer and of the
    ``nearest`` nearest together.
    """
    weights = softmax(cosines, temperature)
    right = np.diag(weights).mean()
    wrong = -np.sort(-np.where(np.eye(*weights.shape), 0, weights))
    wrong /= np.maximum(wrong.sum(1, keepdims=True), 1e-30)
    return float(right), float(wrong[:, 0].mean()), float(wrong[:, :nearest].sum(1).mean())


def source_of_choice(subset: Sequence[str]) -> str:
    """Return the source whose triplets the notebook shows: short-long reads most like a search."""
    return "short_long" if "short_long" in subset else subset[0] if subset else "public"


def search_example(held: Held, before: Vectors, after: Vectors, top: int = 3) -> tuple[str, pd.DataFrame]:
    """Return a sentence on one held-out query and its top results before and after, as a table.

    The search is among the positives of the fixed batch. The query is the one whose own positive moved most in rank,
    for better or worse, among those that have it in the top results at least once.
    """
    texts = [t.positive for t in held.triplets]
    cosines = {"before": before.queries @ before.positives.T, "after": after.queries @ after.positives.T}
    was, now = ((matrix > np.diag(matrix)[:, None]).sum(1) for matrix in cosines.values())  # ranks of the own positive
    chosen = int(np.argmax(np.where(np.minimum(was, now) < top, np.abs(was - now), -1)))
    tables = []
    for when, matrix in cosines.items():
        best = np.argsort(-matrix[chosen], kind="stable")[:top]
        columns = {
            "": when,
            "rank": range(1, len(best) + 1),
            "cosine": matrix[chosen, best].astype(float),
            "its own": ["yes" if texts[j] == texts[chosen] else "" for j in best],
            "text": [texts[j] if len(texts[j]) <= 110 else texts[j][:110].rsplit(" ", 1)[0] + " ..." for j in best],
        }
        tables.append(pd.DataFrame(columns))
    sentence = (
        f"{(was == 0).sum()} of {len(texts)} queries have their own positive nearest before training, "
        f"{(now == 0).sum()} after.\n{held.triplets[chosen].query!r}: its own positive is number {was[chosen] + 1} "
        f"before and number {now[chosen] + 1} after"
    )
    return sentence, pd.concat(tables, ignore_index=True)
