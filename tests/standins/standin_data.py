"""Stand-ins for training data: bundled texts in the files from which the real ones are read."""

from __future__ import annotations

from pathlib import Path

from lib.common import bundled
from lib.common.design import CATEGORIES, CODES, Triplet, write_triplets
from lib.common.files import read_json, write_jsonl
from lib.generate.answers import responses
from lib.generate.overlap import suite_texts
from lib.generate.parsing import to_triplets
from lib.generate.released import config_name

ROWS = 150  # per public data set: the fourteen together are one batch of 2,048 and a rest


def texts() -> list[str]:
    """Return the bundled texts, each once: what the stand-ins' tokenizers are trained on."""
    answers = [row["response"] for category in CODES for row in responses(category)]
    return list(dict.fromkeys([*answers, *(text for found in suite_texts().values() for text in found)]))


def triplets(category: str) -> list[Triplet]:
    """Return the triplets of a category's bundled answers, in order."""
    return to_triplets(category, responses(category))[0]


def write_public(folder: Path) -> None:
    """Write the public E5 data's stand-in: one file per data set with ``query``, ``positive`` and ``negative``.

    Where a bundled triplet has no negative, the next one's positive is taken. Each file repeats thirty rows, since a
    step embeds each distinct text once, so that a step of 2,048 is quick; the first is longer than any model reads.
    """
    rows = []
    for category in CATEGORIES:
        found = triplets(category)
        rows += [
            {"query": t.query, "positive": t.positive, "negative": t.negative or after.positive}
            for t, after in zip(found, [*found[1:], found[0]], strict=True)
        ]
    rows.sort(key=lambda row: sum(map(len, row.values())))
    long = {name: " ".join(row[name] for row in rows[-20:]) for name in rows[0]}
    names = [name for name in read_json(bundled.data_path("e5_instructions.json")) if name]
    for number, name in enumerate(names):
        few = rows[number * 30 :][:30]
        write_jsonl(folder / f"{name}.jsonl", [long, *(few[i % 30] for i in range(1, ROWS))])


def write_released(folder: Path, generator: str) -> None:
    """Write the bundled triplets as a generator's released data: a folder per category (``lib.generate.released``)."""
    for category in CODES:
        write_triplets(folder / config_name(generator, category) / "train.jsonl", triplets(category))
