"""Hard negatives: mined from the category's own positives, with a guard against false negatives.

The released generator draws uniformly among the ten nearest positives of the whole category, over all tasks and
languages, with no guard, so such a negative is a correct answer now and then. Here that is one setting
(``random_of_top_k``, margin 0); by default a candidate must score clearly below the true positive, in its language.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from lib.common.design import Triplet
from lib.common.files import KitError
from lib.generate.overlap import words
from lib.params.data import NegativesParams

Encode = Callable[[list[str]], np.ndarray]
_FEW = 8192


def mine(triplets: Sequence[Triplet], negatives: NegativesParams, encode: Encode | None = None) -> list[Triplet]:
    """Return the triplets, in order, with negatives by each category's strategy (``llm``: its own are kept).

    ``encode(texts) -> (n, d)``; None loads the encoder that ``negatives.encoder`` names where a category is mined.
    Where no candidate passes the guard the negative is "" (in-batch negatives only). Never the own positive, nor a text
    equal to the query or to a positive of that query. Raises KitError when the encoder's rows do not fit.
    """
    chosen = list(triplets)
    for category in dict.fromkeys(triplet.category for triplet in triplets):
        strategy = negatives.strategy.get(category, "llm")
        if strategy == "llm":
            continue
        positions = [position for position, triplet in enumerate(triplets) if triplet.category == category]
        own = [triplets[position] for position in positions]
        texts, indices = [], [[]] * len(own)
        if strategy != "none":
            texts, _, indices, _ = candidates(own, negatives, encode or encoder(negatives))
        for position, triplet, best in zip(positions, own, indices, strict=True):
            window = [texts[index] for index in best if index >= 0] or [""]
            # Seeded by the triplet itself: the draw does not change when other triplets come or go before it.
            draw = random.Random(f"{negatives.seed}|{triplet.instruction}|{triplet.query}|{triplet.positive}")
            chosen[position] = replace(triplet, negative=window[0] if strategy == "nearest" else draw.choice(window))
    return chosen


def candidates(triplets: Sequence[Triplet], negatives: NegativesParams, encode: Encode) -> tuple:
    """Return (corpus, ``top_k``'s scores and indices of each triplet, scores of the true positives) of one category."""
    texts = list(dict.fromkeys(triplet.positive for triplet in triplets))
    place = {text: number for number, text in enumerate(texts)}
    own = np.array([place[triplet.positive] for triplet in triplets], np.int64)
    form = negatives.query_template
    asked = [form.replace("{instruction}", t.instruction).replace("{text}", t.query) for t in triplets]
    corpus, queries = _unit_rows(encode, texts), _unit_rows(encode, asked)
    positive = np.einsum("nd,nd->n", queries, corpus[own])
    ceiling = positive - negatives.margin * np.abs(positive) if negatives.margin else None
    groups = []  # task and language, where they must agree; a positive of several tasks belongs to the first of them
    for name, wanted in (("instruction", negatives.same_task), ("language", negatives.same_language)):
        if wanted:
            of_text = {triplet.positive: getattr(triplet, name) for triplet in reversed(triplets)}
            values = [getattr(triplet, name) for triplet in triplets] + [of_text[text] for text in texts]
            groups.append(np.split(np.unique(np.array(values, object), return_inverse=True)[1], [len(triplets)]))
    forbidden = _forbidden(triplets, texts)
    return texts, *top_k(queries, corpus, negatives.top_k, ceiling, forbidden, groups), positive


def encoder(negatives: NegativesParams) -> Encode:
    """Return the ``encode`` of the model that ``negatives.encoder`` names (the bundled MiniLM in the classroom)."""
    from lib.embedder.embedder import Embedder
    from lib.params.model import ModelParams

    model = ModelParams(name=negatives.encoder, pooling=negatives.pooling, max_length=negatives.max_length)
    return Embedder.from_params(model).encode


def _unit_rows(encode: Encode, texts: list[str]) -> np.ndarray:
    vectors = np.asarray(encode(texts), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        what = f"shape {vectors.shape} or non-finite numbers for {len(texts)} texts"
        raise KitError(f"the mining encoder returned {what}; try another negatives.encoder")
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


def top_k(
    queries: np.ndarray,
    candidates: np.ndarray,
    k: int,
    ceiling: np.ndarray | None = None,
    forbidden: Iterable[tuple[int, int]] = (),
    groups: Iterable[tuple[np.ndarray, np.ndarray]] = (),
    block: int = 256,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (scores, indices) of the k best candidates per query, ``(queries, k)``; -inf and -1 where there are fewer.

    queries ``(n, d)`` and candidates ``(m, d)``: float32 rows of unit length. ``ceiling`` ``(n,)``: only candidates
    scoring strictly below it count. ``forbidden``: (query, candidate) positions never returned. ``groups``: pairs of
    integer labels ``(n,)``, ``(m,)`` that must be equal. Equal scores are ordered by candidate position. Memory:
    ``threads x block x m`` floats beside the embeddings.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    candidates = np.ascontiguousarray(candidates, np.float32)
    banned = np.array(sorted(set(forbidden)), np.int64).reshape(-1, 2)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    indices = np.full((len(queries), k), -1, np.int64)

    def work(start: int) -> None:
        rows = slice(start, min(start + block, len(queries)))
        found = queries[rows] @ candidates.T
        low, high = np.searchsorted(banned[:, 0], [rows.start, rows.stop])
        found[banned[low:high, 0] - start, banned[low:high, 1]] = -np.inf
        for of_query, of_candidate in groups:
            found[of_query[rows, None] != of_candidate[None]] = -np.inf
        if ceiling is not None:
            found[found >= ceiling[rows, None]] = -np.inf
        # The k-th best of the first candidates bounds the k-th best of all from below: few are left to be sorted.
        few, bound = found[:, :_FEW], np.finfo(np.float32).min
        if few.shape[1] >= k:
            bound = np.maximum(np.partition(few, -k, axis=1)[:, -k, None], bound)
        flat = np.flatnonzero(found >= bound)  # five times as fast as nonzero of two dimensions
        (line, column), values = np.divmod(flat, len(candidates)), found.ravel()[flat]
        order = np.lexsort((column, -values, line))
        line, column, values = line[order], column[order], values[order]
        place = np.arange(len(line)) - np.searchsorted(line, line)
        kept = place < k
        scores[start + line[kept], place[kept]] = values[kept]
        indices[start + line[kept], place[kept]] = column[kept]

    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        list(pool.map(work, range(0, len(queries), block)))
    return scores, indices
