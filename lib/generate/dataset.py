"""Dataset: one category from prompt to training file, what it cost, and equal shares of several generators.

Notebook 01 calls ``Maker.make`` once per category and ``finish`` at the end. Files below ``out_dir``: ``triplets/``,
``cleaning/`` (what was dropped and why), ``public.jsonl``, ``generation.json`` (counts and tokens, the same however
often the run was interrupted; seconds lie apart, in ``timing/``) and, last, ``manifest.json`` with all digests.
"""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.design import LABELS, Triplet, read_triplets, write_triplets
from lib.common.files import (
    KitError,
    digest_file,
    read_json,
    read_jsonl,
    write_bytes,
    write_digests,
    write_json,
    writing,
)
from lib.generate.cleaning import clean
from lib.generate.generate import generate, money
from lib.generate.negatives import encoder, mine
from lib.generate.parsing import to_triplets
from lib.generate.released import load_released, public_pairs
from lib.params.params import Params, answering, generators, of_run
from lib.params.provenance import MADE, write_manifest

MANIFEST = "manifest.json"


@dataclass
class Maker:
    """What all categories of one run share: parameters, folder, evaluation texts, and an encoder loaded once.

    ``evaluation_texts``: {set: its texts}, against which contamination is checked.
    ``encode``: ``(texts) -> (n, d)`` for mining; None loads the model that ``negatives.encoder`` names when needed.
    """

    params: Params
    evaluation_texts: Mapping[str, Iterable[str]]
    out_dir: str | Path | None = None
    encode: Callable[[list[str]], np.ndarray] | None = None
    counts: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.out = Path(self.out_dir or self.params.data_dir)

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
        slots = {row["id"]: row["slots"] for row in rows}
        kept, report = clean(triplets, self.params.cleaning, slots, self.evaluation_texts)
        write_json(self.out / "cleaning" / f"{category}.json", {**report, "parsing": dict(sorted(rejected.items()))})
        if not kept:
            fix = f"see {self.out / 'cleaning' / category}.json or try another generation.model"
            raise KitError(f"no {category} triplet is left of {asked} answers; {fix}")
        mined = mine(kept, self.params.negatives, self._encode)
        write_triplets(self.out / "triplets" / f"{category}.jsonl", mined)
        cleaned = report["reasons"]
        duplicates = cleaned.pop("duplicate", 0) + cleaned.pop("near_duplicate", 0)
        self.counts[category] = {
            "asked": asked,
            "parsed": len(triplets),
            "rejected": dict(rejected),
            "cleaned": cleaned,
            "duplicates": duplicates,
            "valid": len(mined),
            "without_negative": sum(not triplet.negative for triplet in mined),
        }
        return mined

    def _encode(self, texts: list[str]) -> np.ndarray:
        self.encode = self.encode or encoder(self.params.negatives)
        return self.encode(texts)

    def finish(self) -> Path:
        """Write public pairs, ``generation.json`` and, last, the manifest; return its path."""
        suites = None if self.params.scoring.suite == "classroom" else self.evaluation_texts
        write_triplets(self.out / "public.jsonl", public_pairs(self.params.public, suites))
        write_report(self.params, self.counts, self.out)
        return write_manifest(self.out, self.params)


def write_report(params: Params, counts: Mapping[str, Mapping], out_dir: str | Path | None = None) -> Path:
    """Write ``out_dir/generation.json`` and return its path; ``counts``: {category: ``Maker.counts``}.

    Tokens are added from the answers' files, brainstorms included: None where any of them is unknown.
    """
    out, generation, categories = Path(out_dir or params.data_dir), params.generation, {}
    for category, numbers in counts.items():
        paths = [out / folder / f"{category}.jsonl" for folder in ("responses", "brainstorm")]
        answers = [row for path in paths if path.exists() for row in read_jsonl(path)]
        row = categories[category] = dict(numbers)
        for name in ("tokens_in", "tokens_out"):
            tokens = [answer.get(name) for answer in answers]
            row[name] = None if None in tokens else sum(tokens)
        for key in ("rejected", "cleaned"):
            row[key] = dict(sorted(numbers.get(key, {}).items()))
    report = {
        "generator": generation.writer,
        "backend": generation.backend,
        "variant": generation.variant,
        "seed": generation.seed,
        "prices": {name: getattr(generation, name) for name in "price_in price_out gpu_price gpus currency".split()},
        "categories": categories,
    }
    return write_json(out / "generation.json", report)


def cost_table(out: str | Path) -> pd.DataFrame:
    """Return one row per category of a run's data folder: what was asked, what came of it, and what it cost.

    What was not measured, such as the tokens of bundled answers or a cost without a price, is empty.
    """
    report, rows = read_json(Path(out) / "generation.json"), []
    for category, numbers in report["categories"].items():
        timing = [Path(out) / "timing" / f"{name}{category}.json" for name in ("", "brainstorm_")]
        seconds = sum(read_json(path)["seconds"] for path in timing if path.exists()) if timing[0].exists() else None
        measured, valid = (numbers["tokens_in"], numbers["tokens_out"], seconds), numbers["valid"]
        cost = None if None in measured else money(report["prices"], *measured)
        row = numbers | {
            "generator": report["generator"],
            "category": LABELS[category],
            "seconds": seconds,
            "cost": cost,
        }
        row |= {name: sum(numbers[name].values()) for name in ("rejected", "cleaned")}
        row |= {"yield": valid / numbers["asked"], "currency": report["prices"]["currency"]}
        rows.append(row | {"cost_per_1000": None if cost is None else 1000 * cost / valid})
    columns = (
        "generator category asked parsed rejected cleaned duplicates valid yield tokens_in tokens_out seconds cost"
    )
    return pd.DataFrame(rows, columns=[*columns.split(), "cost_per_1000", "currency"])


def shares(pools: Mapping[str, Sequence[Triplet]]) -> dict[str, list[Triplet]]:
    """Return {generator: its triplets} of equal length: those of common tasks first, row by row of the same task.

    Each keeps as many triplets of every task as the generator with the fewest of it has, and fills up with others, in
    its order, to the smallest pool's size: neither more texts nor other tasks are to decide a comparison.
    """
    size = min(map(len, pools.values()))
    counts = [Counter(triplet.instruction for triplet in pool) for pool in pools.values()]
    tasks = dict.fromkeys(triplet.instruction for triplet in next(iter(pools.values())))
    quota = {task: least for task in tasks if (least := min(count[task] for count in counts))}
    found = {}
    for name, pool in pools.items():
        common = [t for task, least in quota.items() for t in [t for t in pool if t.instruction == task][:least]]
        taken = {id(triplet) for triplet in common}
        found[name] = [*common, *(triplet for triplet in pool if id(triplet) not in taken)][:size]
    return found


def share_out(params: Params) -> bool:
    """Write every generator's share into its data folder; return False as long as answers of one are missing.

    Shares of these answers are left alone. Raises KitError where a generator has no triplet of the category.
    """
    names, category = generators(params), params.study.category
    asked = {name: answering(params, name).data_dir for name in names}
    if not names or not all((folder / MANIFEST).is_file() for folder in asked.values()):
        return False
    made = {"category": category, "answers": {name: digest_file(asked[name] / MANIFEST) for name in names}}
    places = {name: of_run(params, f"@{name}").data_dir for name in names}
    home = places[names[0]].parent
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        lock = open(home / ".lock", "w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # jobs that start together wait for the first of them
        records = [(folder / MADE, folder / MANIFEST) for folder in places.values()]
        if all(record.is_file() and whole.is_file() and read_json(record) == made for record, whole in records):
            return True
        pools = {name: read_triplets(folder / "triplets" / f"{category}.jsonl") for name, folder in asked.items()}
        if empty := [name for name, pool in pools.items() if not pool]:
            raise KitError(f"{empty[0]} has no {category} triplet left; ask it for more (generation.n)")
        for name, triplets in shares(pools).items():
            folder = places[name]
            (folder / MANIFEST).unlink(missing_ok=True)  # half a share is none
            share = write_triplets(folder / "triplets" / f"{category}.jsonl", triplets)
            public = write_bytes(folder / "public.jsonl", (asked[name] / "public.jsonl").read_bytes())
            write_json(folder / MADE, made)
            write_digests(folder / MANIFEST, [share, public])
    return True
