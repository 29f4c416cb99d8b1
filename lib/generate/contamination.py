"""Contamination: does a training text share a run of words with an evaluation text?

The test that language-model papers use (word n-grams; Brown et al. 2020, appendix C, with n = 13 there): a
triplet is contaminated when any n words in a row occur in an evaluation text. Evaluation texts shorter than n
words count only when a training text is the same as a whole, since their short runs are everyday phrases.

The n-grams of the *training* texts are kept, as sorted 64-bit numbers, and the evaluation texts stream by: a
benchmark of billions of words never has to fit in memory. Memory is about 16 bytes per training word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lib.common.triplets import Triplet
from lib.generate.duplicates import Numbers, runs, words

SHORTEST = 4  # evaluation texts of fewer words are never contamination


@dataclass
class Contamination:
    """Which triplets share text with which sets.

    ``hits``: {position of the triplet: names of the sets}; ``sets``: {set: {"texts", "texts_touched", "triplets",
    "example"}}, counts and one shared run of words to look at ("" when the set is clean).
    """

    hits: dict[int, tuple[str, ...]] = field(default_factory=dict)
    sets: dict[str, dict] = field(default_factory=dict)


def ngrams(text: str, n: int, numbers: Numbers) -> np.ndarray:
    """Return the 64-bit hash of every n words in a row; of the whole text when it has SHORTEST to n - 1 words."""
    found = words(text)
    return runs(found, min(n, len(found)), numbers) if len(found) >= SHORTEST else np.empty(0, np.uint64)


def find(triplets: Sequence[Triplet], sets: Mapping[str, Iterable[str]], n: int = 8) -> Contamination:
    """Compare all texts of ``triplets`` with every set's texts, ``{set: texts}``; texts may be a stream."""
    numbers = Numbers()
    parts, owners = [], []
    for position, triplet in enumerate(triplets):
        for text in (triplet.query, triplet.positive, triplet.negative):
            hashes = ngrams(text, n, numbers)
            parts.append(hashes)
            owners.append(np.full(len(hashes), position, np.int64))
    known = np.concatenate(parts) if parts else np.empty(0, np.uint64)
    owner = np.concatenate(owners) if owners else np.empty(0, np.int64)
    order = np.argsort(known, kind="stable")
    known, owner = known[order], owner[order]
    result, found = Contamination(), {}
    for name, texts in sets.items():
        result.sets[name] = _compare(known, owner, texts, n, numbers, name, found)
    result.hits = {position: tuple(names) for position, names in sorted(found.items())}
    return result


def _compare(
    known: np.ndarray,
    owner: np.ndarray,
    texts: Iterable[str],
    n: int,
    numbers: Numbers,
    name: str,
    found: dict[int, list[str]],
) -> dict:
    """Stream one set past the sorted training n-grams; add its hits to ``found``, return its report row."""
    row = {"texts": 0, "texts_touched": 0, "triplets": 0, "example": ""}
    mine: set[int] = set()
    for text in texts:
        row["texts"] += 1
        hashes = ngrams(text, n, numbers)
        low = np.searchsorted(known, hashes, side="left")
        high = np.searchsorted(known, hashes, side="right")
        touched = np.flatnonzero(high > low)
        if len(touched):
            row["texts_touched"] += 1
            row["example"] = row["example"] or " ".join(words(text)[touched[0] : touched[0] + n])
            for position in touched:
                mine.update(owner[low[position] : high[position]].tolist())
    for position in sorted(mine):
        found.setdefault(position, []).append(name)
    row["triplets"] = len(mine)
    return row
