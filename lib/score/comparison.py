"""Two models on the same sets: how far each set moved, how sure that is, and which texts moved most.

A set's change is judged by a bootstrap over its items (queries, pairs, texts), the same resample for both models (and,
for classification, over the draws as well); for clustering, whose draws are bootstraps already, by the paired draws.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from lib.common.files import read_json
from lib.score.score import draws as draws_of


# ── two models ───────────────────────────────────────────────────────────────────────────────────────────────
def changes(tasks, base: pd.DataFrame, adapter: pd.DataFrame) -> pd.DataFrame:
    """Return per set: task, type, base, adapter, change, low, high (all 0 to 1), noise (what the interval is of).

    ``base`` and ``adapter`` are tables of ``lib.score.score.score`` with ``predictions=True``.
    """
    rows = []
    draws = [draws_of(table).set_index("task")["score"] for table in (base, adapter)]
    first, second = (table.set_index("task")["score"] for table in (base, adapter))
    for task in tasks:
        name, kind = task.metadata.name, task.metadata.type
        if name not in first or name not in second:
            continue
        task.load_data()
        one, two = (read_items(task, table.attrs["predictions"]) for table in (base, adapter))
        if one:
            rng, count = np.random.default_rng(0), len(one.values)
            samples = (rng.integers(0, count, count) for _ in range(400))
            moved = [two.score(sample) - one.score(sample) for sample in samples]
            low, high = np.nanpercentile(moved, [2.5, 97.5])
            noise = "items and draws" if kind == "Classification" else "items"
        elif name in draws[0]:  # mean +- 2 standard errors, draw i of one model against draw i of the other
            moved = draws[1][name].to_numpy() - draws[0][name].to_numpy()
            half = 2 * moved.std(ddof=1) / np.sqrt(len(moved))
            low, high, noise = moved.mean() - half, moved.mean() + half, "draws"
        else:  # sets without a test split, and aggregates
            continue
        rows.append([name, kind, first[name], second[name], second[name] - first[name], low, high, noise])
    return pd.DataFrame(rows, columns=["task", "type", "base", "adapter", "change", "low", "high", "noise"])


def examples(tasks, table: pd.DataFrame, base: pd.DataFrame, adapter: pd.DataFrame, count: int = 3) -> pd.DataFrame:
    """Return, from the table of ``changes``, the ``count`` worst and best sets, each with the item that moved most.

    Sets without items (clustering) are left out. An item whose answers read differently is preferred.
    """
    by_name = {task.metadata.name: task for task in tasks}
    judged = table[table["noise"] != "draws"].sort_values("change")
    rows = []
    for kind, sign, chosen in (("worse", 1, judged.head(count)), ("better", -1, judged.tail(count).iloc[::-1])):
        for name, change in zip(chosen["task"], chosen["change"], strict=True):
            one, two = (read_items(by_name[name], t.attrs["predictions"]) for t in (base, adapter))
            order = np.argsort(sign * (two.values - one.values), kind="stable")
            i = next((i for i in order if one.answers[i] != two.answers[i]), order[0])
            rows.append([kind, name, round(100 * change, 1), one.texts[i], one.answers[i], two.answers[i]])
    return pd.DataFrame(rows, columns=["", "task", "points", "text", "base", "adapter"])


# ── one model, item by item ──────────────────────────────────────────────────────────────────────────────────
class Items(NamedTuple):
    """One model on one set. ``values`` (items,): how well each went; ``score(rows)``: the set's score of a resample."""

    texts: list[str]
    answers: list[str]
    values: np.ndarray
    score: Callable[[np.ndarray], float]


def read_items(task, folder: str | Path) -> Items | None:
    """Return a loaded task's items from mteb's predictions in ``folder``; None for clustering and for rare types."""
    path = Path(folder) / task.prediction_file_name
    saved = read_json(path).get("default", {}).get("test") if path.is_file() else None
    kind = task.metadata.type
    if saved is not None and kind in _MEASURES:
        return _ranking(task.dataset["default"]["test"], saved, _MEASURES[kind])
    return _READERS[kind](task.dataset["test"].to_pandas(), saved) if saved is not None and kind in _READERS else None


def _classification(test: pd.DataFrame, predicted: list[list]) -> Items:
    labels = test["label"].to_numpy()
    right = np.asarray(predicted) == labels  # draws x items
    names = dict(zip(labels, test["label_text"] if "label_text" in test else labels.astype(str), strict=True))
    most = [names.get(np.bincount(column).argmax(), "?") for column in np.asarray(predicted).T]
    answers = [f"says {said} (is {names[label]})" for said, label in zip(most, labels, strict=True)]

    def score(rows: np.ndarray) -> float:  # the draws are resampled too, in a way that depends on the items' only
        draws = np.random.default_rng(int(rows.sum())).integers(0, len(right), len(right))
        return float(right[np.ix_(draws, rows)].mean())

    return Items(list(test["text"]), answers, right.mean(0), score)


def _pairs(test: pd.DataFrame, saved: dict) -> Items:
    """mteb's max_ap is the best of five similarities; so it is in every resample here."""
    column = "labels" if "labels" in test else "label"
    test = test[["sentence1", "sentence2", column]]
    if len(test) == 1:  # the hub keeps such a set as one row of lists
        test = test.explode([*test], ignore_index=True)
    labels, cosine = test[column].to_numpy(), saved["cosine_scores"]
    near = [np.asarray(saved[key]) for key in ("similarity_scores", "cosine_scores", "dot_scores")]
    near += [-np.asarray(saved[key]) for key in ("manhattan_distances", "euclidean_distances")]
    answers = [f"similarity {c:.2f} ({'same' if y else 'different'})" for c, y in zip(cosine, labels, strict=True)]

    def score(rows: np.ndarray) -> float:
        precisions = []
        for one in near:
            hits = labels[rows][np.argsort(-one[rows], kind="stable")] == 1
            precision = np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)
            precisions.append(precision.mean() if hits.any() else np.nan)  # left out by ``changes``
        return max(precisions)

    return Items(_both(test), answers, np.where(labels == 1, _ranks(cosine), 1 - _ranks(cosine)), score)


def _sts(test: pd.DataFrame, saved: dict) -> Items:
    gold, cosine = test["score"].to_numpy(float), np.asarray(saved["cosine_scores"])
    answers = [f"similarity {c:.2f} (people say {g:g})" for c, g in zip(cosine, gold, strict=True)]
    values = 1 - np.abs(_ranks(cosine) - _ranks(gold))
    return Items(_both(test), answers, values, lambda rows: np.corrcoef(_ranks(gold[rows]), _ranks(cosine[rows]))[0, 1])


def _summaries(test: pd.DataFrame, saved: dict) -> Items:
    graded = zip(saved["human_scores"], saved["cosine_scores"], strict=True)
    values = np.array([spearmanr(human, cosine).statistic for human, cosine in graded])
    # mteb leaves texts out whose summaries all got one grade
    texts = list(test["text"]) if len(test) == len(values) else [f"text {i}" for i in range(len(values))]
    return Items(texts, [f"rank correlation {v:.2f}" for v in values], values, lambda rows: values[rows].mean())


def _translations(test: pd.DataFrame, saved: dict) -> Items:
    from sklearn.metrics import f1_score

    found = np.array([one["corpus_id"] for one in saved["sentence1-sentence2"]])
    own, answers = np.arange(len(found)), [f"nearest: {test['sentence2'][i]}" for i in found]
    f1 = partial(f1_score, average="weighted", zero_division=0)
    return Items(list(test["sentence1"]), answers, (found == own) * 1.0, lambda rows: f1(own[rows], found[rows]))


def _ranking(data: dict, saved: dict[str, dict[str, float]], measure: str) -> Items:
    """Queries, graded by the program with which mteb grades them."""
    from pytrec_eval import RelevanceEvaluator

    queries, documents = (dict(zip(data[t]["id"][:], data[t]["text"][:], strict=True)) for t in ("queries", "corpus"))
    graded = RelevanceEvaluator(data["relevant_docs"], {measure}).evaluate(saved)
    values = np.array([graded[query][measure.replace(".", "_")] for query in queries])
    answers = []
    for query in queries:
        order = sorted(saved[query], key=lambda i: (saved[query][i], i), reverse=True)  # as that program does
        first = next((n for n, i in enumerate(order, start=1) if data["relevant_docs"][query].get(i, 0) > 0), "-")
        answers.append(f"right one at place {first}; first: {documents[order[0]] if order else 'none'}")
    return Items(list(queries.values()), answers, values, lambda rows: values[rows].mean())


def _both(test: pd.DataFrame) -> list[str]:
    return list(test["sentence1"] + "  |  " + test["sentence2"])


def _ranks(values) -> np.ndarray:
    """Ranks from 0 to 1, ties averaged."""
    return (rankdata(values) - 1) / max(len(values) - 1, 1)


_MEASURES = {"Retrieval": "ndcg_cut.10", "Reranking": "map_cut.1000"}
_READERS = {
    "Classification": _classification,
    "PairClassification": _pairs,
    "STS": _sts,
    "Summarization": _summaries,
    "BitextMining": _translations,
}
