"""The triplet: what every stage between the LLM's answer and the training batch passes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lib.common.files import KitError, read_jsonl, write_jsonl


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


_FIELDS = tuple(field.name for field in fields(Triplet))


def read_triplets(path: str | Path) -> list[Triplet]:
    """Read triplets from JSON lines; unknown keys are ignored, so files made elsewhere can be read.

    Raises KitError naming file and row when a query or positive is missing, empty or not text.
    """
    triplets = []
    for number, row in enumerate(read_jsonl(path), start=1):
        for name in ("query", "positive"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise KitError(f"{path}, row {number} has no text under {name!r}; fix or delete that row")
        values = {name: "" if row.get(name) is None else row[name] for name in _FIELDS if name in row}
        wrong = [name for name, value in values.items() if not isinstance(value, str)]
        if wrong:
            raise KitError(f"{path}, row {number} holds {type(values[wrong[0]]).__name__} under {wrong[0]!r}, not text")
        triplets.append(Triplet(**{"instruction": "", **values}))
    return triplets


def write_triplets(path: str | Path, triplets: Iterable[Triplet]) -> Path:
    """Write triplets as JSON lines, atomically."""
    return write_jsonl(path, (asdict(triplet) for triplet in triplets))
