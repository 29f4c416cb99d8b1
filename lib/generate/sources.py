"""Sources: the data that come with the kit, one documented function each, and the public half of the mixture.

The bundled classroom data were written for this kit by a large language model (lib/data/classroom/README.md);
they are training and test texts, not a source of facts. The public pairs are real, from the docstrings of eight Python
packages (lib/data/classroom/public/NOTICE.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lib.common.bundled import DATA, data_path
from lib.common.design import Triplet
from lib.common.files import KitError, read_json, read_jsonl
from lib.generate.overlap import find
from lib.generate.released import load_e5

if TYPE_CHECKING:
    from lib.params.data import GenerationParams, PublicParams

CLASSROOM = "classroom"  # the bundle that studies replay
GENERATORS = DATA / "generators"  # answers of others, a folder each
# Keys under which the bundled evaluation sets keep text; labels, scores and ids are not text.
_TEXT_KEYS = "title text sentence1 sentence2 query positive negative human_summaries machine_summaries".split()


def brainstorm(category: str) -> list[str]:
    """Return the raw brainstorm answers of an asymmetric category, each a list of task sentences as text."""
    return [row["response"] for row in _bundled("brainstorm", category, CLASSROOM)]


def responses(category: str, bundle: str = CLASSROOM) -> list[dict]:
    """Return the raw bundled answers of a category: ``{"slots": {...}, "response": text}`` each.

    Those of another ``bundle`` (a folder of lib/data/generators) are as they came, good or bad, with their ``finish``,
    ``tokens_in`` and ``tokens_out``. Raises KitError for an unknown bundle or category.
    """
    return _bundled("responses", category, bundle)


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


def _bundled(kind: str, category: str, bundle: str) -> list[dict]:
    path = _bundle(bundle) / kind / f"{category}.jsonl"
    if not path.exists():
        known = sorted(p.stem for p in path.parent.glob("*.jsonl"))
        raise KitError(f"no bundled {kind} answers for {category!r} in {bundle}; there are {', '.join(known)}")
    return read_jsonl(path)


def suite_texts(folder: str | Path | None = None) -> dict[str, list[str]]:
    """Return every text of every evaluation set in ``folder`` (default: the bundled ones), ``{set: [text, ...]}``.

    Without duplicates, sets by name, texts in file order. Labels are no texts that could leak.
    """
    texts: dict[str, dict[str, None]] = {}
    for path in sorted(Path(folder or data_path("classroom/suite")).glob("*.jsonl")):
        found = texts.setdefault(path.name.split(".")[0], {})
        for row in read_jsonl(path) if not path.name.endswith(".qrels.jsonl") else ():
            for key in _TEXT_KEYS:
                value = row.get(key) or []
                found.update(dict.fromkeys([value] if isinstance(value, str) else value))
    return {name: list(texts[name]) for name in sorted(texts)}


def public_pairs(public: PublicParams, exclude: Mapping[str, Iterable[str]] | None = None) -> list[Triplet]:
    """Return the public half of the mixture: E5 data, or the first ``public.n`` of 4,000 real pairs from docstrings.

    Docstring pairs that share an n-gram with a text of ``exclude`` (``{set: texts}``) are dropped. They have no hard
    negative: a mined one would often be the same method of a sister class.
    """
    if public.source == "e5":
        return load_e5(public.location, public.datasets, public.n, public.seed)
    rows = read_jsonl(data_path("classroom/public/docstrings.jsonl"))
    triplets = [
        Triplet(public.instruction, row["query"], row["positive"], "", "public", "English", row["id"]) for row in rows
    ]
    leaked = find(triplets, exclude)[0] if exclude else {}
    return [triplet for number, triplet in enumerate(triplets) if number not in leaked][: public.n]
