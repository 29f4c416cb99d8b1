"""Our data in the form others release theirs: one configuration per generator and category, with a data card.

The folder can be uploaded to the hub as it is; ``datasets.load_dataset(folder, configuration)`` and
``lib.generate.released.load_released`` both read it back.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean

from lib.common.design import CODES, LABELS
from lib.common.files import KitError, write_bytes, write_jsonl, write_text
from lib.common.triplets import Triplet
from lib.generate.duplicates import count_words
from lib.generate.released import config_name

_COLUMNS = ("instruction", "query", "positive", "negative", "category", "language", "id")


def export(
    folder: str | Path,
    triplets: Mapping[str, Sequence[Triplet]],
    generator: str,
    form: str = "jsonl",
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write ``{category: triplets}`` as ``synthetic_<generator>_<category>/train.<form>`` and a data card.

    ``form`` is "jsonl" or "parquet". ``about``: further lines for the card's provenance table, such as the
    parameters' digest. Returns the folder. Raises KitError for an unknown category or form.
    """
    folder = Path(folder)
    unknown = [category for category in triplets if category not in CODES]
    if unknown or form not in ("jsonl", "parquet"):
        raise KitError(
            f"cannot export {unknown[0] if unknown else form!r}; categories are {', '.join(CODES)}, "
            "forms jsonl and parquet"
        )
    filled = {category: list(triplets[category]) for category in CODES if triplets.get(category)}
    if not filled:
        raise KitError("there is no triplet to export; run notebook 01 first")
    for category, rows in filled.items():
        path = folder / config_name(generator, category) / f"train.{form}"
        records = [{name: value for name, value in asdict(row).items() if name in _COLUMNS} for row in rows]
        if form == "jsonl":
            write_jsonl(path, records)
        else:
            write_bytes(path, _parquet(records))
    write_text(folder / "README.md", card(filled, generator, form, about or {}))
    return folder


def _parquet(records: list[dict]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), sink)
    return sink.getvalue().to_pybytes()


def card(triplets: Mapping[str, Sequence[Triplet]], generator: str, form: str, about: Mapping[str, str]) -> str:
    """Return the data card: YAML front matter for the hub, and what the rows are, counted from the rows."""
    import yaml

    total = sum(len(rows) for rows in triplets.values())
    front = {
        "pretty_name": f"Synthetic triplets for text embedders, {generator}",
        "license": "mit",
        "task_categories": ["feature-extraction", "sentence-similarity", "question-answering"],
        "tags": ["text-embeddings", "synthetic", "contrastive-learning"],
        "size_categories": [_size_category(total)],
        "configs": [
            {
                "config_name": config_name(generator, category),
                "data_files": [{"split": "train", "path": f"{config_name(generator, category)}/train.{form}"}],
            }
            for category in triplets
        ],
    }
    lines = [
        "| category | rows | tasks | languages | with negative | words: query / positive / negative |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(category, rows) for category, rows in triplets.items()]
    languages = Counter(row.language or "not stated" for rows in triplets.values() for row in rows)
    ordered = sorted(languages.items(), key=lambda item: (-item[1], item[0]))
    spoken = ", ".join(f"{name} {count}" for name, count in ordered)
    facts = "\n".join(f"- {name}: {value}" for name, value in {"generator": generator, **about}.items())
    first = next(iter(triplets.values()))[0]
    example = json.dumps(asdict(first), ensure_ascii=False, indent=2)
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n"
        f"# {front['pretty_name']}\n\n"
        f"{total} rows, written by a large language model; the texts state no checked facts.\n"
        "Each row: `instruction`, `query`, `positive`, `negative` (empty where there is none), `category`,\n"
        "`language`, `id`. Long-short rows: the positive is the right label, the negative a misleading one.\n"
        "Bitext rows: the language reads `source -> target`.\n\n"
        + "\n".join(lines)
        + f"\n\nLanguages: {spoken}.\n\n## Provenance\n\n{facts}\n\n"
        f"## One row\n\n```json\n{example}\n```\n\n"
        "## Limits\n\nNot checked by people. A hard negative can be a correct answer now and then.\n"
        "Train on it, do not evaluate on it.\n"
    )


def _row(category: str, rows: Sequence[Triplet]) -> str:
    lengths = [
        round(mean(count_words(getattr(row, part)) for row in rows)) for part in ("query", "positive", "negative")
    ]
    return (
        f"| {LABELS[category]} | {len(rows)} | {len({row.instruction for row in rows})} "
        f"| {len({row.language for row in rows})} | {sum(bool(row.negative) for row in rows)} "
        f"| {lengths[0]} / {lengths[1]} / {lengths[2]} |"
    )


def _size_category(total: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if total < limit:
            return name
    return "1M<n<10M"
