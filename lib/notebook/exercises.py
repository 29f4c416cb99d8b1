"""EXERCISES: {name: (the right function, {case: arguments}, {mistake: function})}, of what the notebooks ask.

A new one is an entry here and in ``lib/data/hints.yaml``, a function between two markers, and a ``check`` after it.
"""

from __future__ import annotations

import itertools
import json
from functools import partial

import numpy as np
import pandas as pd
import torch

from lib.generate.overlap import overlap, words
from lib.generate.parsing import Parsed, parse_response
from lib.kernels.infonce import infonce

# ── 01: one rule of the parser ───────────────────────────────────────────────────────────────────────────
KEYS = ("input", "positive_document")
GOOD = json.dumps({"input": "to dawdle {verb}", "positive_document": "to be slow"})
ANSWERS = {
    "an answer as it should be": GOOD,
    "an answer with chatter and a fence around it": f"Sure, here it is!\n```json\n{GOOD}\n```\nAnything else?",
    "an answer that is cut off": GOOD[:-6],
    "an answer cut off before its last brace": GOOD[:-1],
    "an answer without one of its keys": GOOD.replace("input", "query"),
    "an answer with an empty text": GOOD.replace("to dawdle {verb}", " "),
    "an answer with a number in place of a text": GOOD.replace('"to be slow"', "7"),
    "an answer with a key too many": GOOD.replace("{", '{"note": "mine", ', 1),
    "two different answers in one": GOOD + GOOD.replace("dawdle", "linger"),
    "a refusal": "I'm sorry, I can't help with that.",
}


def _read(text, keys):
    found = parse_response("short_short", text)
    return dict(zip(keys, (found.query, found.positive), strict=True)) if isinstance(found, Parsed) else None


def _bare(text, keys, checked=True):
    try:
        found = json.loads(text)
    except ValueError:
        return None
    good = all(isinstance(found.get(key), str) and found[key].strip() for key in keys)
    return {key: found[key] for key in keys if key in found} if good or not checked else None


def _inner(text):
    return text[max(text.find("{"), 0) : text.rfind("}") + 1]


def _closed(text, keys):
    ends = ("", "}", '"}')
    return next((found for end in ends if (found := _bare(_inner(text + end), keys) or _bare(text + end, keys))), None)


# ── 03: InfoNCE ──────────────────────────────────────────────────────────────────────────────────────────
def _loss(q, p, n, t):
    return infonce(q, torch.cat([p, n]), temperature=t)


def _batch(seed, count, hard, temperature):
    drawn = torch.randn(2 * count + hard, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return *torch.nn.functional.normalize(drawn + 0.4).split([count, count, hard]), temperature


def _softmax(q, p, n, t, axis=1, blind=False):
    scores = q @ torch.cat([p, n]).T / t
    choices = scores.masked_fill(blind & torch.eye(*scores.shape, dtype=bool), -torch.inf)
    return (choices.logsumexp(axis)[: len(q)] - scores.diagonal()).mean()


# ── 02, 04, 05: a share, nDCG, a main effect ─────────────────────────────────────────────────────────────
def _share(of, split=words, group=set):
    return lambda a, b: len([w for w in group(split(a)) if w in split(b)]) / of(group(split(a)), group(split(b)))


def _ndcg(gains, grades, k=10, discount=lambda place: 1 / np.log2(place + 1), ideal=None):
    def dcg(values):
        values = np.asarray(values, dtype=float)[:k]
        return float(values @ discount(np.arange(1.0, len(values) + 1)))

    return dcg(gains) / dcg(sorted(grades if ideal is None else ideal, reverse=True))


def _study(seed, noise):
    runs = pd.DataFrame([*itertools.product((0, 1), repeat=3)] * 2, columns=["ss", "sl", "ls"])
    pure = 3 * runs["sl"] - runs["ls"] + 2 * runs["sl"] * runs["ss"] + 50
    return runs.assign(score=pure + noise * np.random.default_rng(seed).normal(size=len(runs)))


def _effect(table, category, score):
    on = table[category] == 1
    return float(table[score][on].mean() - table[score][~on].mean())


def _single(table, category, score):
    others = table[[name for name in ("ss", "sl", "ls") if name != category]].sum(axis=1) == 0
    return _effect(table[others], category, score)


# ── 06: a prediction ─────────────────────────────────────────────────────────────────────────────────────
SINGLES = {"none": 40.0, "ss": 41.5, "sl": 44.0, "ls": 39.0}
TRAINED = SINGLES | {"ss+sl": 43.0, "ss+ls": 41.0, "sl+ls": 45.5, "ss+sl+ls": 44.5}


def _alone(scores, subset):
    return [scores[name] for name in subset.split("+")]


def _predicted(scores, subset):
    return scores["none"] + sum(score - scores["none"] for score in _alone(scores, subset))


EXERCISES = {
    "reading": (
        _read,
        {case: (text, KEYS) for case, text in ANSWERS.items()},
        {"bare": _bare, "closed": _closed, "unchecked": lambda text, keys: _bare(_inner(text), keys, False)},
    ),
    "overlap": (
        overlap,
        {
            "a query and a long text": ("Slow birds", "A bird that is slow: all birds of that kind, slow or not"),
            "a long text and a label": ("The slides were mended in May, and in May they were used", "in May"),
            "texts with no word in common": ("saw", "bread"),
            "case and punctuation": ("In May!", "may, in"),
            "a word twice": ("may may be", "it may, it may not"),
        },
        {
            "jaccard": _share(lambda a, b: len(a | b)),
            "longer": _share(lambda a, b: max(len(a), len(b))),
            "first": _share(lambda a, b: len(a)),
            "split": _share(lambda a, b: min(len(a), len(b)), str.split),
            "lists": _share(lambda a, b: min(len(a), len(b)), group=list),
        },
    ),
    "infonce": (
        _loss,
        {
            "3 triplets at temperature 0.5": _batch(0, 3, 3, 0.5),
            "4 triplets, 2 of them with a hard negative": _batch(1, 4, 2, 0.5),
            "4 triplets at temperature 0.1": _batch(2, 4, 4, 0.1),
        },
        {
            "no_temperature": lambda q, p, n, t: _loss(q, p, n, 1.0),
            "times": lambda q, p, n, t: _loss(q, p, n, 1 / t),
            "positives": lambda q, p, n, t: _loss(q, p, n[:0], t),
            "columns": partial(_softmax, axis=0),
            "blind": partial(_softmax, blind=True),
            "sum": lambda q, p, n, t: len(q) * _loss(q, p, n, t),
            "sign": lambda *given: -_loss(*given),
        },
    ),
    "ndcg": (
        _ndcg,
        {
            "the one right document at place 3": ([0, 0, 1, 0], [1]),
            "two grades, the lower one first": ([1, 0, 2, 0, 0], [1, 2]),
            "a right document that was not found": ([1, 0, 0, 1, 0], [1, 1, 1]),
            "more right documents than ten places": ([1, 0] * 5, [1] * 14),
        },
        {
            "flat": lambda found, grades: _ndcg(found, grades, discount=np.ones_like),
            "reciprocal": lambda found, grades: _ndcg(found, grades, discount=lambda place: 1 / place),
            "from_zero": lambda found, grades: _ndcg(found, grades, discount=lambda place: 1 / np.log2(place + 2)),
            "ideal_found": lambda found, grades: _ndcg(found, grades, ideal=found),
            "ideal_long": lambda found, grades: _ndcg(found, grades) * _ndcg(grades[:10], grades, 99),
            "undivided": lambda found, grades: _ndcg(found, grades, ideal=[1]),
        },
    ),
    "main_effect": (
        _effect,
        {
            "a planted study": (_study(0, 0.0), "sl", "score"),
            "another category of it": (_study(0, 0.0), "ss", "score"),
            "one with noise": (_study(1, 1.0), "ls", "score"),
        },
        {
            "single": _single,
            "sign": lambda *given: -_effect(*given),
            "half": lambda *given: _effect(*given) / 2,
            "double": lambda *given: 2 * _effect(*given),
        },
    ),
    "prediction": (
        _predicted,
        {
            "two categories": (SINGLES, "ss+sl"),
            "two others, one of which harms": (SINGLES, "sl+ls"),
            "all three": (SINGLES, "ss+sl+ls"),
            "none": (SINGLES, "none"),
            "two categories whose model was trained too": (TRAINED, "ss+ls"),
        },
        {
            "scores": lambda scores, subset: sum(_alone(scores, subset)),
            "mean": lambda scores, subset: sum(_alone(scores, subset)) / len(_alone(scores, subset)),
            "best": lambda scores, subset: max(_alone(scores, subset)),
            "gains": lambda scores, subset: sum(_alone(scores, subset)) - len(_alone(scores, subset)) * scores["none"],
            "looked_up": lambda scores, subset: scores.get(subset, _predicted(scores, subset)),
        },
    ),
}
