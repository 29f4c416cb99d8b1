"""What all cards share: the licence, the reference, who wrote the data, when a file was made, and the hub's form."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import yaml

from lib.common.bundled import ROOT, data_path
from lib.common.files import KitError, read_json
from lib.params.params import Params

PAPER = "https://arxiv.org/abs/2509.06184"
UNKNOWN = "unknown: the terms of the generator and of the public data"


def licence(params: Params, data: Path) -> str | None:
    """Return the hub's name of the licence of a folder's triplets and what was trained on them; None where unknown.

    Bundled answers come under the kit's licence; what a model that was asked afresh wrote is under that model's terms.
    """
    replayed = read_json(data / "generation.json")["backend"] == "replay"
    return "mit" if replayed and params.public.source == "docstrings" else None


def licence_url(params: Params, data: Path) -> str:
    """Return the licence's address, or that it is unknown."""
    return "https://spdx.org/licenses/MIT.html" if licence(params, data) == "mit" else UNKNOWN


def citation() -> str:
    """Return the reference of the paper that the kit reproduces, from ``CITATION.cff``."""
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["preferred-citation"]
    names = ", ".join(author["family-names"] for author in paper["authors"])
    return f"{names} ({paper['year']}). {paper['title']}. {paper['collection-title']}. {paper['url']}"


def writer(data: Path) -> str:
    """Return who wrote the triplets of a data folder, as people say it."""
    name = read_json(data / "generation.json")["generator"]
    return "a large language model, as bundled with the kit" if name == "replay" else name


def made(path: Path) -> str:
    """Return when a file was written (ISO 8601, UTC). Raises KitError where there is none."""
    if not path.is_file():
        raise KitError(f"{path} does not exist; cards are of a finished run, so say `make reproduce` first")
    return datetime.datetime.fromtimestamp(int(path.stat().st_mtime), tz=datetime.UTC).isoformat()


def head(name: str) -> dict[str, Any]:
    """Return the part of a JSON-LD document that is the same for every run."""
    return json.loads(data_path(f"share/{name}.json").read_text(encoding="utf-8"))


def card(name: str, metadata: dict[str, Any], **values: Any) -> str:
    """Return a card as the hub reads it: YAML between two lines of dashes, then the Markdown of a template."""
    text = data_path(f"share/{name}_card.md").read_text(encoding="utf-8").format(**values, cite=citation())
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=120)}---\n\n{text}"
