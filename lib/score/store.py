"""The store of scores: one small JSON file per (adapter, encoder settings, set), found again only when all agree.

mteb's own cache ignores encoder settings and the set's revision, gives every local checkpoint the same name, and
rounds to six digits. Here the key is a digest of everything that can move a score: the adapter's weights, the encoder's
settings, the instruction, the set's content and settings, and mteb's version.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lib.common.files import digest, write_json
from lib.score.hub import folder_digest

# the numbers of mteb's protocols that a set can change
PROTOCOL = (
    "n_experiments samples_per_label n_clusters max_documents_per_cluster k_mean_batch_size seed "
    "max_fraction_of_documents_to_embed max_document_to_embed min_score max_score max_depth k_values"
).split()


@cache
def mteb_version() -> str:
    """Return the installed mteb's version."""
    return version("mteb")


def task_key(task, adapter: str, settings: Any) -> str:
    """Return the 16 hex digits under which the score of ``task`` is kept for one adapter and one way to encode."""
    data = dict(task.metadata.dataset)
    if Path(str(data.get("path", ""))).is_dir():
        data = {"revision": data.get("revision"), "content": folder_digest(data["path"])}
    identity = {
        "name": task.metadata.name,
        "type": task.metadata.type,
        "data": data,
        "splits": list(task.eval_splits),
        "subsets": list(task.hf_subsets),
        "protocol": {name: getattr(task, name) for name in PROTOCOL if hasattr(task, name)},
        "metric": task.metadata.main_score,
    }
    return digest([identity, adapter, settings, mteb_version()])


class Store:
    """A folder of records. A record is written whole or not at all, and only for a finite score."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, task: str, key: str) -> Path:
        """Return the file of one record."""
        return self.folder / f"{task}.{key}.json"

    def get(self, task: str, key: str) -> dict[str, Any] | None:
        """Return the record, or None when there is none, or none that is as it was written, with a finite score."""
        try:
            record = json.loads(self.path(task, key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        good = (
            isinstance(record, dict)
            and record.pop("digest", "") == digest(record)
            and record.get("key") == key
            and record.get("task") == task
            and finite(record.get("score"))
        )
        return record if good else None

    def put(self, record: dict[str, Any]) -> Path:
        """Write a record atomically. Raises ValueError for a score that is not a finite number."""
        if not finite(record.get("score")):
            raise ValueError(f"the score of {record.get('task')} is {record.get('score')!r}, not a finite number")
        return write_json(self.path(record["task"], record["key"]), {**record, "digest": digest(record)})


def finite(value: Any) -> bool:
    """Say whether ``value`` is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
