"""The judge: how well predicted scores agree with the scores of models that were really trained.

A prediction made from the trainings of one seed is judged by the models of the other seeds only, so that no luck is in
both. Three questions: are the larger subsets ranked rightly on each set (linear datamodelling score, LDS: Park et al.
2023, TRAK, a mean of rank correlations), are the categories' effects the measured ones, and how far off are the points?
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import rankdata

from lib.common.files import KitError
from lib.influence.scores import Study

DRAWS = 999  # of a permutation test, and of a bootstrap


@dataclass(frozen=True)
class Truth:
    """The scores of the real models in points, ``y`` (seeds, subsets, sets), and which subset has which category."""

    y: np.ndarray
    x: np.ndarray  # (subsets, categories), 0 or 1
    subsets: tuple[str, ...]
    codes: tuple[str, ...]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]

    @cached_property
    def held(self) -> np.ndarray:
        """(subsets,) which of them have two categories or more: no prediction has seen these models."""
        return self.x.sum(axis=1) > 1

    def others(self, place: int) -> np.ndarray:
        """(subsets, sets) mean scores of all seeds but one; with a single seed its own, of which ``held`` is unseen."""
        rest = [k for k in range(len(self.seeds)) if k != place] or [place]
        return self.y[rest].mean(axis=0)


def truth(study: Study) -> Truth:
    """Return a study's scores as one block. Raises KitError where a run or a score is missing, or nothing to rank."""
    runs, names, seeds = study.runs, list(study.factors), np.unique(study.runs["seed"])
    order = runs.drop_duplicates("subset").reset_index(drop=True)
    full = len(order) == 2 ** len(names) and len(runs) == len(order) * len(seeds) and np.isfinite(study.y).all()
    if not full:
        raise KitError("predictions are judged by a complete study, every subset with every seed; run `make reproduce`")
    wanted = [(seed, name) for seed in seeds for name in order["subset"]]
    y = 100 * study.y[runs.set_index(["seed", "subset"]).index.get_indexer(wanted)]
    return Truth(y.reshape(len(seeds), len(order), -1), order[names].to_numpy(float), tuple(order["subset"]),
                  study.factors, study.tasks, tuple(map(int, seeds)))  # fmt: skip


def effects(scores: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return main effects (..., categories, sets) of scores (..., subsets, sets) by least squares."""
    return np.linalg.pinv(np.column_stack([np.ones(len(x)), x - 0.5]))[1:] @ scores


def judge(predicted: np.ndarray, known: Truth, draws: int = DRAWS, seed: int = 0) -> dict[str, float]:
    """Return how well ``predicted`` (seeds, subsets, sets; points; NaN for a seed without) agrees with ``known``.

    ``lds``: Spearman over the held-out subsets, mean over sets and seeds. ``lds_size``: the same without the mean of
    each size of subsets. ``cells``: correlation with measured effects, category x set. ``rmse``: points. With ``_low,
    _high`` (95 %, bootstrap over sets) and ``_p`` (share of permutations, of subsets or cells, that do as well).
    """
    random, used = np.random.default_rng(seed), [k for k in range(len(known.seeds)) if np.isfinite(predicted[k]).all()]
    pairs = [(predicted[k], known.others(k)) for k in used]
    held = [(a[known.held], b[known.held]) for a, b in pairs]
    size = known.x[known.held].sum(axis=1)
    out = _ranking("lds", held, random, draws)
    out |= _ranking("lds_size", [(_without_size(a, size), _without_size(b, size)) for a, b in held], random, draws)
    rows = known.held if len(known.seeds) == 1 else slice(None)  # a single seed is judged by models not seen
    out |= _cells([[effects(part[rows], known.x[rows]) for part in pair] for pair in pairs], random, draws)
    square = np.mean([((a - b) ** 2).mean(axis=0) for a, b in held], axis=0)
    return out | _with_bounds("rmse", square, random, draws, np.sqrt)


def _without_size(scores: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Scores minus the mean of their size, of the sizes that several subsets have."""
    several = [value for value in np.unique(size) if (size == value).sum() > 1]
    return np.concatenate([scores[size == value] - scores[size == value].mean(axis=0) for value in several])


def _standard(values: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and length 1, so that a product is a correlation; constant columns are 0."""
    values = values - values.mean(axis=0)
    length = np.sqrt((values**2).sum(axis=0))
    return np.divide(values, length, out=np.zeros_like(values), where=length > 1e-12)


def ranks(scores: np.ndarray) -> np.ndarray:
    """Return the ranks of columns of (subsets, sets), scaled so that the products of two add up to Spearman's rho."""
    return _standard(rankdata(np.round(scores, 9), axis=0))


def _ranking(name: str, pairs: list, random, draws: int) -> dict[str, float]:
    """Mean rank correlation; the permutations take all sets and seeds along, whose models' luck is shared."""
    ranked = [(ranks(a), ranks(b)) for a, b in pairs]
    per_set = np.mean([(a * b).sum(axis=0) for a, b in ranked], axis=0)
    products = sum(a @ b.T for a, b in ranked) / len(ranked) / per_set.size  # what each pair of subsets would add
    drawn = products[np.arange(len(products)), _orders(random, draws, len(products))].sum(axis=1)
    p = float((1 + np.sum(drawn >= per_set.mean() - 1e-12)) / (1 + draws))
    return _with_bounds(name, per_set, random, draws) | {f"{name}_p": p}


def _cells(pairs: list, random, draws: int) -> dict[str, float]:
    """Correlation over the cells, mean over seeds; permuted are categories and, for all of them alike, sets."""
    k, sets = pairs[0][0].shape
    again = random.integers(0, sets, (draws, sets))
    rows, columns = _orders(random, draws, k)[:, :, None], _orders(random, draws, sets)[:, None, :]
    value = float(np.mean([_r(a[None], b[None]) for a, b in pairs]))
    booted = np.mean([_r(*(part[:, again].swapaxes(0, 1) for part in pair)) for pair in pairs], axis=0)
    drawn = np.mean([_r(a[rows, columns], b[None]) for a, b in pairs], axis=0)
    low, high = map(float, np.quantile(booted, [0.025, 0.975]))
    p = float((1 + np.sum(drawn >= value - 1e-12)) / (1 + draws))
    return {"cells": value, "cells_low": low, "cells_high": high, "cells_p": p}


def _r(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlations over the cells of tables (draws, categories, sets): (draws,); 0 where one is constant."""
    a, b = (_standard(part.reshape(len(part), -1).T) for part in (a, b))
    return (a * b).sum(axis=0)


def _orders(random, draws: int, n: int) -> np.ndarray:
    return random.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)


def _with_bounds(name: str, per_set: np.ndarray, random, draws: int, unit=np.positive) -> dict[str, float]:
    """The mean of one value per set, in its ``unit``, with a bootstrap interval over sets."""
    booted = unit(per_set[random.integers(0, per_set.size, (draws, per_set.size))].mean(axis=1))
    low, high = np.quantile(booted, [0.025, 0.975])
    return {name: float(unit(per_set.mean())), f"{name}_low": float(low), f"{name}_high": float(high)}
