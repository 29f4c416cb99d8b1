"""Your own evaluation sets: a folder of JSON lines, one small YAML per set, and out come mteb task objects.

The bundled suite is such a folder, so its YAML files are the example to copy. Keys: ``type`` (one of the seven
task types of the paper, or BitextMining), ``file`` (or ``corpus``, ``queries`` and ``qrels`` for Retrieval),
``instruction``, and optionally
``name`` (default: the file's name), ``description``, ``languages``, ``min_score``, ``max_score``, ``settings``.
The data never pass through an arrow cache on disk, so an edited file is always seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.common.files import KitError, digest, read_jsonl

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
_KEYS = {
    "type",
    "file",
    "corpus",
    "queries",
    "qrels",
    "instruction",
    "name",
    "description",
    "languages",
    "min_score",
    "max_score",
    "settings",
}
_SETTINGS = {
    "Classification": {"n_experiments", "samples_per_label"},
    "Clustering": {"n_clusters", "max_documents_per_cluster", "k_mean_batch_size"},
}


def read_spec(path: Path) -> dict[str, Any]:
    """Read and check the YAML of one set. Raises KitError naming the file and what is wrong with it."""
    import difflib

    import yaml

    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KitError(
            f"{path} cannot be read as YAML ({str(error).splitlines()[0]}); see the bundled suite for examples"
        ) from None
    if not isinstance(spec, dict):
        raise KitError(
            f"{path} must be a YAML mapping with type, file and instruction; see the bundled suite for examples"
        )
    unknown = sorted(set(map(str, spec)) - _KEYS)
    if unknown:
        near = difflib.get_close_matches(unknown[0], sorted(_KEYS), n=1)
        raise KitError(f"{path} has an unknown key {unknown[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if spec.get("type") not in MAIN_SCORES:
        raise KitError(f"{path}: type is {spec.get('type')!r}, but must be one of {', '.join(MAIN_SCORES)}")
    for key in RETRIEVAL_COLUMNS if spec["type"] == "Retrieval" else ("file",):
        if not isinstance(spec.get(key), str) or not (path.parent / spec[key]).is_file():
            raise KitError(
                f"{path}: {key} is {spec.get(key)!r}, which is no file in {path.parent}; name a JSON lines file there"
            )
    strange = sorted(set(spec.get("settings") or {}) - _SETTINGS.get(spec["type"], set()))
    if strange:
        raise KitError(
            f"{path}: {spec['type']} has no setting {strange[0]!r}; it has "
            f"{', '.join(sorted(_SETTINGS.get(spec['type'], ()))) or 'none'}"
        )
    return {
        "name": path.stem,
        "instruction": "",
        "description": "",
        "languages": ["eng-Latn"],
        "min_score": 0,
        "max_score": 5,
        "settings": {},
        **spec,
    }


def files_of(spec: dict[str, Any], folder: Path) -> list[Path]:
    """Return the data files of a set."""
    return [folder / spec[key] for key in (RETRIEVAL_COLUMNS if spec["type"] == "Retrieval" else ("file",))]


def _checked(path: Path, columns: dict[str, Any]) -> list[dict]:
    rows = read_jsonl(path)
    if not rows:
        raise KitError(f"{path} holds no rows; add some or remove the set's YAML")
    for number, row in enumerate(rows, start=1):
        for name, kind in columns.items():
            value = row.get(name)
            if not _fits(value, kind, (int, float) if name == "relevance" else str):
                kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
                raise KitError(
                    f"{path}, row {number}: {name!r} is {value!r:.60}, but must be a non-empty {kinds}; mend that row"
                )
    return rows


def _fits(value: Any, kind: Any, inside: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    if isinstance(value, str):
        return bool(value.strip())
    return bool(value) and all(_fits(item, inside, None) for item in value) if isinstance(value, list) else True


def _texts_with_labels(rows: list[dict], path: Path) -> dict[str, dict[str, list]]:
    strange = next((n for n, row in enumerate(rows, start=1) if row["split"] not in ("train", "test")), None)
    if strange:
        raise KitError(
            f"{path}, row {strange}: split is {rows[strange - 1]['split']!r}, but must be train or test; mend that row"
        )
    splits = {split: [row for row in rows if row["split"] == split] for split in ("train", "test")}
    for split, chosen in splits.items():
        if len({row["label"] for row in chosen}) < 2:
            raise KitError(f"{path} needs rows of at least two labels with split {split!r}")
    number = {label: i for i, label in enumerate(sorted({row["label"] for row in rows}, key=str))}  # as fast as it gets
    return {
        split: {
            "text": [r["text"] for r in chosen],
            "label": [number[r["label"]] for r in chosen],
            "label_text": [str(r["label"]) for r in chosen],
        }
        for split, chosen in splits.items()
    }


def _reranking(rows: list[dict]) -> dict[str, Any]:
    """Candidates get the digest of their text as id, so that ties are not broken in favour of the positives."""
    corpus, queries, qrels, top = {}, {}, {}, {}
    for number, row in enumerate(rows):
        query = f"q{number:05d}"
        queries[query] = row["query"]
        ids = [digest(text) for text in row["positive"] + row["negative"]]
        corpus.update(zip(ids, row["positive"] + row["negative"], strict=True))
        qrels[query] = {i: int(place < len(row["positive"])) for place, i in reversed(list(enumerate(ids)))}
        top[query] = list(dict.fromkeys(ids))
    return {
        "corpus": {"id": list(corpus), "title": [""] * len(corpus), "text": list(corpus.values())},
        "queries": {"id": list(queries), "text": list(queries.values())},
        "qrels": qrels,
        "top_ranked": top,
    }


def _retrieval(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    rows = {key: _checked(folder / spec[key], columns) for key, columns in RETRIEVAL_COLUMNS.items()}
    ids = {}
    for key in ("corpus", "queries"):
        ids[key] = [row["_id"] for row in rows[key]]
        if len(set(ids[key])) < len(ids[key]):
            twice = next(i for n, i in enumerate(ids[key]) if i in ids[key][:n])
            raise KitError(f"{folder / spec[key]}: _id {twice!r} occurs twice; give each row its own")
    qrels: dict[str, dict[str, int]] = {}
    for number, row in enumerate(rows["qrels"], start=1):
        for key, column in (("queries", "query-id"), ("corpus", "corpus-id")):
            if row[column] not in ids[key]:
                raise KitError(
                    f"{folder / spec['qrels']}, row {number}: {column} {row[column]!r} is not in {spec[key]}"
                )
        qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = row["score"]
    missing = [i for i in ids["queries"] if not any(score > 0 for score in qrels.get(i, {}).values())]
    if missing:
        raise KitError(
            f"{folder / spec['queries']}: query {missing[0]!r} has no relevant document in {spec['qrels']}; add one"
        )
    return {
        "corpus": {
            "id": ids["corpus"],
            "title": [r.get("title") or "" for r in rows["corpus"]],
            "text": [r["text"] for r in rows["corpus"]],
        },
        "queries": {"id": ids["queries"], "text": [r["text"] for r in rows["queries"]]},
        "qrels": qrels,
        "top_ranked": None,
    }


def read_set(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the checked data of one set in the columns that mteb wants, keyed by split ("test", and "train").

    Raises KitError naming file and row for anything malformed.
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
    columns = {"text": "sentences", "label": "labels"} if kind == "Clustering" else {"label": "labels"}
    return {"test": {columns.get(name, name): [row[name] for row in rows] for name in COLUMNS[kind]}}
