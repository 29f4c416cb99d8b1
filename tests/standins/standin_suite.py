"""Stand-ins for mteb's data sets: bundled texts in the hub's own file layout, read by mteb's own task classes.

What a set looks like follows from its task's metadata: type, splits, languages, how it is loaded. Each takes a few
rows, drawn by the task's name, of one bundled set of its type, with real labels, scores and candidates.
"""

from __future__ import annotations

import random
from pathlib import Path

from lib.common.files import KitError, read_jsonl, write_jsonl, write_text
from lib.score import suites
from lib.score.localsets import read_spec

# {configuration: {split: rows}}; "" stands for every split that the task is evaluated on
Tables = dict[str, dict[str, list[dict]]]
_ONE_TEXT_PER_ROW = ("BiorxivClusteringP2P.v2",)  # at their revision; all others hold a whole set per row


def write_suite(folder: Path, suite: str | list[str]) -> None:
    """Write a stand-in for every hub data set of a suite, as ``folder/ORG__NAME`` (see ``scoring.data_dir``)."""
    for task in suites.tasks(suite):
        for leaf in suites.leaves(task):
            if not hasattr(leaf, "spec"):  # a bundled set needs none
                write_set(folder / str(leaf.metadata.dataset["path"]).replace("/", "__"), leaf)


def write_set(folder: Path, task) -> None:
    """Write the stand-in of one task's data set. Raises KitError for a type of task that has none."""
    kind, name = task.metadata.type, task.metadata.name
    if kind not in _MAKERS:
        raise KitError(f"there is no stand-in for {name}, a task of type {kind}; leave it out with scoring.exclude")
    rng = random.Random(name)
    tables = _MAKERS[kind](rng.choice(bundled(kind)), rng, task)
    if task.metadata.is_multilingual:
        tables = _by_language(tables, task)
    head = []
    for config, splits in tables.items():
        head.append(f"- config_name: {config}\n  data_files:\n")
        for split, rows in splits.items():
            for each in [split] if split else task.eval_splits:
                write_jsonl(folder / config / f"{each}.jsonl", rows)
                head.append(f"  - split: {each}\n    path: {config}/{each}.jsonl\n")
    write_text(folder / "README.md", f"---\nconfigs:\n{''.join(head)}---\n")


def bundled(kind: str) -> list[list[list[dict]]]:
    """Return the rows of each bundled evaluation set of a type, file by file."""
    folder = suites.suite_folder()
    specs = [read_spec(path) for path in sorted(folder.glob("*.yaml"))]
    return [[read_jsonl(path) for path in spec["files"]] for spec in specs if spec["type"] == kind]


def _by_language(tables: Tables, task) -> Tables:
    """One configuration per language, or one for all with a column ``lang`` where mteb loads them together."""
    rows = tables["default"]
    if not task.fast_loading:
        return dict.fromkeys(task.hf_subsets, rows)
    return {
        "default": {
            split: [{**row, "lang": language} for language in task.hf_subsets for row in found]
            for split, found in rows.items()
        }
    }


def _classification(files, rng: random.Random, task) -> Tables:
    names = sorted({row["label"] for row in files[0]})
    chosen = rng.sample(names, min(3, len(names)))
    splits: dict[str, list[dict]] = {}
    for split, ours, count in (("train", "train", 6), ("", "test", 4)):
        splits[split] = [
            {"text": row["text"], "label": chosen.index(label), "label_text": str(label)}
            for label in chosen
            for row in _some([r for r in files[0] if (r["split"], r["label"]) == (ours, label)], count, rng)
        ]
    return {"default": splits}


def _clustering(files, rng: random.Random, task) -> Tables:
    """A few sets of 16; many with repeated rows for mteb's newer kind, which draws 2,048 rows or 4 % of the sets."""
    from mteb.abstasks import AbsTaskClustering

    count, times = (50, 3) if isinstance(task, AbsTaskClustering) else (2, 1)  # a repeated text is encoded once
    sets = [_some(files[0], 16, rng) * times for _ in range(count)]
    if task.metadata.name in _ONE_TEXT_PER_ROW:
        return _plain([{"sentences": row["text"], "labels": row["label"]} for rows in sets for row in rows])
    return _plain([{"sentences": _column(rows, "text"), "labels": _column(rows, "label")} for rows in sets])


def _pairs(files, rng: random.Random, task) -> Tables:
    """All pairs in one row, under the names from which mteb's three English tasks rename them."""
    rows = _some(files[0], 16, rng)
    columns = {"sent1": "sentence1", "sent2": "sentence2", "labels": "label"}
    return _plain([{theirs: _column(rows, ours) for theirs, ours in columns.items()}])


def _sts(files, rng: random.Random, task) -> Tables:
    low, high = task.min_score, task.max_score  # ours run from 0 to 5
    return _plain([{**row, "score": low + row["score"] / 5 * (high - low)} for row in _some(files[0], 12, rng)])


def _summarization(files, rng: random.Random, task) -> Tables:
    return _plain(_some(files[0], 4, rng))


def _retrieval(files, rng: random.Random, task) -> Tables:
    corpus, queries, qrels = files
    asked = _some(queries, 6, rng)
    ids = set(_column(asked, "_id"))
    qrels = [row for row in qrels if row["query-id"] in ids]
    found = set(_column(qrels, "corpus-id"))
    documents = [row for row in corpus if row["_id"] in found]
    documents += _some([row for row in corpus if row["_id"] not in found], 6, rng)
    documents = [{"_id": row["_id"], "title": row.get("title", ""), "text": row["text"]} for row in documents]
    return {"corpus": {"": documents}, "queries": {"": asked}, "default": {"": qrels}}


def _reranking(files, rng: random.Random, task) -> Tables:
    """Query ids end in a number after "_", by which MindSmallReranking joins the parts of one query."""
    tables: dict[str, list[dict]] = {"corpus": [], "queries": [], "default": [], "top_ranked": []}
    for number, row in enumerate(_some(files[0], 5, rng)):
        query, texts = f"q{number}_0", [*row["positive"][:2], *row["negative"][:4]]
        ids = [f"d{number}-{place}" for place in range(len(texts))]
        tables["corpus"] += [{"_id": i, "title": "", "text": text} for i, text in zip(ids, texts, strict=True)]
        tables["queries"].append({"_id": query, "text": row["query"]})
        tables["default"] += [{"query-id": query, "corpus-id": i, "score": int(i in ids[:2])} for i in ids]
        tables["top_ranked"].append({"query-id": query, "corpus-ids": ids})
    return {config: {"": rows} for config, rows in tables.items()}


def _plain(rows: list[dict]) -> Tables:
    return {"default": {"": rows}}


def _column(rows: list[dict], name: str) -> list:
    return [row[name] for row in rows]


def _some(rows: list[dict], count: int, rng: random.Random) -> list[dict]:
    return rng.sample(rows, min(count, len(rows)))


_MAKERS = {
    "Classification": _classification,
    "Clustering": _clustering,
    "PairClassification": _pairs,
    "Reranking": _reranking,
    "Retrieval": _retrieval,
    "STS": _sts,
    "Summarization": _summarization,
}
