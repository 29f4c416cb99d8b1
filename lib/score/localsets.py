"""Your own evaluation sets: a folder of JSON lines, one small YAML per set, and out come mteb task objects.

The bundled suite is such a folder, so its YAML files are the example to copy; docs/formats.md has one of each type.
The data never pass through an arrow cache on disk, so an edited file is always seen.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml

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
COLUMNS = {
    "Classification": {"text": str, "label": (str, int), "split": str},
    "Clustering": {"text": str, "label": (str, int)},
    "PairClassification": {"sentence1": str, "sentence2": str, "label": int},
    "Reranking": {"query": str, "positive": list, "negative": list},
    "STS": {"sentence1": str, "sentence2": str, "score": (int, float)},
    "Summarization": {"text": str, "human_summaries": list, "machine_summaries": list, "relevance": list},
    "BitextMining": {"sentence1": str, "sentence2": str},
}
RETRIEVAL_COLUMNS = {
    "corpus": {"_id": str, "text": str},
    "queries": {"_id": str, "text": str},
    "qrels": {"query-id": str, "corpus-id": str, "score": int},
}
_DEFAULTS = {"instruction": "", "description": "", "languages": ["eng-Latn"], "min_score": 0, "max_score": 5}
_KEYS = {"type", "file", *RETRIEVAL_COLUMNS, "name", "settings", *_DEFAULTS}
_SETTINGS = {
    "Classification": ("n_experiments", "samples_per_label"),
    "Clustering": ("k_mean_batch_size", "max_documents_per_cluster", "n_clusters"),
}


# ── the YAML ─────────────────────────────────────────────────────────────────────────────────────────────────
def read_spec(path: Path) -> dict[str, Any]:
    """Read and check the YAML of one set. Raises KitError naming the file and what is wrong with it."""
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = str(error).splitlines()[0]
        raise KitError(f"{path} cannot be read as YAML ({why}); see the bundled suite for examples") from None
    if not isinstance(spec, dict):
        raise KitError(f"{path} must be a YAML mapping with type, file and instruction; see the bundled suite")
    if unknown := sorted(set(map(str, spec)) - _KEYS):
        near = difflib.get_close_matches(unknown[0], sorted(_KEYS), n=1)
        raise KitError(f"{path} has an unknown key {unknown[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    kind = spec.get("type")
    if kind not in MAIN_SCORES:
        raise KitError(f"{path}: type is {kind!r}, but must be one of {', '.join(MAIN_SCORES)}")
    for key in RETRIEVAL_COLUMNS if kind == "Retrieval" else ("file",):
        if not isinstance(spec.get(key), str) or not (path.parent / spec[key]).is_file():
            raise KitError(
                f"{path}: {key} is {spec.get(key)!r}, which is no file in {path.parent}; name a JSON lines file there"
            )
    known = _SETTINGS.get(kind, ())
    if strange := sorted(set(spec.get("settings") or {}) - set(known)):
        raise KitError(f"{path}: {kind} has no setting {strange[0]!r}; it has {', '.join(known) or 'none'}")
    return {"name": path.stem, "settings": {}, **_DEFAULTS, **spec}


def files_of(spec: dict[str, Any], folder: Path) -> list[Path]:
    """Return the data files of a set."""
    return [folder / spec[key] for key in (RETRIEVAL_COLUMNS if spec["type"] == "Retrieval" else ("file",))]


# ── the rows ─────────────────────────────────────────────────────────────────────────────────────────────────
def read_set(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the checked data of one set in the columns that mteb wants, keyed by split ("test", and "train").

    Retrieval and Reranking: by "corpus", "queries", "qrels" and "top_ranked". Raises KitError naming file and row for
    anything malformed.
    """
    kind = spec["type"]
    if kind == "Retrieval":
        return _retrieval(spec, folder)
    path = folder / spec["file"]
    rows = _checked(path, COLUMNS[kind])
    if kind == "Classification":
        return _texts_with_labels(rows, path)
    if kind == "Reranking":
        return _reranking(rows)
    if len(rows) < 2:
        raise KitError(f"{path} has one row; a {kind} set needs at least two")
    if kind == "Summarization":
        for number, row in enumerate(rows, start=1):
            if len(row["relevance"]) != len(row["machine_summaries"]):
                raise KitError(
                    f"{path}, row {number}: {len(row['machine_summaries'])} machine summaries but "
                    f"{len(row['relevance'])} relevance scores; give one each"
                )
    if kind == "PairClassification" and {row["label"] for row in rows} != {0, 1}:
        raise KitError(f"{path} needs pairs with label 1 and pairs with label 0, and no other label")
    theirs = {"text": "sentences", "label": "labels"} if kind == "Clustering" else {"label": "labels"}
    return {"test": {theirs.get(name, name): [row[name] for row in rows] for name in COLUMNS[kind]}}


def _checked(path: Path, columns: dict[str, Any]) -> list[dict]:
    rows = read_jsonl(path)
    if not rows:
        raise KitError(f"{path} holds no rows; add some or remove the set's YAML")
    for number, row in enumerate(rows, start=1):
        for name, kind in columns.items():
            if not _fits(row.get(name), kind, (int, float) if name == "relevance" else str):
                kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
                raise KitError(
                    f"{path}, row {number}: {name!r} is {row.get(name)!r:.60}, but must be a non-empty {kinds}; "
                    "mend that row"
                )
    return rows


def _fits(value: Any, kind: Any, inside: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    if isinstance(value, list):
        return bool(value) and all(_fits(item, inside, None) for item in value)
    return bool(value.strip()) if isinstance(value, str) else True


def _texts_with_labels(rows: list[dict], path: Path) -> dict[str, dict[str, list]]:
    for number, row in enumerate(rows, start=1):
        if row["split"] not in ("train", "test"):
            raise KitError(f"{path}, row {number}: split is {row['split']!r}, but must be train or test; mend that row")
    place = {label: i for i, label in enumerate(sorted({row["label"] for row in rows}, key=str))}
    data = {}
    for split in ("train", "test"):
        chosen = [row for row in rows if row["split"] == split]
        labels = [row["label"] for row in chosen]
        if len(set(labels)) < 2:
            raise KitError(f"{path} needs rows of at least two labels with split {split!r}")
        data[split] = {
            "text": [row["text"] for row in chosen],
            "label": [place[label] for label in labels],
            "label_text": [str(label) for label in labels],
        }
    return data


def _reranking(rows: list[dict]) -> dict[str, Any]:
    """Candidates get the digest of their text as id, so that ties are not broken in favour of the positives."""
    corpus, queries, qrels, top = {}, {}, {}, {}
    for number, row in enumerate(rows):
        query, texts = f"q{number:05d}", row["positive"] + row["negative"]
        queries[query] = row["query"]
        ids = [digest(text) for text in texts]
        corpus.update(zip(ids, texts, strict=True))
        qrels[query] = {i: int(place < len(row["positive"])) for place, i in reversed(list(enumerate(ids)))}
        top[query] = list(dict.fromkeys(ids))
    return {
        "corpus": {"id": list(corpus), "title": [""] * len(corpus), "text": list(corpus.values())},
        "queries": {"id": list(queries), "text": list(queries.values())},
        "qrels": qrels,
        "top_ranked": top,
    }


def _retrieval(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = {key: folder / spec[key] for key in RETRIEVAL_COLUMNS}
    corpus, queries, judged = (_checked(path[key], columns) for key, columns in RETRIEVAL_COLUMNS.items())
    ids = {"corpus": [row["_id"] for row in corpus], "queries": [row["_id"] for row in queries]}
    for key, found in ids.items():
        if len(set(found)) < len(found):
            twice = next(i for n, i in enumerate(found) if i in found[:n])
            raise KitError(f"{path[key]}: _id {twice!r} occurs twice; give each row its own")
    known = {key: set(found) for key, found in ids.items()}
    qrels: dict[str, dict[str, int]] = {}
    for number, row in enumerate(judged, start=1):
        for key, column in (("queries", "query-id"), ("corpus", "corpus-id")):
            if row[column] not in known[key]:
                raise KitError(f"{path['qrels']}, row {number}: {column} {row[column]!r} is not in {spec[key]}")
        qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = row["score"]
    for i in ids["queries"]:
        if not any(score > 0 for score in qrels.get(i, {}).values()):
            raise KitError(f"{path['queries']}: query {i!r} has no relevant document in {spec['qrels']}; add one")
    titles, texts = [row.get("title") or "" for row in corpus], [row["text"] for row in corpus]
    return {
        "corpus": {"id": ids["corpus"], "title": titles, "text": texts},
        "queries": {"id": ids["queries"], "text": [row["text"] for row in queries]},
        "qrels": qrels,
        "top_ranked": None,
    }


# ── mteb's task ──────────────────────────────────────────────────────────────────────────────────────────────
def make_task(path: Path):
    """Return the mteb task object of the set that the YAML at ``path`` describes; its data are read when it is scored.

    Its class is mteb's own for the set's type. The task's dataset revision is the digest of its files and settings,
    so a changed byte is a different set.
    """
    import mteb.abstasks
    from mteb.abstasks.task_metadata import TaskMetadata

    spec = read_spec(path)
    kind, instruction = spec["type"], spec["instruction"]
    content = [digest_file(file) for file in files_of(spec, path.parent)]
    decides = {key: spec[key] for key in sorted(spec) if key not in ("instruction", "description")}
    metadata = TaskMetadata(
        name=spec["name"],
        description=spec["description"] or spec["name"],
        type=kind,
        category="t2c" if kind in ("Classification", "Clustering") else "t2t",
        eval_langs=list(spec["languages"]),
        eval_splits=["test"],
        main_score=MAIN_SCORES[kind],
        dataset={"path": f"local/{spec['name']}", "revision": digest([content, decides])},
        prompt=({"query": instruction} if kind in ("Retrieval", "Reranking") else instruction) if instruction else None,
    )
    members = {"metadata": metadata, "spec": spec, "folder": path.parent, "load_data": _load_data, **spec["settings"]}
    if kind == "Clustering":  # mteb's default would keep 4 % of a set's texts, six of 160; here all are kept
        members |= {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": None}
    if kind in ("STS", "Summarization"):
        members |= {"min_score": spec["min_score"], "max_score": spec["max_score"]}
    base = getattr(mteb.abstasks, f"AbsTask{'Retrieval' if kind == 'Reranking' else kind}")
    return type(spec["name"], (base,), {"__module__": __name__, **members})()


def _load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
    """Read the files into mteb's own structure (mteb calls this as the task's ``load_data``)."""
    from datasets import Dataset, DatasetDict

    if self.data_loaded:
        return
    data = read_set(self.spec, self.folder)
    if "corpus" in data:
        tables = {name: Dataset.from_dict(data[name]) for name in ("corpus", "queries")}
        found = {**tables, "relevant_docs": data["qrels"], "top_ranked": data["top_ranked"]}
        self.dataset = {"default": {"test": found}}
    else:
        self.dataset = DatasetDict({split: Dataset.from_dict(columns) for split, columns in data.items()})
    self.data_loaded = True
