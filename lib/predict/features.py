"""Features: is a category like a set, in length, in words, in instruction and in embedding space?

No training looks at them. What they are worth is learned from other sets: a ridge regression from features to measured
effects, in which the set that is predicted takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lib.common.design import Triplet
from lib.predict.sets import Sides

NAMES = ("left length", "right length", "shared bigrams", "instruction", "nearness")
PENALTIES = np.logspace(-1, 4, 16)


def features(pools: dict[str, Sequence[Triplet]], sides: Sequence[Sides], encode, sample: int = 24) -> pd.DataFrame:
    """Return one row per category and set, in that order: ``category, task`` and NAMES.

    Lengths: |log ratio| of median words of queries (left) and positives (right). Shared bigrams: share of the set's
    word pairs that a category's texts have. Instruction, nearness: cosine of the mean vectors of instructions and of
    texts. ``encode(texts, instruction)`` is the untrained base's, ``sample`` how many texts of each side it reads.
    """
    theirs = [_described(one.left, one.right, [one.instructions[0] or one.task], encode, sample) for one in sides]
    rows = []
    for category, pool in pools.items():
        left, right = ([getattr(t, side) for t in pool] for side in ("query", "positive"))
        own = _described(left, right, sorted({t.instruction for t in pool}), encode, sample)
        for one, other in zip(sides, theirs, strict=True):
            rows.append({"category": category, "task": one.task, **_compared(own, other)})
    return pd.DataFrame(rows)


def _described(left: list[str], right: list[str], instructions: list[str], encode, sample: int) -> dict:
    words = [np.median([len(text.split()) for text in part]) for part in (left, right)]
    some = [*left[:sample], *right[:sample]]
    return {
        "words": words,
        "bigrams": {pair for text in {*left, *right} for pair in _bigrams(text)},
        "instruction": encode(instructions[:sample], "").mean(axis=0),
        "centre": encode(some, "").mean(axis=0),
    }


def _bigrams(text: str) -> list[tuple[str, str]]:
    words = text.lower().split()
    return list(zip(words, words[1:], strict=False))


def _compared(own: dict, other: dict) -> dict[str, float]:
    lengths = [abs(np.log(max(a, 1) / max(b, 1))) for a, b in zip(own["words"], other["words"], strict=True)]
    shared = len(own["bigrams"] & other["bigrams"]) / max(len(other["bigrams"]), 1)
    cosines = [float(own[k] @ other[k] / np.linalg.norm(own[k]) / np.linalg.norm(other[k]))
               for k in ("instruction", "centre")]  # fmt: skip
    return dict(zip(NAMES, (*lengths, shared, *cosines), strict=True))


def leave_one_set_out(table: pd.DataFrame, measured: np.ndarray) -> np.ndarray:
    """Return effects (categories, sets) of every set as ridge regression on the features of the other sets has them.

    ``table`` is that of ``features``, ``measured`` (categories, sets) the effects in points. Categories are features
    too (which one it is); the penalty is chosen within the other sets.
    """
    dummies = pd.get_dummies(table["category"]).to_numpy(float)
    x, y = np.column_stack([dummies, table[list(NAMES)].to_numpy(float)]), measured.ravel()
    sets = np.tile(np.arange(measured.shape[1]), measured.shape[0])
    out = np.empty(y.size)
    for left_out in range(measured.shape[1]):
        own = sets == left_out
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(x[~own], y[~own])
        out[own] = model.predict(x[own])
    return out.reshape(measured.shape)
