"""Two models on the same sets: how far each set moved, how sure that is, and which texts moved most.

A set's change is judged by a bootstrap over its items (queries, pairs, texts), the same resample for both models (and,
for classification, over the draws as well); for clustering, whose draws are bootstraps already, by the paired draws.
Items come from the predictions that mteb saves (``score(..., predictions=True)``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from lib.common.files import KitError, read_json
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
        low, high = interval(one, two) if one else paired_draws(draws[0][name], draws[1][name])
        noise = ("items and draws" if kind == "Classification" else "items") if one else "draws"
        change = second[name] - first[name]
        rows.append([name, kind, first[name], second[name], change, low, high, noise])
    return pd.DataFrame(rows, columns=["task", "type", "base", "adapter", "change", "low", "high", "noise"])


def interval(base: Items, adapter: Items, resamples: int = 400, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the set's change (adapter - base), both models on the same resamples."""
    rng = np.random.default_rng(seed)
    count = len(base.values)
    changes = []
    for _ in range(resamples):
        rows = rng.integers(0, count, count)
        changes.append(adapter.score(rows) - base.score(rows))
    low, high = np.nanpercentile(changes, [2.5, 97.5])
    return float(low), float(high)


def paired_draws(base: pd.Series, adapter: pd.Series) -> tuple[float, float]:
    """Return mean change +- 2 standard errors over draws, draw i of one model against draw i of the other."""
    change = np.asarray(adapter, float) - np.asarray(base, float)
    half = 2 * change.std(ddof=1) / np.sqrt(len(change))
    return float(change.mean() - half), float(change.mean() + half)


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
@dataclass(frozen=True)
class Items:
    """One model on one set. ``values`` (items,): how well each went; ``score(rows)``: the set's score of a resample."""

    texts: list[str]
    answers: list[str]
    values: np.ndarray
    score: Callable[[np.ndarray], float]


def read_items(task, folder: str | Path) -> Items | None:
    """Return the items of a loaded task from mteb's predictions in ``folder``; None for clustering, which has none."""
    if task.metadata.type not in _READERS:
        return None
    path = Path(folder) / task.prediction_file_name
    saved = read_json(path)
    if "default" not in saved or "test" not in saved["default"]:
        raise KitError(f"{path} holds no predictions of the test split; delete it and score with explain=True again")
    return _READERS[task.metadata.type](task, saved["default"]["test"])


def _classification(task, predicted: list[list]) -> Items:
    test = task.dataset["test"]
    labels = np.asarray(test["label"][:])
    right = np.asarray(predicted) == labels  # draws x items
    said = test["label_text"][:] if "label_text" in test.column_names else [str(int(label)) for label in labels]
    names = dict(zip(map(int, labels), said, strict=True))
    most = [names.get(int(np.bincount(column).argmax()), "?") for column in np.asarray(predicted).T]
    answers = [f"says {a} (is {names[int(b)]})" for a, b in zip(most, labels, strict=True)]

    def score(rows: np.ndarray) -> float:  # the draws are resampled too, in a way that depends on the items' only
        draws = np.random.default_rng(int(rows.sum())).integers(0, len(right), len(right))
        return float(right[np.ix_(draws, rows)].mean())

    return Items(list(test["text"][:]), answers, right.mean(0), score)


def _pairs(task, saved: dict) -> Items:
    """mteb's max_ap is the best of five similarities; so it is in every resample here."""
    test = task.dataset["test"]
    labels = np.asarray(test["labels" if "labels" in test.column_names else "label"][:])
    cosine = np.asarray(saved["cosine_scores"])
    near = [np.asarray(saved[key]) for key in ("similarity_scores", "cosine_scores", "dot_scores")]
    near += [-np.asarray(saved[key]) for key in ("manhattan_distances", "euclidean_distances")]
    place = _ranks(cosine)
    answers = [f"similarity {c:.2f} ({'same' if y else 'different'})" for c, y in zip(cosine, labels, strict=True)]
    values = np.where(labels == 1, place, 1 - place)
    return Items(
        _both(test), answers, values, lambda rows: max(_precision_at_hits(labels[rows], s[rows]) for s in near)
    )


def _precision_at_hits(labels: np.ndarray, scores: np.ndarray) -> float:
    """Average precision of a list sorted by score, largest first (NaN without a positive)."""
    hits = labels[np.argsort(-scores, kind="stable")] == 1
    return float((np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)).mean()) if hits.any() else np.nan


def _sts(task, saved: dict) -> Items:
    test = task.dataset["test"]
    gold, cosine = np.asarray(test["score"][:], float), np.asarray(saved["cosine_scores"])
    answers = [f"similarity {c:.2f} (people say {g:g})" for c, g in zip(cosine, gold, strict=True)]

    def score(rows: np.ndarray) -> float:
        return float(np.corrcoef(_ranks(gold[rows]), _ranks(cosine[rows]))[0, 1])

    return Items(_both(test), answers, 1 - np.abs(_ranks(cosine) - _ranks(gold)), score)


def _summaries(task, saved: dict) -> Items:
    graded = zip(saved["human_scores"], saved["cosine_scores"], strict=True)
    values = np.array([spearmanr(human, cosine).statistic for human, cosine in graded])
    texts = list(task.dataset["test"]["text"][:])
    if len(texts) != len(values):  # mteb leaves texts out whose summaries all got one grade
        texts = [f"text {i}" for i in range(len(values))]
    return Items(texts, [f"rank correlation {v:.2f}" for v in values], values, _mean(values))


def _translations(task, saved: dict) -> Items:
    from sklearn.metrics import f1_score

    test = task.dataset["test"]
    found = np.array([one["corpus_id"] for one in saved["sentence1-sentence2"]])
    own, other = np.arange(len(found)), test["sentence2"][:]

    def score(rows: np.ndarray) -> float:
        return float(f1_score(own[rows], found[rows], average="weighted", zero_division=0))

    return Items(
        list(test["sentence1"][:]), [f"nearest: {other[i]}" for i in found], (found == own).astype(float), score
    )


def _ranking(task, saved: dict) -> Items:
    data = task.dataset["default"]["test"]
    queries, documents = (dict(zip(data[t]["id"][:], data[t]["text"][:], strict=True)) for t in ("queries", "corpus"))
    grade = _average_precision if task.metadata.type == "Reranking" else _ndcg
    answers, values = [], []
    for query in queries:
        gains, found = data["relevant_docs"][query], saved.get(query, {})
        order = sorted(found, key=lambda i: (-found[i], i))
        values.append(grade(order, gains))
        first = next((place for place, i in enumerate(order, start=1) if gains.get(i, 0) > 0), "-")
        answers.append(f"right one at place {first}; first: {documents.get(order[0], '') if order else ''}")
    return Items(list(queries.values()), answers, np.asarray(values), _mean(np.asarray(values)))


def _ndcg(order: list[str], gains: dict[str, int], k: int = 10) -> float:
    discount = 1 / np.log2(np.arange(2, k + 2))
    found = np.array([gains.get(i, 0) for i in order[:k]], float)
    best = np.sort([float(g) for g in gains.values()])[::-1][:k]
    return float((found * discount[: len(found)]).sum() / max((best * discount[: len(best)]).sum(), 1e-12))


def _average_precision(order: list[str], gains: dict[str, int]) -> float:
    hits = np.array([gains.get(i, 0) > 0 for i in order], float)
    positives = max(sum(g > 0 for g in gains.values()), 1)
    return float((hits * np.cumsum(hits) / np.arange(1, len(hits) + 1)).sum() / positives)


def _mean(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda rows: float(values[rows].mean())


def _both(test) -> list[str]:
    return [f"{a}  |  {b}" for a, b in zip(test["sentence1"][:], test["sentence2"][:], strict=True)]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0 to 1, ties averaged."""
    return (rankdata(values) - 1) / max(len(values) - 1, 1)


_READERS = {
    "Classification": _classification,
    "PairClassification": _pairs,
    "STS": _sts,
    "Summarization": _summaries,
    "BitextMining": _translations,
    "Retrieval": _ranking,
    "Reranking": _ranking,
}
