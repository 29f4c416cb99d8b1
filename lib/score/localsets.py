"""Your own evaluation sets: a folder of JSON lines, one small YAML per set, and out come mteb task objects.

The bundled suite is such a folder; docs/formats.md has an example of each type. An edited file is always seen.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from lib.common.files import KitError, digest, digest_file, read_jsonl

MAIN_SCORES = {
    "Classification": "accuracy",
    "Clustering": "v_measure",
    "PairClassification": "max_ap",
    "Reranking": "map_at_1000",
    "Retrieval": "ndcg_at_10",
    "STS": "cosine_spearman",
    "Summarization": "cosine_spearman",
    "BitextMining": "f1",
}
Text = Annotated[str, Field(pattern=r"\S")]
Texts = Annotated[list[Text], Field(min_length=1)]
COLUMNS = {
    "Classification": {"text": Text, "label": Text | int, "split": Literal["train", "test"]},
    "Clustering": {"text": Text, "label": Text | int},
    "PairClassification": {"sentence1": Text, "sentence2": Text, "label": int},
    "Reranking": {"query": Text, "positive": Texts, "negative": Texts},
    "STS": {"sentence1": Text, "sentence2": Text, "score": float},
    "Summarization": {"text": Text, "human_summaries": Texts, "machine_summaries": Texts, "relevance": list[float]},
    "BitextMining": {"sentence1": Text, "sentence2": Text},
}
RETRIEVAL_COLUMNS = {
    "corpus": {"_id": Text, "text": Text},
    "queries": {"_id": Text, "text": Text},
    "qrels": {"query-id": Text, "corpus-id": Text, "score": int},
}
SETTINGS = {  # numbers of mteb's protocols
    "Classification": ("n_experiments", "samples_per_label"),
    "Clustering": ("k_mean_batch_size", "max_documents_per_cluster", "n_clusters"),
}


class Spec(BaseModel, extra="forbid", strict=True):
    """What the YAML of a set may say."""

    type: Literal[tuple(MAIN_SCORES)]
    file: str | None = None  # the data; of a Retrieval set instead the next three
    corpus: str | None = None
    queries: str | None = None
    qrels: str | None = None
    name: str | None = None
    instruction: str = ""
    description: str = ""
    languages: list[str] = ["eng-Latn"]
    min_score: int | float = 0
    max_score: int | float = 5
    settings: dict[str, int] = {}


def read_spec(path: Path) -> dict[str, Any]:
    """Return the checked YAML of one set, and its data's ``files``. Raises KitError naming what is wrong with it."""
    try:
        spec = Spec.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).model_dump(exclude_none=True)
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise KitError(f"{path} describes no set ({why}); its keys are {', '.join(Spec.model_fields)}") from None
    known = SETTINGS.get(spec["type"], ())
    if strange := sorted(spec["settings"].keys() - {*known}):
        have = ", ".join(known) or "none"
        raise KitError(f"{path}: {spec['type']} has no setting {strange[0]!r}; it has {have}")
    keys = RETRIEVAL_COLUMNS if spec["type"] == "Retrieval" else ["file"]
    files = {key: path.parent / spec.get(key, "") for key in keys}
    for key, file in files.items():
        if not file.is_file():
            raise KitError(f"{path}: {key} is {spec.get(key)!r}, which is no file in {path.parent}; put it there")
    return {"name": path.stem, **spec, "files": list(files.values())}


# ── the rows ─────────────────────────────────────────────────────────────────────────────────────────────────
def read_set(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the checked data of one set in mteb's structure. Raises KitError naming file and row if malformed."""
    from datasets import Dataset, DatasetDict

    kind, paths = spec["type"], spec["files"]
    if kind == "Retrieval":
        return _retrieval(*paths)
    path, rows = paths[0], _checked(paths[0], COLUMNS[kind])
    if kind == "Reranking":
        return _reranking(rows)
    if kind == "Classification":
        names, data = sorted({row["label"] for row in rows}, key=str), {"train": [], "test": []}
        for row in rows:
            label = {"label": names.index(row["label"]), "label_text": str(row["label"])}
            data[row["split"]].append({"text": row["text"], **label})
        if few := [split for split, part in data.items() if len({row["label"] for row in part}) < 2]:
            raise KitError(f"{path} needs rows of at least two labels with split {few[0]!r}")
    elif len(rows) < 2:
        raise KitError(f"{path} has one row; a {kind} set needs at least two")
    else:
        theirs = {"text": "sentences", "label": "labels"} if kind == "Clustering" else {"label": "labels"}
        data = {"test": [{theirs.get(name, name): row[name] for name in COLUMNS[kind]} for row in rows]}
    for number, row in enumerate(rows if kind == "Summarization" else (), start=1):
        if (grades := len(row["relevance"])) != (count := len(row["machine_summaries"])):
            raise KitError(f"{path}, row {number}: {count} machine summaries but {grades} numbers in relevance")
    if kind == "PairClassification" and {row["label"] for row in rows} != {0, 1}:
        raise KitError(f"{path} needs pairs with label 1 and pairs with label 0, and no other label")
    return DatasetDict({split: Dataset.from_list(part) for split, part in data.items()})


def _checked(path: Path, columns: dict[str, Any]) -> list[dict]:
    rows = read_jsonl(path)
    if not rows:
        raise KitError(f"{path} holds no rows; add some or remove the set's YAML")
    try:
        TypeAdapter(list[TypedDict("Row", columns)]).validate_python(rows, strict=True)
    except ValidationError as error:
        (row, column, *_), why = error.errors()[0]["loc"], error.errors()[0]["msg"]
        raise KitError(f"{path}, row {row + 1}: {column!r} is {rows[row].get(column)!r:.60} ({why})") from None
    return rows


def _reranking(rows: list[dict]) -> dict[str, Any]:
    """Candidates get the digest of their text as id, so that ties are not broken in favour of the positives."""
    corpus, queries, qrels, top = {}, [], {}, {}
    for number, row in enumerate(rows):
        query, texts = f"q{number:05d}", row["positive"] + row["negative"]
        ids = [digest(text) for text in texts]
        corpus.update({i: {"_id": i, "text": text} for i, text in zip(ids, texts, strict=True)})
        queries.append({"_id": query, "text": row["query"]})
        qrels[query] = {i: int(place < len(row["positive"])) for place, i in reversed(list(enumerate(ids)))}
        top[query] = list(dict.fromkeys(ids))
    return _search(list(corpus.values()), queries, qrels, top)


def _retrieval(*paths: Path) -> dict[str, Any]:
    pairs = zip(paths, RETRIEVAL_COLUMNS.values(), strict=True)
    corpus, queries, judged = (_checked(path, columns) for path, columns in pairs)
    known = {"corpus-id": Counter(row["_id"] for row in corpus), "query-id": Counter(row["_id"] for row in queries)}
    for path, ids in zip(paths, known.values(), strict=False):
        if twice := [i for i, count in ids.items() if count > 1]:
            raise KitError(f"{path}: _id {twice[0]!r} occurs twice; give each row its own")
    qrels: dict[str, dict[str, int]] = {row["_id"]: {} for row in queries}
    for number, row in enumerate(judged, start=1):
        for column, ids in known.items():
            if row[column] not in ids:
                raise KitError(f"{paths[2]}, row {number}: {column} {row[column]!r} is not in the set")
        qrels[row["query-id"]][row["corpus-id"]] = row["score"]
    for i, judgements in qrels.items():
        if max(judgements.values(), default=0) <= 0:
            raise KitError(f"{paths[1]}: query {i!r} has no relevant document in {paths[2].name}; add one")
    return _search(corpus, queries, qrels)


def _search(corpus: list[dict], queries: list[dict], qrels: dict, top_ranked: dict | None = None) -> dict[str, Any]:
    from datasets import Dataset

    documents = [{"id": row["_id"], "title": row.get("title") or "", "text": row["text"]} for row in corpus]
    asked = [{"id": row["_id"], "text": row["text"]} for row in queries]
    tables = {"corpus": Dataset.from_list(documents), "queries": Dataset.from_list(asked)}
    return {"default": {"test": {**tables, "relevant_docs": qrels, "top_ranked": top_ranked}}}


# ── mteb's task ──────────────────────────────────────────────────────────────────────────────────────────────
def make_task(path: Path):
    """Return the mteb task object of the set that the YAML at ``path`` describes; its revision is its files' digest."""
    import mteb.abstasks
    from mteb.abstasks.task_metadata import TaskMetadata

    spec = read_spec(path)
    kind, instruction = spec["type"], spec["instruction"]
    content = [digest_file(file) for file in spec["files"]]
    decides = {key: spec[key] for key in sorted(spec) if key not in ("instruction", "description", "files")}
    metadata = TaskMetadata(
        name=spec["name"],
        description=spec["description"] or spec["name"],
        type=kind,
        category="t2c" if kind in ("Classification", "Clustering") else "t2t",
        eval_langs=spec["languages"],
        eval_splits=["test"],
        main_score=MAIN_SCORES[kind],
        dataset={"path": f"local/{spec['name']}", "revision": digest([content, decides])},
        prompt=({"query": instruction} if kind in ("Retrieval", "Reranking") else instruction) if instruction else None,
    )
    members = {"metadata": metadata, "spec": spec, "load_data": _load_data, **spec["settings"]}
    if kind == "Clustering":  # mteb's default would keep 4 % of a set's texts, six of 160; here all are kept
        members |= {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": None}
    if kind in ("STS", "Summarization"):
        members |= {"min_score": spec["min_score"], "max_score": spec["max_score"]}
    base = getattr(mteb.abstasks, f"AbsTask{'Retrieval' if kind == 'Reranking' else kind}")
    return type(spec["name"], (base,), {"__module__": __name__, **members})()


def _load_data(self, **kwargs: Any) -> None:
    """Read the files (mteb calls this as the task's ``load_data``)."""
    if not self.data_loaded:
        self.dataset, self.data_loaded = read_set(self.spec), True
