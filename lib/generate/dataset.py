"""Dataset: one category from prompt to training file: ask, parse, clean, mine negatives, write.

Notebook 01 calls ``make`` once per category and ``finish`` at the end. Files below ``out_dir``:
``triplets/<category>.jsonl``, ``cleaning/<category>.json`` (what was dropped and why), ``public.jsonl``,
``generation.json`` and, last, ``manifest.json`` with the digests of all triplet files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lib.common.design import Triplet, write_triplets
from lib.common.files import KitError, write_json
from lib.generate.cleaning import clean
from lib.generate.costs import write_report
from lib.generate.generate import generate
from lib.generate.negatives import encoder, mine
from lib.generate.parsing import to_triplets
from lib.generate.released import load_released
from lib.generate.sources import public_pairs
from lib.params.provenance import write_manifest

if TYPE_CHECKING:
    import numpy as np

    from lib.params.params import Params

_DUPLICATES = ("duplicate", "near_duplicate")


@dataclass
class Maker:
    """What all categories of one run share: parameters, folder, evaluation texts, and an encoder loaded once.

    ``evaluation_texts``: {set: its texts}, against which contamination is checked (``lib.score.hub.evaluation_texts``).
    ``encode``: ``(texts) -> (n, d)`` for mining; None loads the model that ``negatives.encoder`` names when needed.
    """

    params: Params
    evaluation_texts: Mapping[str, Iterable[str]]
    out_dir: str | Path | None = None
    encode: Callable[[list[str]], np.ndarray] | None = None
    counts: dict[str, dict] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The data folder."""
        return Path(self.out_dir or self.params.data_dir)

    def make(self, category: str, progress: bool = True) -> list[Triplet]:
        """Return the finished triplets of a category and write them. Raises KitError when none is left."""
        generation = self.params.generation
        if generation.backend == "released":  # triplets that others released come without answers
            rows, rejected = [], Counter()
            n = generation.n.get(category, 0)
            triplets = load_released(generation.location, generation.model, category, n, generation.seed)
        else:
            rows = generate(self.params, category, out_dir=self.out, progress=progress)
            triplets, rejected = to_triplets(category, rows)
        asked = len(rows) or len(triplets)
        slots = {row["id"]: row["slots"] for row in rows} if rows else None
        kept, report = clean(triplets, self.params.cleaning, slots, self.evaluation_texts)
        write_json(self.out / "cleaning" / f"{category}.json", {**report, "parsing": dict(sorted(rejected.items()))})
        if not kept:
            raise KitError(
                f"no {category} triplet is left of {asked} answers; "
                f"see {self.out / 'cleaning' / category}.json or try another generation.model"
            )
        mined = mine(kept, self.params.negatives, self._encode)
        write_triplets(self.out / "triplets" / f"{category}.jsonl", mined)
        reasons = report["reasons"]
        self.counts[category] = {
            "asked": asked,
            "parsed": len(triplets),
            "rejected": dict(rejected),
            "cleaned": {reason: n for reason, n in reasons.items() if reason not in _DUPLICATES},
            "duplicates": sum(reasons.get(reason, 0) for reason in _DUPLICATES),
            "valid": len(mined),
            "without_negative": sum(not triplet.negative for triplet in mined),
        }
        return mined

    def _encode(self, texts: list[str]) -> np.ndarray:
        if self.encode is None:
            self.encode = encoder(self.params.negatives)
        return self.encode(texts)

    def finish(self) -> Path:
        """Write public pairs, ``generation.json`` and, last, the manifest; return its path."""
        suites = None if self.params.scoring.suite == "classroom" else self.evaluation_texts
        write_triplets(self.out / "public.jsonl", public_pairs(self.params.public, suites))
        write_report(self.params, self.counts, self.out)
        return write_manifest(self.out, self.params)
