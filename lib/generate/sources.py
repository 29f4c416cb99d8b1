"""Sources: the data that come with the kit, one documented function each, and the public half of the mixture.

The bundled classroom data were written for this kit by a large language model (lib/data/classroom/README.md);
they are training and test texts, not a source of facts. The public pairs are real: summary lines and
descriptions from the docstrings of eight Python packages (lib/data/classroom/public/NOTICE.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lib.common.bundled import DATA, data_path
from lib.common.design import CODES, Triplet
from lib.common.files import KitError, read_json, read_jsonl
from lib.generate.overlap import find
from lib.generate.released import load_e5

if TYPE_CHECKING:
    from lib.params.params import GenerationParams, PublicParams

CLASSROOM = "classroom"  # the bundle that studies replay
GENERATORS = DATA / "generators"  # answers of others, a folder each
# Keys under which the bundled evaluation sets keep text; labels, scores and ids are not text.
_TEXT_KEYS = "title text sentence1 sentence2 query positive negative human_summaries machine_summaries".split()


def brainstorm(category: str) -> list[str]:
    """Return the raw brainstorm answers of an asymmetric category, each a list of task sentences as text."""
    return [row["response"] for row in _rows("brainstorm", category)]


def responses(category: str, bundle: str = CLASSROOM) -> list[dict]:
    """Return the raw bundled answers of a category: ``{"slots": {...}, "response": text}`` each.

    Those of another generator (``bundle``, a folder of lib/data/generators) are as they came, good or bad, with their
    ``finish``, ``tokens_in`` and ``tokens_out``. Raises KitError for an unknown bundle or category.
    """
    return _rows("responses", category, _bundle(bundle))


def made_with(generation: GenerationParams) -> str:
    """Return the template variant that the bundled answers were asked with (the classroom's go with any)."""
    if generation.bundle == CLASSROOM:
        return generation.variant
    return read_json(_bundle(generation.bundle) / "made.json")["variant"]


def _bundle(name: str) -> Path:
    others = sorted(path.parent.name for path in GENERATORS.glob("*/made.json"))
    if name not in (CLASSROOM, *others):
        raise KitError(
            f"there are no bundled answers {name!r}; set generation.bundle to {' or '.join([CLASSROOM, *others])}"
        )
    return DATA / CLASSROOM if name == CLASSROOM else GENERATORS / name


def _rows(kind: str, category: str, folder: Path = DATA / CLASSROOM) -> list[dict]:
    path = folder / kind / f"{category}.jsonl"
    if category not in CODES or not path.exists():
        known = sorted(p.stem for p in path.parent.glob("*.jsonl"))
        raise KitError(f"no bundled {kind} answers for {category!r} in {folder.name}; there are {', '.join(known)}")
    return read_jsonl(path)


def suite_texts(folder: str | Path | None = None) -> dict[str, list[str]]:
    """Return every text of every evaluation set in ``folder`` (default: the bundled ones), ``{set: [text, ...]}``.

    Without duplicates, sets by name, texts in file order. Titles, queries, documents, sentences, candidates and
    summaries all count: a model trained on any of them has seen the test. Labels are no texts that could leak.
    """
    texts: dict[str, dict[str, None]] = {}
    for path in sorted(Path(folder or data_path("classroom/suite")).glob("*.jsonl")):
        found = texts.setdefault(path.name.split(".")[0], {})
        for row in read_jsonl(path) if not path.name.endswith(".qrels.jsonl") else ():
            for key in _TEXT_KEYS:
                value = row.get(key) or []
                found.update(dict.fromkeys([value] if isinstance(value, str) else value))
    return {name: list(texts[name]) for name in sorted(texts)}


def docstring_pairs(public: PublicParams, exclude: Mapping[str, Iterable[str]] | None = None) -> list[Triplet]:
    """Return the first ``public.n`` of 4,000 real (summary line, description) pairs from docstrings, in a fixed order.

    Every pair that shares an n-gram with a text of ``exclude`` (``{set: texts}``) is dropped; none of them does with
    the bundled evaluation sets. There is no hard negative: batches of one source supply in-batch negatives of the
    same kind, and a mined one would often be the same method of a sister class.
    """
    rows = read_jsonl(data_path("classroom/public/docstrings.jsonl"))
    triplets = [
        Triplet(public.instruction, row["query"], row["positive"], "", "public", "English", row["id"]) for row in rows
    ]
    leaked = find(triplets, exclude).hits if exclude else {}
    return [triplet for number, triplet in enumerate(triplets) if number not in leaked][: public.n]


def public_pairs(public: PublicParams, exclude: Mapping[str, Iterable[str]] | None = None) -> list[Triplet]:
    """Return the public half of the mixture, whichever source ``public.source`` names."""
    if public.source == "docstrings":
        return docstring_pairs(public, exclude)
    return load_e5(public.location, public.datasets, public.n, public.seed)
