"""The study's words: triplets, the four categories, their 16 subsets, runs and designs, and their names on disk.

The paper trains one model per subset of {short-short, short-long, long-short, long-long}, always together
with the public data (Springer et al. 2025, section 3). STS and bitext are generated as well but are not part
of that factorial. Four designs say which models an experiment needs:

- ``factorial``: the paper's 16 subsets of the four categories, public data always on.
- ``isolation``: each of the six categories alone, with and without public data, and public data alone (13 models).
- ``crossed``: the 16 plus eight models without public data, chosen so that the effect of the public data and its
  interaction with each category can be estimated too: 5 main effects and 10 two-way terms from 24 models.
- ``generators``: one category as each of several generators wrote it, with public data, and public data alone. A run
  is then named after its generator too: ``sl@smollm2-135m``.

"No category and no public data" is in no design: there is nothing to train on; that model is the untrained base.
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
WITHOUT_PUBLIC = ("0001", "0010", "0100", "0111", "1000", "1011", "1101", "1110")  # order ss, sl, ls, ll


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

    Raises KitError naming file and row when a query or positive is missing, empty or not text.
    """
    triplets = []
    for number, row in enumerate(read_jsonl(path), start=1):
        for name in ("query", "positive"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise KitError(f"{path}, row {number} has no text under {name!r}; fix or delete that row")
        given = [field.name for field in fields(Triplet) if field.name in row]
        values = {name: "" if row[name] is None else row[name] for name in given}
        wrong = next((name for name, value in values.items() if not isinstance(value, str)), None)
        if wrong:
            raise KitError(f"{path}, row {number} holds {type(values[wrong]).__name__} under {wrong!r}, not text")
        triplets.append(Triplet(**{"instruction": "", **values}))
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

    Raises KitError, with the nearest names, for anything else; ``base`` counts the untrained base's among them.
    """
    mixture = str(name).partition("@")[0]
    codes, public = mixture.removesuffix("-alone"), not mixture.endswith("-alone")
    parts = [] if codes == "none" else codes.split("+")
    subset = tuple(category for category, code in CODES.items() if code in parts)
    if set(parts) - {*CODES.values()} or len(parts) != len(subset):
        names = [*([BASE] if base else []), *(subset_name(each) for each in subsets(tuple(CODES)))]
        near = difflib.get_close_matches(codes, names, n=3)
        other = f"none, or {BASE} for the untrained base" if base else "none"
        raise KitError(
            f"unknown subset {codes!r}; join codes from {', '.join(CODES.values())} with '+', or say {other}"
            + (f" (did you mean {' or '.join(near)}?)" if near else "")
        )
    run_name(subset, public)  # refuses a run without any data
    return subset, public


def run_in_order(name: str, base: bool = False) -> str:
    """Return a run's name as it stands on disk: ``ll+ss`` is the run ``ss+ll``; ``base`` allows the untrained base too.

    Raises KitError for other names.
    """
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
        """Name on disk: ``ss+ll``, ``ss+ll-alone`` without public data, ``sl@smollm2-135m`` of a named generator."""
        return run_name(self.subset, self.public, self.generator)


def design_runs(
    name: str, seeds: int | Sequence[int] = 1, categories: Sequence[str] = CATEGORIES, generators: Sequence[str] = ()
) -> list[Run]:
    """Return the runs of a design in a fixed order: model after model, the seeds of each together.

    ``seeds``: how many (0, 1, ...), or which. ``categories``: of the factorial; the crossed design needs the
    paper's four; the design generators takes the one whose ``generators`` are compared. Raises KitError for an unknown
    design.
    """
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not chosen or len(set(chosen)) < len(chosen):
        raise KitError(f"seeds={seeds!r} must name at least one seed, and each only once")
    factorial = [(subset, True, "") for subset in subsets(categories)]
    if name == FACTORIAL:
        models = factorial
    elif name == ISOLATION:
        models = [((), True, ""), *(((one,), public, "") for public in (True, False) for one in CODES)]
    elif name == CROSSED:
        if tuple(categories) != CATEGORIES:
            four = ", ".join(CATEGORIES)
            raise KitError(f"the crossed design is made for the four categories {four}; use factorial for others")
        off = [tuple(c for c, bit in zip(CATEGORIES, code, strict=True) if bit == "1") for code in WITHOUT_PUBLIC]
        models = factorial + [(subset, False, "") for subset in off]
    elif name == GENERATORS:
        models = [((), True, ""), *((tuple(categories), True, generator) for generator in generators)]
    else:
        raise KitError(f"unknown design {name!r}; the designs are {', '.join(DESIGNS)}")
    return [Run(subset, public, seed, generator) for subset, public, generator in models for seed in chosen]
