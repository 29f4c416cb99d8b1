"""Hard negatives: mined from the category's own positives, with a guard against false negatives.

The released generator draws uniformly among the ten nearest positives of the whole category, over all tasks and
languages, with no guard (paper, section 2.4 of our notes): near-duplicate tasks make such a negative a correct
answer now and then. Here that is one setting (``random_of_top_k``, margin 0), seeded; by default a candidate must
score clearly below the true positive and be in its language. The LLM's own negatives (short-long, long-short,
STS, bitext) are kept where the strategy says ``llm``.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lib.common.files import KitError
from lib.common.triplets import Triplet
from lib.generate.duplicates import words
from lib.generate.nearest import top_k

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
        if strategy == "none":
            for position in positions:
                chosen[position] = replace(chosen[position], negative="")
        elif strategy != "llm":
            encode = encode or encoder(negatives)
            rows = [triplets[position] for position in positions]
            found = candidates(rows, negatives, encode)
            for number, position in enumerate(positions):
                negative = _choose(rows[number], found, number, negatives, strategy)
                chosen[position] = replace(rows[number], negative=negative)
    return chosen


def candidates(triplets: Sequence[Triplet], negatives: NegativesParams, encode: Encode) -> Candidates:
    """Return the allowed candidates of each triplet of one category, best first (exact search, in blocks)."""
    texts = list(dict.fromkeys(triplet.positive for triplet in triplets))
    place = {text: number for number, text in enumerate(texts)}
    own = np.array([place[triplet.positive] for triplet in triplets], np.int64)
    corpus = _encode(encode, texts)
    template = negatives.query_template
    queries = _encode(
        encode,
        [
            template.replace("{instruction}", triplet.instruction).replace("{text}", triplet.query)
            for triplet in triplets
        ],
    )
    positive = np.einsum("nd,nd->n", queries, corpus[own])
    ceiling = positive - negatives.margin * np.abs(positive) if negatives.margin else None
    scores, indices = top_k(
        queries,
        corpus,
        negatives.skip + negatives.top_k,
        ceiling=ceiling,
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


def _encode(encode: Encode, texts: list[str]) -> np.ndarray:
    vectors = np.asarray(encode(texts), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise KitError(
            f"the mining encoder returned shape {vectors.shape} or non-finite numbers for {len(texts)} "
            "texts; try another negatives.encoder"
        )
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _forbidden(triplets: Sequence[Triplet], texts: Sequence[str]) -> list[tuple[int, int]]:
    """Return the (triplet, text) pairs that are no negatives: the query itself and every positive of that query."""
    alike: dict[tuple, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        alike[tuple(words(text))].append(number)
    positives: dict[tuple, set[int]] = defaultdict(set)
    keys = [(triplet.instruction, tuple(words(triplet.query))) for triplet in triplets]
    for triplet, key in zip(triplets, keys, strict=True):
        positives[key].update(alike[tuple(words(triplet.positive))])
    return [
        (number, text)
        for number, key in enumerate(keys)
        for text in sorted(positives[key] | set(alike.get(key[1], ())))
    ]


def _groups(triplets: Sequence[Triplet], texts: Sequence[str], negatives: NegativesParams) -> list[tuple]:
    """Return the (triplet labels, candidate labels) that must agree: task and language, where asked for."""
    groups = []
    for name, wanted in (("instruction", negatives.same_task), ("language", negatives.same_language)):
        if wanted:
            of_text = {}
            for triplet in triplets:  # a positive of several tasks belongs to the first of them
                of_text.setdefault(triplet.positive, getattr(triplet, name))
            numbers = {value: number for number, value in enumerate(dict.fromkeys(of_text.values()))}
            groups.append(
                (
                    np.array([numbers.get(getattr(t, name), -1) for t in triplets], np.int32),
                    np.array([numbers[of_text[text]] for text in texts], np.int32),
                )
            )
    return groups


def _choose(triplet: Triplet, found: Candidates, row: int, negatives: NegativesParams, strategy: str) -> str:
    window = [int(index) for index in found.indices[row, negatives.skip :] if index >= 0]
    if not window:
        return ""
    if strategy == "nearest":
        return found.texts[window[0]]
    # Seeded by the triplet itself: the draw does not change when other triplets come or go before it.
    draw = random.Random(f"{negatives.seed}|{triplet.instruction}|{triplet.query}|{triplet.positive}")
    return found.texts[draw.choice(window)]
