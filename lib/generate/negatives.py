"""Hard negatives: mined from the category's own positives, with a guard against false negatives.

The released generator draws uniformly among the ten nearest positives of the whole category, over all tasks and
languages, with no guard: near-duplicate tasks make such a negative a correct answer now and then. Here that is one
setting (``random_of_top_k``, margin 0), seeded; by default a candidate must score clearly below the true positive and
be in its language. The LLM's own negatives (short-long, long-short, STS, bitext) are kept where the strategy says
``llm``.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lib.common.design import Triplet
from lib.common.files import KitError
from lib.generate.overlap import words

if TYPE_CHECKING:
    from lib.params.params import NegativesParams

Encode = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True)
class Candidates:
    """What was found for one category before one candidate is chosen.

    ``texts``: the corpus (distinct positives). ``scores``, ``indices`` ``(n, skip + top_k)``: best allowed
    candidates of each triplet, -inf and -1 where there are fewer. ``positive``: score of the true positive ``(n,)``.
    """

    texts: list[str]
    scores: np.ndarray
    indices: np.ndarray
    positive: np.ndarray


def mine(triplets: Sequence[Triplet], negatives: NegativesParams, encode: Encode | None = None) -> list[Triplet]:
    """Return the triplets, in order, with their negatives chosen by each category's strategy.

    ``encode(texts) -> (n, d)`` rows in input order (normalised here); the default is the encoder that
    ``negatives.encoder`` names, loaded only when a category is mined. Where no candidate passes the guard the
    negative is "" (the batch then supplies in-batch negatives only). Never the own positive, never a text equal
    to the query or to a positive of the same query. Raises KitError when the encoder's rows do not fit.
    """
    chosen = list(triplets)
    by_category: dict[str, list[int]] = defaultdict(list)
    for position, triplet in enumerate(triplets):
        by_category[triplet.category].append(position)
    for category, positions in by_category.items():
        strategy = negatives.strategy.get(category, "llm")
        if strategy == "llm":
            continue
        found = None
        if strategy != "none":
            encode = encode or encoder(negatives)
            found = candidates([triplets[position] for position in positions], negatives, encode)
        for row, position in enumerate(positions):
            negative = choose(triplets[position], found, row, negatives) if found else ""
            chosen[position] = replace(triplets[position], negative=negative)
    return chosen


def choose(triplet: Triplet, found: Candidates, row: int, negatives: NegativesParams) -> str:
    """Return the negative of the triplet in ``row`` of its category: the nearest, or a seeded draw from the top k."""
    window = [int(index) for index in found.indices[row, negatives.skip :] if index >= 0]
    if not window:
        return ""
    if negatives.strategy[triplet.category] == "nearest":
        return found.texts[window[0]]
    # Seeded by the triplet itself: the draw does not change when other triplets come or go before it.
    draw = random.Random(f"{negatives.seed}|{triplet.instruction}|{triplet.query}|{triplet.positive}")
    return found.texts[draw.choice(window)]


def candidates(triplets: Sequence[Triplet], negatives: NegativesParams, encode: Encode) -> Candidates:
    """Return the allowed candidates of each triplet of one category, best first (exact search, in blocks)."""
    texts = list(dict.fromkeys(triplet.positive for triplet in triplets))
    place = {text: number for number, text in enumerate(texts)}
    own = np.array([place[triplet.positive] for triplet in triplets], np.int64)
    template = negatives.query_template
    asked = [template.replace("{instruction}", t.instruction).replace("{text}", t.query) for t in triplets]
    corpus, queries = _unit_rows(encode, texts), _unit_rows(encode, asked)
    positive = np.einsum("nd,nd->n", queries, corpus[own])
    scores, indices = top_k(
        queries,
        corpus,
        negatives.skip + negatives.top_k,
        ceiling=positive - negatives.margin * np.abs(positive) if negatives.margin else None,
        forbidden=_forbidden(triplets, texts),
        groups=_groups(triplets, texts, negatives),
        block=negatives.block,
        chunk=negatives.chunk,
    )
    return Candidates(texts, scores, indices, positive)


def encoder(negatives: NegativesParams) -> Encode:
    """Return the ``encode`` of the model that ``negatives.encoder`` names (the bundled MiniLM in the classroom)."""
    from lib.embedder.embedder import Embedder
    from lib.params.params import ModelParams

    model = ModelParams(name=negatives.encoder, pooling=negatives.pooling, max_length=negatives.max_length)
    return Embedder.from_params(model).encode


def _unit_rows(encode: Encode, texts: list[str]) -> np.ndarray:
    vectors = np.asarray(encode(texts), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise KitError(
            f"the mining encoder returned shape {vectors.shape} or non-finite numbers for {len(texts)} "
            "texts; try another negatives.encoder"
        )
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _forbidden(triplets: Sequence[Triplet], texts: Sequence[str]) -> list[tuple[int, int]]:
    """Return the (triplet, text) pairs that are no negatives: the query itself and every positive of that query."""
    alike: dict[tuple, set[int]] = defaultdict(set)
    for number, text in enumerate(texts):
        alike[tuple(words(text))].add(number)
    positives: dict[tuple, set[int]] = defaultdict(set)
    keys = [(triplet.instruction, tuple(words(triplet.query))) for triplet in triplets]
    for triplet, key in zip(triplets, keys, strict=True):
        positives[key] |= alike[tuple(words(triplet.positive))]
    return [(row, text) for row, key in enumerate(keys) for text in positives[key] | alike.get(key[1], set())]


def _groups(triplets: Sequence[Triplet], texts: Sequence[str], negatives: NegativesParams) -> list[tuple]:
    """Return the (triplet labels, candidate labels) that must agree: task and language, where asked for."""
    groups = []
    for name, wanted in (("instruction", negatives.same_task), ("language", negatives.same_language)):
        if wanted:
            of_text = {}
            for triplet in triplets:  # a positive of several tasks belongs to the first of them
                of_text.setdefault(triplet.positive, getattr(triplet, name))
            numbers = {value: number for number, value in enumerate(dict.fromkeys(of_text.values()))}
            of_triplets = np.array([numbers.get(getattr(t, name), -1) for t in triplets], np.int32)
            groups.append((of_triplets, np.array([numbers[of_text[text]] for text in texts], np.int32)))
    return groups


def top_k(
    queries: np.ndarray,
    candidates: np.ndarray,
    k: int,
    *,
    ceiling: np.ndarray | None = None,
    forbidden: Iterable[tuple[int, int]] = (),
    groups: Iterable[tuple[np.ndarray, np.ndarray]] = (),
    block: int = 1024,
    chunk: int = 8192,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (scores, indices) of the k best candidates per query, ``(queries, k)``; -inf and -1 where there are fewer.

    queries ``(n, d)`` and candidates ``(m, d)``: float32 rows of unit length, so that the inner product is the
    cosine. ``ceiling`` ``(n,)``: only candidates scoring strictly below it count. ``forbidden``: (query, candidate)
    positions never returned. ``groups``: pairs of integer labels ``(n,)``, ``(m,)`` that must be equal.
    Equal scores are ordered by candidate position. The result equals a full sort, but no query x candidate matrix
    exists: memory is ``threads x block x chunk`` floats beside the embeddings (tests/benchmarks/mining.py).
    """
    queries = np.ascontiguousarray(queries, np.float32)
    candidates = np.ascontiguousarray(candidates, np.float32)
    ceiling = np.full(len(queries), np.inf, np.float32) if ceiling is None else np.asarray(ceiling, np.float32)
    banned = np.array(sorted(set(forbidden)), np.int64).reshape(-1, 2)
    labels = [(np.asarray(a), np.asarray(b)) for a, b in groups]
    scores = np.full((len(queries), k), -np.inf, np.float32)
    indices = np.full((len(queries), k), -1, np.int64)

    def work(start: int) -> None:
        rows = slice(start, min(start + block, len(queries)))
        low, high = np.searchsorted(banned[:, 0], [rows.start, rows.stop])
        own = banned[low:high] - [rows.start, 0]
        for first in range(0, len(candidates), chunk):
            columns = slice(first, min(first + chunk, len(candidates)))
            found = queries[rows] @ candidates[columns].T
            inside = own[(own[:, 1] >= columns.start) & (own[:, 1] < columns.stop)]
            found[inside[:, 0], inside[:, 1] - columns.start] = -np.inf
            for of_query, of_candidate in labels:
                found[of_query[rows, None] != of_candidate[None, columns]] = -np.inf
            _merge(scores[rows], indices[rows], found, ceiling[rows], columns.start)

    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        list(pool.map(work, range(0, len(queries), block)))
    return scores, indices


def _merge(scores: np.ndarray, indices: np.ndarray, found: np.ndarray, ceiling: np.ndarray, offset: int) -> None:
    """Fold one tile of scores into the running best (in place).

    Most scores of a tile are below the row's k-th best so far: one comparison finds the few that are not, and
    only those are checked against the ceiling and sorted.
    """
    k, width = scores.shape[1], found.shape[1]
    if offset == 0 and width > 4 * k:  # the first tile: nothing is known yet, so find its own k-th best
        allowed = np.where(found < ceiling[:, None], found, -np.inf)
        better = found >= np.partition(allowed, width - k, axis=1)[:, width - k, None]
    else:
        better = found > scores[:, -1:]
    flat = np.flatnonzero(better)
    values, rows = found.ravel()[flat], flat // width
    keep = (values < ceiling[rows]) & (values > -np.inf)
    values, rows, columns = values[keep], rows[keep], flat[keep] % width + offset
    if not len(rows):
        return
    touched, counts = np.unique(rows, return_counts=True)
    line = np.repeat(np.arange(len(touched)), counts)
    place = k + np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    all_scores = np.full((len(touched), k + counts.max()), -np.inf, np.float32)
    all_indices = np.full(all_scores.shape, -1, np.int64)
    all_scores[:, :k], all_indices[:, :k] = scores[touched], indices[touched]
    all_scores[line, place], all_indices[line, place] = values, columns
    # A stable sort: those found in earlier tiles stand first and have lower positions, so ties keep that order.
    order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
    scores[touched] = np.take_along_axis(all_scores, order, axis=1)
    indices[touched] = np.take_along_axis(all_indices, order, axis=1)
