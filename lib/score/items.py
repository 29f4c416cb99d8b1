"""Item by item: how well one model did on each query, pair or text of a set.

Works from the predictions that mteb saves (``score(..., predictions=True)``). ``lib.score.comparison`` compares two models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.common.files import KitError, read_json


@dataclass(frozen=True)
class Items:
    """One model on one set. ``values`` (items,): how well each went; ``score(rows)``: the set's score of a resample."""

    texts: list[str]
    answers: list[str]
    values: np.ndarray
    score: object


def read_items(task, folder: str | Path) -> Items | None:
    """Return the items of a loaded task from mteb's predictions in ``folder``; None for clustering, which has none."""
    reader = {
        "Classification": _classification,
        "PairClassification": _pairs,
        "STS": _sts,
        "Summarization": _summaries,
        "BitextMining": _translations,
        "Retrieval": _ranking,
        "Reranking": _ranking,
    }.get(task.metadata.type)
    if reader is None:
        return None
    path = Path(folder) / task.prediction_file_name
    saved = read_json(path)
    if "default" not in saved or "test" not in saved["default"]:
        raise KitError(f"{path} holds no predictions of the test split; delete it and score with explain=True again")
    return reader(task, saved["default"]["test"])


def _mean(values: np.ndarray):
    return lambda rows: float(values[rows].mean())


def _classification(task, predicted: list[list]) -> Items:
    test = task.dataset["test"]
    labels = np.asarray(test["label"][:])
    right = np.asarray(predicted) == labels  # draws x items
    names = {int(label): str(label) for label in labels}
    if "label_text" in test.column_names:
        names = dict(zip(map(int, labels), test["label_text"][:], strict=True))
    said = [names.get(int(np.bincount(column).argmax()), "?") for column in np.asarray(predicted).T]
    answers = [f"says {a} (is {names[int(b)]})" for a, b in zip(said, labels, strict=True)]
    return Items(list(test["text"][:]), answers, right.mean(0), _drawn(right))


def _drawn(right: np.ndarray):
    """Score a resample of items, together with a resample of the draws that depends on the items' resample only."""

    def score(rows: np.ndarray) -> float:
        draws = np.random.default_rng(int(rows.sum())).integers(0, len(right), len(right))
        return float(right[np.ix_(draws, rows)].mean())

    return score


def _pairs(task, saved: dict) -> Items:
    """mteb's max_ap is the best of five similarities; so it is in every resample here."""
    test = task.dataset["test"]
    labels, cosine = (
        np.asarray(test["labels" if "labels" in test.column_names else "label"][:]),
        np.asarray(saved["cosine_scores"]),
    )
    near = [np.asarray(saved[key]) for key in ("similarity_scores", "cosine_scores", "dot_scores")]
    near += [-np.asarray(saved[key]) for key in ("manhattan_distances", "euclidean_distances")]
    place = _ranks(cosine)
    answers = [f"similarity {c:.2f} ({'same' if y else 'different'})" for c, y in zip(cosine, labels, strict=True)]
    return Items(
        _both(test),
        answers,
        np.where(labels == 1, place, 1 - place),
        lambda rows: max(_precision_at_hits(labels[rows], one[rows]) for one in near),
    )


def _precision_at_hits(labels: np.ndarray, scores: np.ndarray) -> float:
    """Average precision of a list sorted by score, largest first (NaN without a positive)."""
    hits = labels[np.argsort(-scores, kind="stable")] == 1
    return float((np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)).mean()) if hits.any() else np.nan


def _sts(task, saved: dict) -> Items:
    test = task.dataset["test"]
    gold, cosine = np.asarray(test["score"][:], float), np.asarray(saved["cosine_scores"])
    answers = [f"similarity {c:.2f} (people say {g:g})" for c, g in zip(cosine, gold, strict=True)]
    return Items(
        _both(test),
        answers,
        1 - np.abs(_ranks(cosine) - _ranks(gold)),
        lambda rows: float(np.corrcoef(_ranks(gold[rows]), _ranks(cosine[rows]))[0, 1]),
    )


def _summaries(task, saved: dict) -> Items:
    from scipy.stats import spearmanr

    values = np.array(
        [spearmanr(h, c).statistic for h, c in zip(saved["human_scores"], saved["cosine_scores"], strict=True)]
    )
    texts = list(task.dataset["test"]["text"][:])
    if len(texts) != len(values):  # mteb leaves texts out whose summaries all got one grade
        texts = [f"text {i}" for i in range(len(values))]
    return Items(texts, [f"rank correlation {v:.2f}" for v in values], values, _mean(values))


def _translations(task, saved: dict) -> Items:
    from sklearn.metrics import f1_score

    test = task.dataset["test"]
    found = np.array([one["corpus_id"] for one in saved["sentence1-sentence2"]])
    own, other = np.arange(len(found)), test["sentence2"][:]
    return Items(
        list(test["sentence1"][:]),
        [f"nearest: {other[i]}" for i in found],
        (found == own).astype(float),
        lambda rows: float(f1_score(own[rows], found[rows], average="weighted", zero_division=0)),
    )


def _ranking(task, saved: dict) -> Items:
    data = task.dataset["default"]["test"]
    queries = dict(zip(data["queries"]["id"][:], data["queries"]["text"][:], strict=True))
    documents = dict(zip(data["corpus"]["id"][:], data["corpus"]["text"][:], strict=True))
    texts, answers, values = [], [], []
    for query, text in queries.items():
        gains = data["relevant_docs"][query]
        order = sorted(saved.get(query, {}), key=lambda i: (-saved[query][i], i))
        values.append(_average_precision(order, gains) if task.metadata.type == "Reranking" else _ndcg(order, gains))
        first = next((place for place, i in enumerate(order, start=1) if gains.get(i, 0) > 0), 0)
        texts.append(text)
        answers.append(f"right one at place {first or '-'}; first: {documents.get(order[0], '') if order else ''}")
    values = np.asarray(values)
    return Items(texts, answers, values, _mean(values))


def _ndcg(order: list[str], gains: dict[str, int], k: int = 10) -> float:
    discount = 1 / np.log2(np.arange(2, k + 2))
    found = np.array([gains.get(i, 0) for i in order[:k]], float)
    best = np.sort([float(g) for g in gains.values()])[::-1][:k]
    return float((found * discount[: len(found)]).sum() / max((best * discount[: len(best)]).sum(), 1e-12))


def _average_precision(order: list[str], gains: dict[str, int]) -> float:
    hits = np.array([gains.get(i, 0) > 0 for i in order], float)
    return float(
        (hits * np.cumsum(hits) / np.arange(1, len(hits) + 1)).sum() / max(sum(g > 0 for g in gains.values()), 1)
    )


def _both(test) -> list[str]:
    return [f"{a}  |  {b}" for a, b in zip(test["sentence1"][:], test["sentence2"][:], strict=True)]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0 to 1, ties averaged."""
    from scipy.stats import rankdata

    return (rankdata(values) - 1) / max(len(values) - 1, 1)
