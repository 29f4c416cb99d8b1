"""What others released: the paper authors' synthetic triplets and the public E5 data, from a folder or the hub.

Released triplets come per generator and category under a name such as ``synthetic_LLaMA-3.1-8B-Instruct_sts``, the
public E5 data as one file per data set: JSON lines, JSON or Parquet, in shards or whole. Not ``datasets.load_dataset``:
it names neither file nor line of what it cannot read and keeps a second copy. Only rows that are kept are parsed.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.common.bundled import DATA, ROOT, data_path, hub_address, online
from lib.common.design import CODES, Triplet
from lib.common.files import KitError, read_json, read_jsonl
from lib.generate.overlap import find
from lib.params.data import PublicParams

SUFFIXES = (".jsonl", ".json", ".parquet")


def config_name(generator: str, category: str) -> str:
    """Return the name of one generator's triplets of a category, as the released data have it."""
    return f"synthetic_{generator.split('/')[-1]}_{category}"


def load_released(location: str | Path, generator: str, category: str, n: int = 0, seed: int = 0) -> list[Triplet]:
    """Return the released triplets of one generator and category (``n`` of them, sampled by ``seed``; 0: all).

    ``location``: a folder, or a data set's name on the hub. Raises KitError, naming what there is, when they are not.
    """
    config = config_name(generator, category)
    folder = fetch(location, config)
    names, declared = [config, config_name(generator, category.replace("_", "-"))], _declared(folder)
    places = [folder / f"{name}{suffix}" for name in names for suffix in ("", *SUFFIXES)]
    found = [*(declared.get(name, []) for name in names), *map(_data_files, places)]
    files = next(filter(None, found), [])
    if not files:
        known = {path.name.removesuffix(path.suffix if path.is_file() else "") for path in folder.iterdir()}
        known = sorted({*declared} or known)
        raise KitError(f"{location} holds no {config}; it holds {', '.join(known) or 'nothing'}")
    return _load(files, n, seed, category, CODES[category])


def public_pairs(public: PublicParams, exclude: Mapping[str, Iterable[str]] | None = None) -> list[Triplet]:
    """Return the public half of the mixture: E5 data, or the first ``public.n`` of 4,000 real pairs from docstrings.

    Docstring pairs (lib/data/classroom/public/NOTICE.md) that share an n-gram with a text of ``exclude``, {set: texts},
    are dropped. They have no hard negative: a mined one would often be the same method of a sister class.
    """
    if public.source == "e5":
        return load_e5(public.location, public.datasets, public.n, public.seed)
    rows = read_jsonl(data_path("classroom/public/docstrings.jsonl"))
    triplets = [Triplet(public.instruction, r["query"], r["positive"], "", "public", "English", r["id"]) for r in rows]
    leaked = find(triplets, exclude)[0] if exclude else {}
    return [triplet for number, triplet in enumerate(triplets) if number not in leaked][: public.n]


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
        there = ", ".join(found) or f"no {', '.join(SUFFIXES)} file"
        raise KitError(f"{location} holds no data set {missing[0] if missing else 'at all'}; it holds {there}")
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
    """Return the folder of that name (seen from here or the kit's root), or the hub data set's, fetched or cached.

    Only the files of ``config`` are fetched when it is given. Raises KitError otherwise, offline at once.
    """
    for folder in (Path(location), ROOT / location):
        if folder.is_dir():
            return folder
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(location)):
        raise KitError(f"there is no folder {location}, and it is no name of a hub data set (owner/name) either")
    from huggingface_hub import snapshot_download

    there = online()
    wanted = [f"*{config}/*", f"*{config}*", "README.md"] if config else None
    try:
        found = snapshot_download(str(location), repo_type="dataset", allow_patterns=wanted, local_files_only=not there)
        return Path(found)
    except Exception as error:
        why = f"the hub says: {str(error).splitlines()[0][:150]}" if there else f"{hub_address()} does not answer"
        fix = "connect to the hub, or download it there and name its folder"
        raise KitError(f"{location} is neither a folder nor in the hub's cache, and {why}; {fix}") from None


def _declared(folder: Path) -> dict[str, list[Path]]:
    """Return {configuration: files} that the head of the folder's README declares, as data sets on the hub do."""
    import yaml
    from huggingface_hub import metadata_load

    def paths(entry: Any) -> list[Path]:  # a pattern, {"path": ...}, or a list of these
        if isinstance(entry, list):
            return [path for one in entry for path in paths(one)]
        return paths(entry.get("path", [])) if isinstance(entry, dict) else sorted(folder.glob(entry))

    try:
        configs = (metadata_load(folder / "README.md") or {}).get("configs") or []
        named = [entry for entry in configs if entry.get("config_name") and entry.get("data_files")]
        return {entry["config_name"]: sorted({*paths(entry["data_files"])}) for entry in named}
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        return {}


def _data_files(path: Path) -> list[Path]:
    """Return the file itself when it is one of data, or all data files below a folder, sorted by path."""
    if path.is_dir():
        return [file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix in SUFFIXES]
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
        if path.suffix == ".json" and handle.read(64).lstrip()[:1] == b"[":
            yield from enumerate(read_json(path), 1)
            return
        handle.seek(0)
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
        why = getattr(error, "msg", "not UTF-8 text")  # the place that the whole error names is one within the line
        raise KitError(f"{place} is not valid JSON ({why}); mend or delete that line") from None
    if not isinstance(row, dict):
        raise KitError(f"{place} holds {type(row).__name__}, not an object; mend or delete that line")
    query, own = row.get("query"), row.get("instruction")
    if isinstance(query, list | tuple) and len(query) == 2:  # [instruction, text], as some E5-like sets have it
        own, query = query
    texts = {"query": query, "positive": row.get("positive", row.get("pos"))}
    texts["negative"] = row.get("negative", row.get("neg"))
    for key, text in texts.items():
        while key != "query" and isinstance(text, list | tuple):  # E5 rows hold a text or a list of them
            text = text[0] if text else ""
        text = text or "" if key == "negative" else text
        if not isinstance(text, str) or (key != "negative" and not text.strip()):
            raise KitError(f"{place} has no text under {key!r}; mend or delete that line")
        texts[key] = text
    category, language = row.get("category") or category, row.get("language") or ""
    return Triplet(str(own or instruction), **texts, category=category, language=language, id=row.get("id") or name)
