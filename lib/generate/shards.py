"""Rows of data files others made: JSON lines, JSON lists and Parquet, whole or in shards, counted without parsing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lib.common.files import KitError, read_json

SUFFIXES = (".jsonl", ".json", ".parquet")


def data_files(folder: Path) -> list[Path]:
    """Return all data files below a folder, sorted by path."""
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.name != "instructions.json")


def count_rows(path: Path) -> int:
    """Return how many rows a file has; lines are counted, not parsed. Raises KitError for a broken file."""
    if path.suffix == ".parquet":
        return _parquet(path).metadata.num_rows
    if _is_list(path):
        return len(_json_list(path))
    with open(path, "rb") as handle:
        return sum(1 for line in handle if line.strip())


def read_rows(files: Sequence[Path], chosen: Sequence[int] | None = None) -> Iterator[tuple[int, Path, int, Any]]:
    """Yield (number over all files from 0, file, line in the file from 1, row) in order.

    ``chosen``: sorted numbers to yield (None: all); other lines are skipped without being parsed. For Parquet and
    JSON lists the "line" is the row's number. Raises KitError naming file and line for what is not JSON.
    """
    start, wanted = 0, iter(chosen or ())
    target = next(wanted, None)
    for path in files:
        number = start
        for line, raw in _raw(path):
            if chosen is None or number == target:
                yield number, path, line, _parse(raw, path, line)
                target = next(wanted, None)
            number += 1
        start = number


def _raw(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line, raw line as bytes or row as object)."""
    if path.suffix == ".parquet":
        rows = (row for batch in _parquet(path).iter_batches(8192) for row in batch.to_pylist())
        yield from enumerate(rows, 1)
    elif _is_list(path):
        yield from enumerate(_json_list(path), 1)
    else:
        with open(path, "rb") as handle:
            yield from ((number, line) for number, line in enumerate(handle, 1) if line.strip())


def _parse(raw: Any, path: Path, line: int) -> Any:
    if not isinstance(raw, bytes):
        return raw
    try:
        return json.loads(raw)
    except ValueError as error:
        why = getattr(error, "msg", "not UTF-8 text")
        raise KitError(f"{path}, line {line} is not valid JSON ({why}); mend or delete that line") from None


def _parquet(path: Path):
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        why = str(error).splitlines()[0]
        raise KitError(f"{path} is not a readable Parquet file ({why}); download it again") from None


def _is_list(path: Path) -> bool:
    """Is this a JSON list rather than JSON lines?"""
    if path.suffix != ".json":
        return False
    with open(path, "rb") as handle:
        return handle.read(64).lstrip()[:1] == b"["


def _json_list(path: Path) -> list:
    rows = read_json(path)
    return rows if isinstance(rows, list) else [rows]
