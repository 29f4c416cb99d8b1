"""A data set's cards beside its triplets: ``croissant.json`` (Croissant 1.0, JSON-LD) and ``README.md`` (the hub's)."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Any

from lib.common.design import LABELS, Triplet
from lib.common.files import read_json, write_json, write_text
from lib.params.params import Params
from lib.params.provenance import check_manifest
from lib.share.common import card, citation, head, licence, licence_url, made, writer

COLUMNS = [field.name for field in fields(Triplet)]
PUBLIC = {"docstrings": "docstrings of Python packages, under the licences of those packages", "e5": "of the E5 data"}


def write(params: Params, folder: Path) -> list[Path]:
    """Write both cards of a data folder; return their paths. Raises KitError for changed or missing triplets."""
    check_manifest(folder)
    names = list(read_json(folder / "manifest.json"))
    return [
        write_json(folder / "croissant.json", croissant(params, folder, names)),
        write_text(folder / "README.md", _card(params, folder, names)),
    ]


def croissant(params: Params, folder: Path, names: list[str]) -> dict[str, Any]:
    """Return the Croissant document of the files ``names`` of a data folder, a record set for each."""
    return head("croissant") | {
        "name": f"synfluence-{params.profile}-triplets",
        "description": f"Triplets for contrastive training of text embedders, written by {writer(folder)}, in the "
        "categories of arXiv 2509.06184, and public pairs.",
        "license": licence_url(params, folder),
        "datePublished": made(folder / "manifest.json")[:10],
        "citeAs": citation(),
        "distribution": [_file(folder / name, name) for name in names],
        "recordSet": [_records(name) for name in names],
    }


def _file(path: Path, name: str) -> dict[str, str]:
    about = {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name}
    return about | {"encodingFormat": "application/jsonlines", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _records(name: str) -> dict[str, Any]:
    part = Path(name).stem
    columns = [
        {
            "@type": "cr:Field",
            "@id": f"{part}/{column}",
            "name": column,
            "dataType": "sc:Text",
            "source": {"fileObject": {"@id": name}, "extract": {"column": column}},
        }
        for column in COLUMNS
    ]
    return {"@type": "cr:RecordSet", "@id": part, "name": part, "field": columns}


def _card(params: Params, folder: Path, names: list[str]) -> str:
    parts = {Path(name).stem: (name, (folder / name).read_bytes().count(b"\n")) for name in names}
    sizes = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
    total = sum(count for _, count in parts.values())
    asked = read_json(folder / "generation.json")["categories"].values()
    metadata = {
        "license": licence(params, folder) or "other",
        "pretty_name": f"Synfluence {params.profile} triplets",
        "language": ["en"],
        "task_categories": ["sentence-similarity", "feature-extraction"],
        "tags": ["synthetic", "embeddings", "contrastive-learning", "croissant"],
        "size_categories": [next((size for limit, size in sizes.items() if total < limit), "n>1M")],
        "configs": [{"config_name": part, "data_files": name} for part, (name, _) in parts.items()],
    }
    rows = [f"| `{name}` | {LABELS.get(part, part)} | {count:,} |" for part, (name, count) in parts.items()]
    told = {
        "profile": params.profile,
        "writer": writer(folder),
        "columns": ", ".join(COLUMNS),
        "files": "\n".join(rows),
    }
    told |= {"asked": sum(n["asked"] for n in asked), "lost": sum(n["asked"] - n["valid"] for n in asked)}
    limits = head("croissant")["rai:dataLimitations"]
    return card("data", metadata, **told, public=PUBLIC[params.public.source], limits=limits)
