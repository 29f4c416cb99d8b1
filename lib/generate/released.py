"""Data that others released: the paper authors' synthetic triplets and the public E5 data, from a folder or the hub.

Synthetic data come per generator and category under a configuration name such as
``synthetic_LLaMA-3.1-8B-Instruct_sts``; the E5 data as one file per data set with ``query, positive, negative``.
JSON lines, JSON and Parquet are read, in shards or whole; only the rows that are kept are parsed. Our own data
leave in the same form: ``lib.generate.export``.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.common.bundled import DATA
from lib.common.design import CODES
from lib.common.files import KitError
from lib.common.triplets import Triplet
from lib.generate.shards import SUFFIXES, count_rows, data_files, read_rows

_CATEGORIES = "|".join(category.replace("_", "[-_]") for category in CODES)
_CONFIG = re.compile(rf"^synthetic_(?P<generator>.+?)_(?P<category>{_CATEGORIES})$")


def config_name(generator: str, category: str) -> str:
    """Return the configuration name of one generator and category, as the released data have it."""
    return f"synthetic_{generator.split('/')[-1]}_{category}"


def released(location: str | Path) -> list[tuple[str, str]]:
    """Return the (generator, category) pairs that a folder holds, sorted, whichever of the layouts it uses."""
    folder = fetch(location)
    names = set(_configs(folder)) | {
        path.name if path.is_dir() else path.name.split(".jsonl")[0].split(".json")[0].split(".parquet")[0]
        for path in folder.iterdir()
    }
    found = (_CONFIG.match(name) for name in names)
    return sorted({(match["generator"], match["category"].replace("-", "_")) for match in found if match})


def load_released(location: str | Path, generator: str, category: str, n: int = 0, seed: int = 0) -> list[Triplet]:
    """Return the released triplets of one generator and category (``n`` of them, sampled by ``seed``; 0: all).

    ``location`` is a folder or a data set's name on the hub. Raises KitError, naming what there is, when that
    generator and category are not there.
    """
    folder, config = fetch(location, config_name(generator, category)), config_name(generator, category)
    files = _files(folder, config) or _files(folder, config_name(generator, category.replace("_", "-")))
    if not files:
        known = ", ".join(config_name(*pair) for pair in released(folder)) or "nothing of that form"
        raise KitError(f"{location} holds no {config}; it holds {known}")
    return _load(files, n, seed, category=category, prefix=CODES[category])


def load_folder(location: str | Path, category: str = "", n: int = 0, seed: int = 0) -> list[Triplet]:
    """Return the triplets of one data file, or of all data files below a folder, in order of their names."""
    path = Path(location)
    files = [path] if path.is_file() else data_files(fetch(location))
    if not files:
        raise KitError(f"{location} holds no {', '.join(SUFFIXES)} file; name the folder that does")
    return _load(files, n, seed, category=category, prefix=CODES.get(category, category or path.stem))


def load_e5(location: str | Path, datasets: Sequence[str] = (), n: int = 0, seed: int = 0) -> list[Triplet]:
    """Return public training pairs in the E5 form, one file (or folder of shards) per data set.

    ``datasets`` chooses data sets by name (empty: all). ``n`` rows are shared out in proportion to the data sets'
    sizes (0: all) and mixed. ``category`` is "public", ``id`` names data set and row. Instructions: the row's own,
    else ``instructions.json`` in the folder, else the kit's (data/e5_instructions.json, in our words).
    """
    if not location:
        raise KitError("public.location is empty; name the folder (or hub data set) that holds the E5 data")
    folder = fetch(location)
    found = {
        path.stem: [path] if path.is_file() else data_files(path)
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
        and path.name != "instructions.json"
        and (path.suffix in SUFFIXES or path.is_dir() and data_files(path))
    }
    missing = [name for name in datasets if name not in found]
    if missing or not found:
        raise KitError(
            f"{location} holds no data set {missing[0] if missing else 'at all'}; it holds "
            f"{', '.join(found) or 'no ' + ', '.join(SUFFIXES) + ' file'}"
        )
    chosen = {name: files for name, files in found.items() if not datasets or name in datasets}
    sizes = {name: sum(count_rows(file) for file in files) for name, files in chosen.items()}
    instructions = _instructions(folder)
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
    from lib.common.bundled import ROOT

    for folder in (Path(location), ROOT / location):
        if folder.is_dir():
            return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(location)) or str(location).startswith("."):
        raise KitError(f"there is no folder {location}, and it is no name of a hub data set (owner/name) either")
    from lib.common.network import hub_address, hub_reachable

    online = hub_reachable()
    patterns = [f"*{config}/*", f"*{config}*", "README.md"] if config else None
    try:
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(str(location), repo_type="dataset", allow_patterns=patterns, local_files_only=not online)
        )
    except Exception as error:
        why = f"the hub says: {str(error).splitlines()[0][:150]}" if online else f"{hub_address()} does not answer"
        raise KitError(
            f"{location} is neither a folder nor in the hub's cache, and {why}; connect to the hub or "
            "download it there and name its folder"
        ) from None


def _configs(folder: Path) -> dict[str, list[str]]:
    """Return {configuration: file patterns} of the README's front matter, as data sets on the hub declare them."""
    import yaml

    try:
        front = (folder / "README.md").read_text(encoding="utf-8").split("---\n")[1]
        configs = (yaml.safe_load(front) or {}).get("configs") or []
    except (OSError, IndexError, yaml.YAMLError, UnicodeDecodeError, AttributeError):
        return {}
    found = {}
    for entry in configs:
        files = entry.get("data_files", []) if isinstance(entry, dict) else []
        files = [files] if isinstance(files, str | dict) else files
        paths = [path for file in files for path in _listed(file if isinstance(file, str) else file.get("path", []))]
        if isinstance(entry, dict) and entry.get("config_name"):
            found[entry["config_name"]] = paths
    return found


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _files(folder: Path, config: str) -> list[Path]:
    """Return the data files of a configuration: as the README says, else by folder name, else by file name."""
    declared = sorted({path for pattern in _configs(folder).get(config, []) for path in folder.glob(pattern)})
    if declared:
        return declared
    if (folder / config).is_dir():
        return data_files(folder / config)
    if folder.name == config:
        return data_files(folder)
    return [folder / f"{config}{suffix}" for suffix in SUFFIXES if (folder / f"{config}{suffix}").is_file()]


def _instructions(folder: Path) -> dict[str, str]:
    own = DATA / "e5_instructions.json"
    texts = json.loads(own.read_text(encoding="utf-8"))
    if (folder / "instructions.json").exists():
        from lib.common.files import read_json

        texts.update(read_json(folder / "instructions.json"))
    return texts


def _load(files: Sequence[Path], n: int, seed: int, category: str, prefix: str, instruction: str = "") -> list[Triplet]:
    """Return the triplets of some files as one, ``n`` of them chosen by ``seed`` when ``n`` is set."""
    total = sum(count_rows(path) for path in files)
    chosen = sorted(random.Random(f"{seed}|{prefix}").sample(range(total), n)) if n and n < total else None
    return [
        _triplet(row, path, line, category, f"{prefix}-{number:06d}", instruction)
        for number, path, line, row in read_rows(files, chosen)
    ]


def _triplet(row: Any, path: Path, number: int, category: str, name: str, instruction: str) -> Triplet:
    if not isinstance(row, dict):
        raise KitError(f"{path}, line {number} holds {type(row).__name__}, not an object; mend or delete that line")
    query, own = row.get("query"), row.get("instruction") or ""
    if isinstance(query, list | tuple) and len(query) == 2:  # [instruction, text], as some E5-like sets have it
        own, query = query
    texts = {
        "query": query,
        "positive": _first(row.get("positive", row.get("pos"))),
        "negative": _first(row.get("negative", row.get("neg"))) or "",
    }
    for key, text in texts.items():
        if not isinstance(text, str) or (key != "negative" and not text.strip()):
            raise KitError(f"{path}, line {number} has no text under {key!r}; mend or delete that line")
    return Triplet(
        instruction=str(own or instruction),
        **texts,
        category=row.get("category") or category,
        language=row.get("language") or "",
        id=row.get("id") or name,
    )


def _first(value: Any) -> Any:
    """Return a text from a text or from a list of texts (the first): E5 rows hold either."""
    while isinstance(value, list | tuple):
        value = value[0] if value else ""
    return value
