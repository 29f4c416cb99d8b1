"""Sources: the data that come with the kit, and what others released, from a folder or the hub.

The bundled classroom data were written for this kit by a large language model (lib/data/classroom/README.md);
they are training and test texts, not a source of facts. The public pairs are real, from the docstrings of eight Python
packages (lib/data/classroom/public/NOTICE.md).

Released triplets come per generator and category under a name such as ``synthetic_LLaMA-3.1-8B-Instruct_sts``, the
public E5 data as one file per data set: JSON lines or Parquet, in shards or whole. Not ``datasets.load_dataset``:
it names neither file nor line of what it cannot read and keeps a second copy. Only rows that are kept are parsed.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.common.bundled import DATA, ROOT, data_path, hub_address, online
from lib.common.design import CODES, Triplet
from lib.common.files import KitError, read_json, read_jsonl
from lib.generate.overlap import find

if TYPE_CHECKING:
    from lib.params.params import GenerationParams, PublicParams

CLASSROOM = "classroom"  # the bundle that studies replay
GENERATORS = DATA / "generators"  # answers of others, a folder each
SUFFIXES = (".jsonl", ".json", ".parquet")
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


def config_name(generator: str, category: str) -> str:
    """Return the name of one generator's triplets of a category, as the released data have it."""
    return f"synthetic_{generator.split('/')[-1]}_{category}"


def load_released(location: str | Path, generator: str, category: str, n: int = 0, seed: int = 0) -> list[Triplet]:
    """Return the released triplets of one generator and category (``n`` of them, sampled by ``seed``; 0: all).

    ``location``: a folder, or a data set's name on the hub. Raises KitError, naming what there is, when they are not.
    """
    config = config_name(generator, category)
    folder = fetch(location, config)
    names = [config, config_name(generator, category.replace("_", "-"))]
    places = [folder / f"{name}{suffix}" for name in names for suffix in ("", *SUFFIXES)]
    files = next((files for place in places if (files := _data_files(place))), [])
    if not files:
        known = sorted({path.name.removesuffix(path.suffix if path.is_file() else "") for path in folder.iterdir()})
        raise KitError(f"{location} holds no {config}; it holds {', '.join(known) or 'nothing'}")
    return _load(files, n, seed, category, CODES[category])


def load_e5(location: str | Path, datasets: Sequence[str] = (), n: int = 0, seed: int = 0) -> list[Triplet]:
    """Return public training pairs in the E5 form, one file (or folder of shards) per data set.

    ``datasets`` chooses by name (empty: all). ``n`` rows are shared out in proportion to the data sets' sizes (0: all)
    and mixed. Instructions: the row's own, else the kit's (data/e5_instructions.json, in our words).
    """
    if not location:
        raise KitError("public.location is empty; name the folder (or hub data set) that holds the E5 data")
    visible = [path for path in sorted(fetch(location).iterdir()) if not path.name.startswith(".")]
    found = {path.stem: files for path in visible if (files := _data_files(path))}
    missing = [name for name in datasets if name not in found]
    if missing or not found:
        raise KitError(
            f"{location} holds no data set {missing[0] if missing else 'at all'}; it holds "
            f"{', '.join(found) or 'no ' + ', '.join(SUFFIXES) + ' file'}"
        )
    chosen = {name: files for name, files in found.items() if not datasets or name in datasets}
    sizes = {name: sum(map(_count, files)) for name, files in chosen.items()}
    instructions = read_json(DATA / "e5_instructions.json")
    triplets = []
    for name, files in chosen.items():
        share = round(n * sizes[name] / max(sum(sizes.values()), 1)) if n else 0
        if share or not n:
            triplets += _load(files, share, seed, "public", name, instructions.get(name, instructions.get("", "")))
    random.Random(seed).shuffle(triplets)
    return triplets[:n] if n else triplets


def fetch(location: str | Path, config: str = "") -> Path:
    """Return a folder: the one named (seen from here or the kit's root), or the hub data set's files, also if cached.

    Only the files of ``config`` are fetched when it is given. Raises KitError otherwise, offline at once.
    """
    for folder in (Path(location), ROOT / location):
        if folder.is_dir():
            return folder
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(location)):
        raise KitError(f"there is no folder {location}, and it is no name of a hub data set (owner/name) either")
    from huggingface_hub import snapshot_download

    there = online()
    options = {"allow_patterns": [f"*{config}/*", f"*{config}*"] if config else None, "local_files_only": not there}
    try:
        return Path(snapshot_download(str(location), repo_type="dataset", **options))
    except Exception as error:
        why = f"the hub says: {str(error).splitlines()[0][:150]}" if there else f"{hub_address()} does not answer"
        raise KitError(
            f"{location} is neither a folder nor in the hub's cache, and {why}; connect to the hub or "
            "download it there and name its folder"
        ) from None


def _data_files(path: Path) -> list[Path]:
    """Return the file itself when it is one of data, or all data files below a folder, sorted by path."""
    if path.is_dir():
        return [file for file in sorted(path.rglob("*")) if file.suffix in SUFFIXES]
    return [path] if path.is_file() and path.suffix in SUFFIXES else []


def _load(files: Sequence[Path], n: int, seed: int, category: str, prefix: str, instruction: str = "") -> list[Triplet]:
    """Return the triplets of some files as one, ``n`` of them chosen by ``seed`` when ``n`` is set."""
    total = sum(map(_count, files))
    chosen = range(total)
    if n and n < total:
        chosen = set(random.Random(f"{seed}|{prefix}").sample(range(total), n))
    rows = ((path, line, row) for path in files for line, row in _rows(path))
    return [
        _triplet(row, f"{path}, line {line}", category, f"{prefix}-{number:06d}", instruction)
        for number, (path, line, row) in enumerate(rows)
        if number in chosen
    ]


def _count(path: Path) -> int:
    """Return how many rows a file has; lines are counted, not parsed."""
    return _parquet(path).metadata.num_rows if path.suffix == ".parquet" else sum(1 for _ in _rows(path))


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line from 1, row) of a file; JSON lines come as bytes, since only those that are kept are parsed."""
    if path.suffix == ".parquet":
        yield from enumerate((row for batch in _parquet(path).iter_batches(8192) for row in batch.to_pylist()), 1)
        return
    with open(path, "rb") as handle:
        yield from ((number, line) for number, line in enumerate(handle, 1) if line.strip())


def _parquet(path: Path):
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        why = str(error).splitlines()[0]
        raise KitError(f"{path} is not a readable Parquet file ({why}); download it again") from None


def _triplet(row: Any, place: str, category: str, name: str, instruction: str) -> Triplet:
    """Return the triplet of one row. Raises KitError, with ``place`` (file and line), for what is none."""
    try:
        row = json.loads(row) if isinstance(row, bytes) else row
    except ValueError as error:
        raise KitError(f"{place} is not valid JSON ({error}); mend or delete that line") from None
    if not isinstance(row, dict):
        raise KitError(f"{place} holds {type(row).__name__}, not an object; mend or delete that line")
    query, own = row.get("query"), row.get("instruction") or instruction
    if isinstance(query, list | tuple) and len(query) == 2:  # [instruction, text], as some E5-like sets have it
        own, query = query
    texts = {"query": query, "positive": row.get("positive"), "negative": row.get("negative") or ""}
    for key, text in texts.items():
        while isinstance(text, list | tuple):  # E5 rows hold a text or a list of them
            text = text[0] if text else ""
        if not isinstance(text, str) or (key != "negative" and not text.strip()):
            raise KitError(f"{place} has no text under {key!r}; mend or delete that line")
        texts[key] = text
    category, language = row.get("category") or category, row.get("language") or ""
    return Triplet(str(own), **texts, category=category, language=language, id=row.get("id") or name)
