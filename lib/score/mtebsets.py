"""mteb task classes for sets that live in local files (imports mteb; see ``lib.score.localsets`` for the files)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import (
    AbsTaskBitextMining,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.abstasks.text.summarization import AbsTaskSummarization

from lib.common.files import digest, digest_file
from lib.score.localsets import MAIN_SCORES, files_of, read_set, read_spec

BASES = {
    "Classification": AbsTaskClassification,
    "Clustering": AbsTaskClustering,
    "PairClassification": AbsTaskPairClassification,
    "Reranking": AbsTaskRetrieval,
    "Retrieval": AbsTaskRetrieval,
    "STS": AbsTaskSTS,
    "Summarization": AbsTaskSummarization,
    "BitextMining": AbsTaskBitextMining,
}
# mteb's default would keep 4 % of a clustering set's texts, six of 160; here all are kept
_ALL_TEXTS = {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": None}


class LocalSet:
    """What the classes share: the data come from JSON lines, straight into memory."""

    spec: dict[str, Any]
    folder: Path

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Read the files into mteb's own structure (mteb calls this by name)."""
        if self.data_loaded:
            return
        data = read_set(self.spec, self.folder)
        if "corpus" in data:
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": Dataset.from_dict(data["corpus"]),
                        "queries": Dataset.from_dict(data["queries"]),
                        "relevant_docs": data["qrels"],
                        "top_ranked": data["top_ranked"],
                    }
                }
            }
        else:
            self.dataset = DatasetDict({split: Dataset.from_dict(columns) for split, columns in data.items()})
        self.data_loaded = True


def build(spec: dict[str, Any], folder: Path, revision: str):
    """Return a task object of mteb's own class for the set's type, with the set's metadata."""
    kind = spec["type"]
    instruction = spec["instruction"]
    if kind in ("Retrieval", "Reranking") and instruction:
        instruction = {"query": instruction}
    metadata = TaskMetadata(
        name=spec["name"],
        description=spec["description"] or spec["name"],
        type=kind,
        category="t2c" if "Cl" in kind[:2] else "t2t",
        eval_langs=list(spec["languages"]),
        eval_splits=["test"],
        main_score=MAIN_SCORES[kind],
        dataset={"path": f"local/{spec['name']}", "revision": revision},
        prompt=instruction or None,
    )
    members: dict[str, Any] = {
        "metadata": metadata,
        "spec": spec,
        "folder": folder,
        "__module__": __name__,
        **spec["settings"],
    }
    if kind == "Clustering":
        members |= _ALL_TEXTS
    if kind in ("STS", "Summarization"):
        members |= {"min_score": spec["min_score"], "max_score": spec["max_score"]}
    return type(spec["name"], (LocalSet, BASES[kind]), members)()


def make_task(path: Path):
    """Return the mteb task object of the set that the YAML at ``path`` describes; its data are read when it is scored.

    The task's dataset revision is the digest of its files and settings, so a changed byte is a different set.
    """
    spec = read_spec(path)
    content = [digest_file(file) for file in files_of(spec, path.parent)]
    revision = digest([content, {key: spec[key] for key in sorted(spec) if key not in ("instruction", "description")}])
    return build(spec, path.parent, revision)
