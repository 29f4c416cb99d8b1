"""Words in common: near duplicates within the data, and runs of words shared with evaluation texts (contamination).

Every word is a 64-bit number and every run of words a 64-bit hash of its numbers, so results depend on the texts and
the thresholds, never on PYTHONHASHSEED or the order of sets.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from lib.common.bundled import data_path
from lib.common.design import Triplet
from lib.common.files import read_jsonl

PERMUTATIONS = 128  # of MinHash
SHORTEST = 4  # evaluation texts of fewer words are never contamination
# Keys under which the bundled evaluation sets keep text; labels, scores and ids are not text.
_TEXT_KEYS = "title text sentence1 sentence2 query positive negative human_summaries machine_summaries".split()
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying mixes all 64 bits
# Scripts without spaces: a character is one word for overlap; for lengths, this many characters are, roughly, a word.
_UNSPACED = {
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff": 1.7,  # Japanese, Chinese
    "\u0e00-\u0eff": 4.0,  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff": 4.0,  # Burmese, Khmer
}
_COUNTERS = [(re.compile(f"[{characters}]"), size) for characters, size in _UNSPACED.items()]
_WORD = re.compile(f"[{''.join(_UNSPACED)}]|(?:(?![{''.join(_UNSPACED)}])" + r"\w)+")
_ASCII_WORD = re.compile(r"\w+", re.ASCII)


def words(text: str) -> list[str]:
    """Return the text's words in compatibility form, case-folded, without punctuation."""
    if text.isascii():  # the same result, three times as fast
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def count_words(text: str) -> int:
    """Return about how many words a text has, between spaces ("can't" is one); scripts without, by their characters."""
    count = 0.0
    if not text.isascii():
        for pattern, size in _COUNTERS:
            count += len(pattern.findall(text)) / size
            text = pattern.sub(" ", text)
    return round(count + sum(any(map(str.isalnum, piece)) for piece in text.split())) or int(count > 0)


def shingles(text: str, size: int = 3) -> frozenset[str]:
    """Return the set of ``size`` words in a row (the whole text when it is shorter)."""
    found = words(text)
    return frozenset(" ".join(found[i : i + size]) for i in range(max(len(found) - size + 1, 1)))


def overlap(a: str, b: str) -> float:
    """Return the share of the shorter text's distinct words that the longer one has too (0 to 1)."""
    first, second = set(words(a)), set(words(b))
    return len(first & second) / max(min(len(first), len(second)), 1)


@lru_cache(1 << 20)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def runs(found: Sequence[str], size: int) -> np.ndarray:
    """Return a 64-bit hash of every ``size`` words in a row, ``(len(found) - size + 1,)``.

    ``size`` is part of the hash: a short text is never taken for a run inside a longer one.
    """
    values = np.fromiter(map(_number, found), np.uint64, len(found))
    total = np.full(max(len(found) - size + 1, 0), size, np.uint64)
    for offset in range(size):
        total = total * _FACTOR + values[offset : offset + len(total)]
    return total ^ (total >> np.uint64(31))


def near_duplicates(texts: Sequence[str], threshold: float = 0.7) -> list[int]:
    """Return for each text the index of the earlier kept text it repeats, or -1 when it is the first of its kind.

    Two texts are one when the Jaccard similarity of their word trigrams is at least ``threshold``. MinHash (rensa) only
    saves the comparison of all pairs; the exact similarity decides. Only kept texts are compared with, in order, so a
    chain of small changes is not swallowed whole.
    """
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold, PERMUTATIONS, bands(threshold))
    sets, first_of, twins = [], {}, []
    for number, text in enumerate(texts):
        found = words(text)
        members = np.unique(runs(found, min(3, max(len(found), 1))))
        key = members.tobytes()
        sets.append(members)
        if not len(members) or key in first_of:
            twins.append(first_of.get(key, -1))
            continue
        sketch = RMinHash(PERMUTATIONS, 0)
        sketch.update([key[place : place + 8] for place in range(0, len(key), 8)])
        twins.append(next((j for j in sorted(index.query(sketch)) if _jaccard(members, sets[j]) >= threshold), -1))
        if twins[-1] < 0:
            index.insert(number, sketch)
            first_of[key] = number
    return twins


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def bands(threshold: float) -> int:
    """Return the fewest LSH bands that find a pair at ``threshold`` with a probability of 99.9 %."""
    counts = (1, 2, 4, 8, 16, 32, 64)
    return next((n for n in counts if (1 - threshold ** (PERMUTATIONS // n)) ** n <= 0.001), PERMUTATIONS)


def ngrams(text: str, n: int) -> np.ndarray:
    """Return the 64-bit hash of every n words in a row; of the whole text when it has SHORTEST to n - 1 words."""
    found = words(text)
    return runs(found, min(n, len(found))) if len(found) >= SHORTEST else np.empty(0, np.uint64)


def find(
    triplets: Sequence[Triplet], sets: Mapping[str, Iterable[str]], n: int = 8
) -> tuple[dict[int, tuple[str, ...]], dict[str, dict]]:
    """Compare all texts of ``triplets`` with every set's texts, ``{set: texts}``; texts may be a stream.

    Returns {position of a triplet that shares text: names of the sets}, and {set: {"texts", "texts_touched",
    "triplets", "example"}}: counts and one shared run of words to look at.

    A triplet is contaminated when any n words in a row occur in an evaluation text (Brown et al. 2020, appendix C, with
    n = 13); of shorter evaluation texts, the whole. The n-grams of the *training* texts are kept, about 16 bytes a
    word, and the evaluation texts stream by: a benchmark of billions of words never has to fit in memory.
    """
    parts, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for position, triplet in enumerate(triplets):
        for text in (triplet.query, triplet.positive, triplet.negative):
            parts.append(ngrams(text, n))
            owners.append(np.full(len(parts[-1]), position, np.int64))
    known, owner = np.concatenate(parts), np.concatenate(owners)
    order = np.argsort(known, kind="stable")
    known, owner = known[order], owner[order]
    hits, reports = {}, {}
    for name, texts in sets.items():
        count, marked, example, touched = 0, 0, "", set()
        for text in texts:
            count += 1
            hashes = ngrams(text, n)
            low, high = (np.searchsorted(known, hashes, side=side) for side in ("left", "right"))
            shared = np.flatnonzero(high > low)
            if len(shared):
                marked += 1
                example = example or " ".join(words(text)[shared[0] : shared[0] + n])
                for place in shared:
                    touched.update(owner[low[place] : high[place]].tolist())
        for position in sorted(touched):
            hits.setdefault(position, []).append(name)
        reports[name] = {"texts": count, "texts_touched": marked, "triplets": len(touched), "example": example}
    return {position: tuple(names) for position, names in sorted(hits.items())}, reports


def suite_texts(folder: str | Path | None = None) -> dict[str, list[str]]:
    """Return every text of every evaluation set in ``folder`` (default: the bundled ones), ``{set: [text, ...]}``."""
    texts: dict[str, dict[str, None]] = {}
    for path in sorted(Path(folder or data_path("classroom/suite")).glob("*.jsonl")):
        found = texts.setdefault(path.name.split(".")[0], {})
        for row in read_jsonl(path) if not path.name.endswith(".qrels.jsonl") else ():
            for key in _TEXT_KEYS:
                value = row.get(key) or []
                found.update(dict.fromkeys([value] if isinstance(value, str) else value))
    return {name: list(found) for name, found in sorted(texts.items())}
