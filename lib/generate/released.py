"""Data that others released: the paper authors' synthetic triplets and the public E5 data, from a folder or the hub.

Synthetic data come per generator and category under a configuration name such as
``synthetic_LLaMA-3.1-8B-Instruct_sts``; the E5 data as one file per data set with ``query, positive, negative``.
JSON lines, JSON and Parquet are read, in shards or whole; only the rows that are kept are parsed.

Read here and not by ``datasets.load_dataset``, which names neither file nor line of what it cannot read and keeps a
second copy of everything in its cache.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lib.common.bundled import DATA, ROOT
from lib.common.design import CODES, Triplet
from lib.common.files import KitError, read_json

SUFFIXES = (".jsonl", ".json", ".parquet")
_CATEGORIES = "|".join(category.replace("_", "[-_]") for category in CODES)
_CONFIG = re.compile(rf"^synthetic_(?P<generator>.+?)_(?P<category>{_CATEGORIES})$")


def config_name(generator: str, category: str) -> str:
    """Return the configuration name of one generator and category, as the released data have it."""
    return f"synthetic_{generator.split('/')[-1]}_{category}"


def released(location: str | Path) -> list[tuple[str, str]]:
    """Return the (generator, category) pairs that a folder holds, sorted, whichever of the layouts it uses."""
    folder = fetch(location)
    files = {re.split(r"\.jsonl|\.json|\.parquet", path.name)[0] for path in folder.iterdir()}
    found = (_CONFIG.match(name) for name in {*_configs(folder), *files})
    return sorted({(match["generator"], match["category"].replace("-", "_")) for match in found if match})


def load_released(location: str | Path, generator: str, category: str, n: int = 0, seed: int = 0) -> list[Triplet]:
    """Return the released triplets of one generator and category (``n`` of them, sampled by ``seed``; 0: all).

    ``location`` is a folder or a data set's name on the hub. Raises KitError, naming what there is, when that
    generator and category are not there.
    """
    config = config_name(generator, category)
    folder = fetch(location, config)
    files = _files(folder, config) or _files(folder, config_name(generator, category.replace("_", "-")))
    if not files:
        known = ", ".join(config_name(*pair) for pair in released(folder)) or "nothing of that form"
        raise KitError(f"{location} holds no {config}; it holds {known}")
    return _load(files, n, seed, category, CODES[category])


def load_e5(location: str | Path, datasets: Sequence[str] = (), n: int = 0, seed: int = 0) -> list[Triplet]:
    """Return public training pairs in the E5 form, one file (or folder of shards) per data set.

    ``datasets`` chooses data sets by name (empty: all). ``n`` rows are shared out in proportion to the data sets'
    sizes (0: all) and mixed. ``category`` is "public", ``id`` names data set and row. Instructions: the row's own,
    else ``instructions.json`` in the folder, else the kit's (data/e5_instructions.json, in our words).
    """
    if not location:
        raise KitError("public.location is empty; name the folder (or hub data set) that holds the E5 data")
    folder = fetch(location)
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
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
    if (folder / "instructions.json").exists():
        instructions |= read_json(folder / "instructions.json")
    triplets = []
    for name, files in chosen.items():
        share = round(n * sizes[name] / max(sum(sizes.values()), 1)) if n else 0
        if share or not n:
            triplets += _load(files, share, seed, "public", name, instructions.get(name, instructions.get("", "")))
    random.Random(seed).shuffle(triplets)
    return triplets[:n] if n else triplets


def fetch(location: str | Path, config: str = "") -> Path:
    """Return a folder: the one named, or the hub data set's files (only those of ``config`` when given).

    A relative folder starts at the working folder, then at the kit's root. Offline is found out at once, and a
    data set that is in the hub's cache already is used from there. Raises KitError otherwise.
    """
    for folder in (Path(location), ROOT / location):
        if folder.is_dir():
            return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(location)) or str(location).startswith("."):
        raise KitError(f"there is no folder {location}, and it is no name of a hub data set (owner/name) either")
    from huggingface_hub import snapshot_download

    from lib.common.bundled import hub_address, online

    reached = online()
    patterns = [f"*{config}/*", f"*{config}*", "README.md"] if config else None
    try:
        return Path(
            snapshot_download(str(location), repo_type="dataset", allow_patterns=patterns, local_files_only=not reached)
        )
    except Exception as error:
        why = f"the hub says: {str(error).splitlines()[0][:150]}" if reached else f"{hub_address()} does not answer"
        raise KitError(
            f"{location} is neither a folder nor in the hub's cache, and {why}; connect to the hub or "
            "download it there and name its folder"
        ) from None


def _configs(folder: Path) -> dict[str, list[str]]:
    """Return {configuration: file patterns} of the README's front matter, as data sets on the hub declare them."""
    import yaml
    from huggingface_hub import metadata_load

    try:
        configs = (metadata_load(folder / "README.md") or {}).get("configs") or []
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    named = [entry for entry in configs if isinstance(entry, dict) and entry.get("config_name")]
    return {entry["config_name"]: _patterns(entry.get("data_files", [])) for entry in named}


def _patterns(entry: Any) -> list[str]:
    """Return the file patterns of a configuration's ``data_files``: a text, {"path": ...}, or a list of these."""
    if isinstance(entry, list):
        return [pattern for one in entry for pattern in _patterns(one)]
    return _patterns(entry.get("path", [])) if isinstance(entry, dict) else [entry]


def _files(folder: Path, config: str) -> list[Path]:
    """Return the data files of a configuration: as the README says, else by folder name, else by file name."""
    declared = {path for pattern in _configs(folder).get(config, []) for path in folder.glob(pattern)}
    if declared:
        return sorted(declared)
    if folder.name == config and not (folder / config).is_dir():
        return _data_files(folder)
    named = [folder / config, *(folder / f"{config}{suffix}" for suffix in SUFFIXES)]
    return next((files for path in named if (files := _data_files(path))), [])


def _data_files(path: Path) -> list[Path]:
    """Return the file itself when it is one of data, or all data files below a folder, sorted by path."""
    if path.is_dir():
        return [file for inner in sorted(path.rglob("*")) if inner.is_file() for file in _data_files(inner)]
    return [path] if path.is_file() and path.suffix in SUFFIXES and path.name != "instructions.json" else []


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
    """Return how many rows a file has; lines are counted, not parsed. Raises KitError for a broken file."""
    return _parquet(path).metadata.num_rows if path.suffix == ".parquet" else sum(1 for _ in _rows(path))


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line from 1, row) of a file; JSON lines come as bytes, since only those that are kept are parsed.

    For Parquet and JSON lists the "line" is the row's number.
    """
    if path.suffix == ".parquet":
        yield from enumerate((row for batch in _parquet(path).iter_batches(8192) for row in batch.to_pylist()), 1)
        return
    with open(path, "rb") as handle:
        is_list = path.suffix == ".json" and handle.read(64).lstrip()[:1] == b"["
        handle.seek(0)
        if is_list:
            yield from enumerate(read_json(path), 1)
        else:
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
    if isinstance(row, bytes):
        try:
            row = json.loads(row)
        except ValueError as error:
            why = getattr(error, "msg", "not UTF-8 text")
            raise KitError(f"{place} is not valid JSON ({why}); mend or delete that line") from None
    if not isinstance(row, dict):
        raise KitError(f"{place} holds {type(row).__name__}, not an object; mend or delete that line")
    query, own = row.get("query"), row.get("instruction") or ""
    if isinstance(query, list | tuple) and len(query) == 2:  # [instruction, text], as some E5-like sets have it
        own, query = query
    positive, negative = _first(row.get("positive", row.get("pos"))), _first(row.get("negative", row.get("neg")))
    texts = {"query": query, "positive": positive, "negative": negative or ""}
    for key, text in texts.items():
        if not isinstance(text, str) or (key != "negative" and not text.strip()):
            raise KitError(f"{place} has no text under {key!r}; mend or delete that line")
    category, language = row.get("category") or category, row.get("language") or ""
    return Triplet(str(own or instruction), **texts, category=category, language=language, id=row.get("id") or name)


def _first(value: Any) -> Any:
    """Return a text from a text or from a list of texts (the first): E5 rows hold either."""
    while isinstance(value, list | tuple):
        value = value[0] if value else ""
    return value
