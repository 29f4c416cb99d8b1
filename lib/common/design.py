"""The study's words: triplets, categories, subsets, runs, designs; names on disk, and numbers as people read them.

The paper trains one model per subset of {short-short, short-long, long-short, long-long}, always together
with the public data (Springer et al. 2025, section 3). STS and bitext are generated as well but are not part
of that factorial. "No category and no public data" is in no design: that model is the untrained base.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from lib.common.files import KitError, read_jsonl, write_jsonl

CODES = {"short_short": "ss", "short_long": "sl", "long_short": "ls", "long_long": "ll", "sts": "sts", "bitext": "bt"}
CATEGORIES, EXTRA = tuple(CODES)[:4], tuple(CODES)[4:]
LABELS = {category: category.replace("_", "-") for category in CODES} | {"sts": "STS"}
BASE = "base"
DESIGNS = FACTORIAL, ISOLATION, CROSSED, GENERATORS = "factorial", "isolation", "crossed", "generators"
# Of the crossed design, so that 24 models tell 5 main effects (the fifth is the public data's) and 10 two-way terms
WITHOUT_PUBLIC = ("ll", "ls", "sl", "sl+ls+ll", "ss", "ss+ls+ll", "ss+sl+ll", "ss+sl+ls")
POINTS = 100.0  # scores are on mteb's scale, 0 to 1; figures show points


def minus(value: float, digits: int) -> str:
    """A signed number with a true minus sign; a value that rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


@dataclass(frozen=True, slots=True)
class Triplet:
    """One training example: an instruction, a query, a positive, and a hard negative ("" when there is none)."""

    instruction: str
    query: str
    positive: str
    negative: str = ""
    category: str = ""
    language: str = ""
    id: str = ""


def read_triplets(path: str | Path) -> list[Triplet]:
    """Read triplets from JSON lines; unknown keys are ignored, so files made elsewhere can be read.

    Raises KitError naming file and row where something is not text, or a query or positive is missing or empty.
    """
    triplets = []
    for number, row in enumerate(read_jsonl(path), start=1):
        values = {field.name: row.get(field.name) or "" for field in fields(Triplet)}
        for name, value in values.items():
            if not isinstance(value, str) or (name in ("query", "positive") and not value.strip()):
                raise KitError(f"{path}, row {number} has no text under {name!r}; fix or delete that row")
        triplets.append(Triplet(**values))
    return triplets


def write_triplets(path: str | Path, triplets: Iterable[Triplet]) -> Path:
    """Write triplets as JSON lines, atomically."""
    return write_jsonl(path, (asdict(triplet) for triplet in triplets))


def subsets(categories: Sequence[str] = CATEGORIES) -> list[tuple[str, ...]]:
    """Return all 2^k subsets in one fixed order: by size, then by the order of ``categories``; empty first."""
    return [chosen for size in range(len(categories) + 1) for chosen in combinations(categories, size)]


def subset_name(subset: Sequence[str]) -> str:
    """Return the name on disk: ``none``, ``ss``, ``ss+ll``, ... Raises KitError for an unknown category."""
    unknown = [category for category in subset if category not in CODES]
    if unknown:
        raise KitError(f"unknown category {unknown[0]!r}; the categories are {', '.join(CODES)}")
    return "+".join(CODES[category] for category in CODES if category in subset) or "none"


def run_name(subset: Sequence[str], public: bool = True, generator: str = "") -> str:
    """Return the name of a run: the subset's name, ``-alone`` when the public data are left out, ``@generator``."""
    if not subset and not public:
        raise KitError("a run without synthetic and without public data has nothing to train on")
    return subset_name(subset) + ("" if public else "-alone") + (f"@{generator}" if generator else "")


def generator_of(name: str) -> str:
    """Return the generator in the name of a run or a job (``sl@smollm2-135m/seed0``), "" where it names none."""
    return str(name).split("/")[0].partition("@")[2]


def parse_run(name: str, base: bool = False) -> tuple[tuple[str, ...], bool]:
    """Return (subset, public) of a run's name: ``ss+ll`` is (("short_short", "long_long"), True).

    Raises KitError, with the nearest names, for anything else; ``base``: one of them is the untrained base's.
    """
    mixture = str(name).partition("@")[0]
    codes, public = mixture.removesuffix("-alone"), not mixture.endswith("-alone")
    parts = [] if codes == "none" else codes.split("+")
    subset = tuple(category for category, code in CODES.items() if code in parts)
    if set(parts) - {*CODES.values()} or len(parts) != len(subset):
        ends = ["none", *([BASE] if base else [])]
        near = difflib.get_close_matches(codes, [*ends[1:], *map(subset_name, subsets(tuple(CODES)))], n=3)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        known, ends = ", ".join(CODES.values()), " or ".join(ends)
        raise KitError(f"unknown subset {codes!r}; join codes from {known} with '+', or say {ends}{hint}")
    run_name(subset, public)  # refuses a run without any data
    return subset, public


def run_in_order(name: str, base: bool = False) -> str:
    """Return a run's name as it stands on disk: ``ll+ss`` is ``ss+ll``. ``base`` allows the untrained base's too."""
    return name if base and name == BASE else run_name(*parse_run(name, base), generator_of(name))


def levels(subset: Sequence[str], categories: Sequence[str] = CATEGORIES) -> dict[str, int]:
    """Return the 0/1 factor levels of a subset, keyed by code: ``{"ss": 1, "sl": 0, ...}``."""
    return {CODES[category]: int(category in subset) for category in categories}


class Run(NamedTuple):
    """One model to train: its categories, whether the public data are in, its seed, and who wrote the triplets."""

    subset: tuple[str, ...]
    public: bool
    seed: int
    generator: str = ""  # of the profile where empty

    @property
    def name(self) -> str:
        return run_name(self.subset, self.public, self.generator)


def design_runs(
    name: str, seeds: Sequence[int] = (0,), categories: Sequence[str] = CATEGORIES, generators: Sequence[str] = ()
) -> list[Run]:
    """Return the runs of a design in a fixed order: model after model, the seeds of each together.

    - ``factorial``: all subsets of ``categories`` (the paper's 16), public data always on.
    - ``isolation``: each of the six categories alone, with and without public data, and public data alone (13 models).
    - ``crossed``: the paper's 16 and WITHOUT_PUBLIC: the effect of the public data, and its interactions, too.
    - ``generators``: one category as each of ``generators`` wrote it, and public data alone.
    """
    if name not in DESIGNS:
        raise KitError(f"unknown design {name!r}; the designs are {', '.join(DESIGNS)}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise KitError(f"seeds={seeds!r} must name at least one seed, and each only once")
    models = [(subset, True, "") for subset in subsets(categories)]
    if name == ISOLATION:
        models = [((), True, ""), *(((one,), public, "") for public in (True, False) for one in CODES)]
    elif name == CROSSED:
        if tuple(categories) != CATEGORIES:
            four = ", ".join(CATEGORIES)
            raise KitError(f"the crossed design is made for the four categories {four}; use factorial for others")
        models += [(parse_run(codes)[0], False, "") for codes in WITHOUT_PUBLIC]
    elif name == GENERATORS:
        models = [((), True, ""), *((tuple(categories), True, generator) for generator in generators)]
    return [Run(subset, public, seed, by) for subset, public, by in models for seed in seeds]


def common_seeds(runs) -> bool:
    """Do the subsets of a table of runs have two seeds or more in common (each in more than half of the subsets)?"""
    cells = runs.drop(columns=["seed", "subset"]).drop_duplicates()
    return int((runs["seed"].value_counts() > len(cells) / 2).sum()) > 1
