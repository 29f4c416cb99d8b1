"""Single examples: a page to read, the most similar pairs, and a copy corrupted on purpose to test the rules with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from lib.common.design import CODES, Triplet
from lib.generate.overlap import jaccard, shingles


def closest(data: pd.DataFrame, threshold: float = 0.25, limit: int = 5000) -> pd.DataFrame:
    """Return the most similar pair of examples of each generator and category (exact Jaccard of word trigrams).

    The first ``limit`` examples of each are compared; pairs below ``threshold`` are not reported. Cleaning has
    removed those above ``cleaning.near_duplicate``.
    """
    rows = []
    for (generator, category), part in data.groupby(["generator", "category"], sort=False):
        part = part.head(limit)
        texts = list(part["query"] + "\n" + part["positive"])
        sets = [shingles(text) for text in texts]
        pairs = ((jaccard(sets[i], sets[j]), i, j) for i, j in _candidates(sets))
        score, i, j = max(pairs, default=(0.0, 0, 0), key=lambda pair: (pair[0], -pair[1], -pair[2]))
        if score >= threshold:
            rows.append(
                {
                    "generator": generator,
                    "category": category,
                    "similarity": round(score, 2),
                    "one": texts[i][:90],
                    "other": texts[j][:90],
                }
            )
    return pd.DataFrame(rows, columns=["generator", "category", "similarity", "one", "other"])


def _candidates(sets: Sequence[frozenset[str]]) -> set[tuple[int, int]]:
    """Return the pairs that share at least one trigram, by way of an index of trigrams."""
    places: dict[str, list[int]] = {}
    pairs = set()
    for number, members in enumerate(sets):
        for member in sorted(members):
            seen = places.setdefault(member, [])
            pairs.update((other, number) for other in seen[-50:])
            seen.append(number)
    return pairs


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
        reason = list(ways)[number % len(ways)]
        copy[position] = ways[reason](copy[position])
        expected[position] = reason
    return copy, expected


def page(data: pd.DataFrame, n: int = 1, seed: int = 0) -> str:
    """Return ``n`` random examples per category as Markdown, generators one after the other, to be read."""
    blocks = []
    for code in CODES.values():
        for generator, part in data[data["code"] == code].groupby("generator", sort=False):
            for row in part.sample(min(n, len(part)), random_state=seed).itertuples():
                texts = "\n".join(
                    f"- **{name}** ({words} words): {' '.join(text.split()) or 'none, in-batch negatives only'}"
                    for name, text, words in (
                        ("query", row.query, row.words_query),
                        ("positive", row.positive, row.words_positive),
                        ("negative", row.negative, row.words_negative),
                    )
                )
                blocks.append(f"**{row.category}**, {generator}, `{row.id}`, {row.language}\n\n*{row.task}*\n\n{texts}")
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
