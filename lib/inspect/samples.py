"""Single examples: a page to read, the most similar pairs, and a copy corrupted on purpose to test the rules with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lib.common.design import CODES, Triplet
from lib.generate.overlap import shingles


def closest(data: pd.DataFrame, threshold: float = 0.25, limit: int = 5000) -> pd.DataFrame:
    """Return the most similar pair of examples of each generator and category (exact Jaccard of word trigrams).

    The first ``limit`` examples of each are compared; pairs below ``threshold`` are not reported. Cleaning has
    removed those above ``cleaning.near_duplicate``.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    rows = []
    for (generator, category), part in data.groupby(["generator", "category"], sort=False):
        part = part.head(limit)
        texts = list(part["query"] + "\n" + part["positive"])
        members = CountVectorizer(analyzer=shingles, dtype=np.int32).fit_transform(texts)
        sizes, both = members.sum(axis=1).A1, (members @ members.T).tocoo()
        one, other, shared = both.row, both.col, both.data
        score = np.where(one < other, shared / (sizes[one] + sizes[other] - shared), 0.0)
        best = np.lexsort((other, one, -score))[0]
        if score[best] >= threshold:
            i, j = one[best], other[best]
            rows.append((generator, category, round(score[best], 2), texts[i][:90], texts[j][:90]))
    return pd.DataFrame(rows, columns=["generator", "category", "similarity", "one", "other"])


def corrupt(triplets: Sequence[Triplet], n: int = 12, seed: int = 0) -> tuple[list[Triplet], dict[int, str]]:
    """Return a copy with ``n`` triplets corrupted in known ways, and {position: reason that must be found}."""
    ways = {
        "refusal": lambda t: replace(t, positive="I'm sorry, but I can't help with that."),
        "query_equals_positive": lambda t: replace(t, positive=t.query),
        "positive_equals_negative": lambda t: replace(t, negative=t.positive.upper()),
        "empty": lambda t: replace(t, query=" ... "),
    }
    copy, expected = list(triplets), {}
    for number, position in enumerate(sorted(random.Random(seed).sample(range(len(copy)), min(n, len(copy))))):
        reason = expected[position] = list(ways)[number % len(ways)]
        copy[position] = ways[reason](copy[position])
    return copy, expected


def page(data: pd.DataFrame, n: int = 1, seed: int = 0) -> str:
    """Return ``n`` random examples per category as Markdown, generators one after the other, to be read."""
    blocks = []
    for code in CODES.values():
        for generator, part in data[data["code"] == code].groupby("generator", sort=False):
            for row in part.sample(min(n, len(part)), random_state=seed).to_dict("records"):
                texts = "\n".join(
                    f"- **{name}** ({row[f'words_{name}']} words): "
                    f"{' '.join(row[name].split()) or 'none, in-batch negatives only'}"
                    for name in ("query", "positive", "negative")
                )
                head = f"**{row['category']}**, {generator}, `{row['id']}`, {row['language']}\n\n*{row['task']}*"
                blocks.append(f"{head}\n\n{texts}")
    return "\n\n---\n\n".join(blocks)


def word_cheats(data: pd.DataFrame) -> pd.DataFrame:
    """Return how often two rules that cannot read tell positive from negative, per generator and category.

    ``most words wins``: the positive shares more words with the query than the negative does; ``fewest words wins``:
    fewer. A tie wins neither; triplets without a negative are left out.
    """
    both = data.dropna(subset=["overlap_positive", "overlap_negative"])
    gap = both["overlap_positive"] - both["overlap_negative"]
    won = both.assign(**{"most words wins": gap > 0, "fewest words wins": gap < 0})
    grouped = won.groupby(["generator", "category"], sort=False)[["most words wins", "fewest words wins"]]
    return grouped.mean().reset_index()
