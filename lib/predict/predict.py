"""Scores of subsets predicted without training them all, and the judge of what that is worth beside its cost.

Trainings of one seed predict, and the models of the other seeds judge, so that no luck is in both; a study of one seed
judges by the larger subsets, which no predictor has seen. Three questions: are the larger subsets ranked rightly on
each set (linear datamodelling score, LDS: Park et al. 2023, TRAK, a mean of rank correlations), are the categories'
effects the measured ones, and how far off are the points?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lib.common.files import KitError
from lib.influence.regression import adjust
from lib.influence.scores import study
from lib.params.params import Params
from lib.predict.choose import Scored, additive, scored
from lib.predict.mixtures import chosen_on_other_half, merged_scores
from lib.predict.sets import leave_one_set_out

DRAWS = 999  # of a permutation test, and of a bootstrap
TRACES = {"start": ("start",), "path": ("start", "none")}  # places where gradients are taken: untrained, trained none


def truth(scores) -> Scored:
    """Return the ``Scored`` of a study's results (path or table). Raises KitError where a run or a score is missing."""
    known, whole = scored(scores), study(scores)
    if len(known.names) < 2 ** len(known.codes) or known.y.size < whole.y.size or np.isnan(whole.y).any():
        raise KitError("predictions are judged by a complete study, every subset with every seed; run `make reproduce`")
    if known.held.sum() < 3:
        raise KitError("fewer than three subsets of two categories: nothing to rank; predict needs three categories")
    return known


# ── the judge ────────────────────────────────────────────────────────────────────────────────────────────────
def judge(predicted: np.ndarray, known: Scored, draws: int = DRAWS, seed: int = 0) -> dict[str, float]:
    """Return how well ``predicted`` (seeds, subsets, sets; points; NaN for a seed without) agrees with ``known``.

    ``lds``: Spearman over the held-out subsets, mean over sets and seeds. ``lds_size``: the same without the mean of
    each size of subsets. ``cells``: correlation with measured effects, category x set. ``rmse``: points. With ``_low,
    _high`` (95 %, bootstrap over sets) and ``_p`` (share of permutations, of subsets or cells, that do as well).
    """
    random, used = np.random.default_rng(seed), [k for k in range(len(known.seeds)) if np.isfinite(predicted[k]).all()]
    pairs = [(predicted[k], known.others(k)) for k in used]
    held, size = [(a[known.held], b[known.held]) for a, b in pairs], known.x[known.held].sum(axis=1)
    several = [size == value for value in np.unique(size) if (size == value).sum() > 1]

    def sized(scores: np.ndarray) -> np.ndarray:  # minus the mean of each size that several subsets have
        return np.concatenate([scores[rows] - scores[rows].mean(axis=0) for rows in several])

    out = _ranking("lds", held, random, draws)
    out |= _ranking("lds_size", [(sized(a), sized(b)) for a, b in held], random, draws)
    rows = known.held if len(known.seeds) == 1 else slice(None)  # a single seed is judged by models not seen
    out |= _cells([[effects(part[rows], known.x[rows]) for part in pair] for pair in pairs], random, draws)
    square = np.mean([((a - b) ** 2).mean(axis=0) for a, b in held], axis=0)
    return out | _found("rmse", np.sqrt(square.mean()), np.sqrt(_booted(square, random, draws)))


def effects(scores: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return main effects (..., categories, sets) of scores (..., subsets, sets) by least squares."""
    return np.linalg.pinv(np.column_stack([np.ones(len(x)), x - 0.5]))[1:] @ scores


def _standard(values: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and length 1, so that a product is a correlation; constant columns are 0."""
    values = values - values.mean(axis=0)
    length = np.sqrt((values**2).sum(axis=0))
    return np.divide(values, length, out=np.zeros_like(values), where=length > 1e-12)


def _ranking(name: str, pairs: list, random, draws: int) -> dict[str, float]:
    """Spearman's rho, the mean; the permutations take all sets and seeds along, whose models' luck is shared."""
    ranked = [[_standard(rankdata(np.round(part, 9), axis=0)) for part in pair] for pair in pairs]
    per_set = np.mean([(a * b).sum(axis=0) for a, b in ranked], axis=0)
    products = sum(a @ b.T for a, b in ranked) / len(ranked) / per_set.size  # what each pair of subsets would add
    drawn = products[np.arange(len(products)), _orders(random, draws, len(products))].sum(axis=1)
    return _found(name, per_set.mean(), _booted(per_set, random, draws), drawn)


def _cells(pairs: list, random, draws: int) -> dict[str, float]:
    """Correlation over the cells, mean over seeds; permuted are categories and, for all of them alike, sets."""
    k, sets = pairs[0][0].shape
    again = random.integers(0, sets, (draws, sets))
    rows, columns = _orders(random, draws, k)[:, :, None], _orders(random, draws, sets)[:, None, :]

    def r(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # of tables (draws, categories, sets): (draws,)
        a, b = (_standard(part.reshape(len(part), -1).T) for part in (a, b))
        return (a * b).sum(axis=0)

    value = np.mean([r(a[None], b[None]) for a, b in pairs])
    booted = np.mean([r(*(part[:, again].swapaxes(0, 1) for part in pair)) for pair in pairs], axis=0)
    return _found("cells", value, booted, np.mean([r(a[rows, columns], b[None]) for a, b in pairs], axis=0))


def _orders(random, draws: int, n: int) -> np.ndarray:
    return random.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)


def _booted(per_set: np.ndarray, random, draws: int) -> np.ndarray:
    return per_set[random.integers(0, per_set.size, (draws, per_set.size))].mean(axis=1)


def _found(name: str, value: float, booted: np.ndarray, drawn: np.ndarray | None = None) -> dict[str, float]:
    low, high = np.quantile(booted, [0.025, 0.975])
    found = {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
    p = {} if drawn is None else {f"{name}_p": float((1 + np.sum(drawn >= value - 1e-12)) / (1 + len(drawn)))}
    return found | p


# ── the predictors ───────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Prediction:
    """What one predictor says: ``scores`` (seeds, subsets, sets), in ``points`` too where its own unit is another."""

    name: str
    scores: np.ndarray
    trainings: int = 0
    seconds: float = 0.0  # of a processor core, beside the trainings
    kind: str = "predictor"  # or baseline, ceiling
    points: np.ndarray | None = None
    scored: bool = True  # are the trained models scored too?


def fitted(scores: np.ndarray, x: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """From the trainings in ``rows`` (default all): their regression on the categories."""
    gains = effects(scores[rows], x[rows])
    return scores[rows].mean(axis=0) - x[rows].mean(axis=0) @ gains + x @ gains


def from_trainings(known: Scored) -> list[Prediction]:
    """Return what needs nothing but scores of trainings: the number of categories, five added up, eight, sixteen."""
    x, k, size = known.x, known.x.shape[1], np.ones((known.x.shape[1], len(known.tasks)))
    found = [
        _relative("size alone", [size] * len(known.seeds), known, kind="baseline"),
        Prediction(
            "nothing changes", np.array([np.tile(y[0], (len(x), 1)) for y in known.by_seed]), 1, kind="baseline"
        ),
        Prediction("additive", np.array([additive(y, x) for y in known.by_seed]), k + 1),
    ]
    if len(known.seeds) > 1:
        even = x.sum(axis=1) % 2 == 0  # the half fraction: none, pairs, all
        found += [
            Prediction("half of the trainings", np.array([fitted(y, x, even) for y in known.by_seed]), len(x) // 2),
            Prediction("all, regressed", np.array([fitted(y, x) for y in known.by_seed]), len(x)),
            Prediction("all, as they are", known.by_seed, len(x), kind="ceiling"),
        ]
    return found


def from_merging(params: Params, known: Scored, folder: Path, seed: int, scalings: Sequence[str]) -> list[Prediction]:
    """Return the merged models' scores of a seed: of each scaling, and of the one chosen on other sets."""
    found, five = merged_scores(params, known, seed, folder, scalings), known.x.shape[1] + 1
    if len(scalings) > 1:
        chosen = chosen_on_other_half({name: scores for name, (scores, _) in found.items()}, known, seed)
        found["chosen"] = chosen, sum(took for _, took in found.values())
    return [Prediction(f"merged, {n}", _at(seed, scores, known), five, took) for n, (scores, took) in found.items()]


def from_gradients(found: dict[str, dict], seed: int, known: Scored) -> list[Prediction]:
    """Return the gradients' predictions; ``found``: what ``lib.predict.gradients.aligned`` returned of the seed."""
    made = []
    for trace, places in TRACES.items():
        about = {"trainings": len(places) - 1, "seconds": sum(found[place]["seconds"] for place in places)}
        for kind in ("adam", "dot", "fisher"):
            parts = [found[place][kind] / max(found[place][kind].std(), 1e-30) for place in places]
            along = _at(seed, np.mean(parts, axis=0), known)
            made.append(_relative(f"gradients, {trace}, {kind}", along, known, scored=False, **about))
    return made


def from_features(table: pd.DataFrame, known: Scored, seconds: float) -> list[Prediction]:
    """Return the ridge regression on ``features``, every set predicted by the others' measured effects."""
    gains = [leave_one_set_out(table, _measured(known, y)) for y in known.by_seed]
    scores = np.array([y[0] + known.x @ gain for y, gain in zip(known.by_seed, gains, strict=True)])
    trainings = len(known.x) if len(known.seeds) > 1 else known.x.shape[1] + 1
    return [Prediction("features, from other sets", scores, trainings, seconds)]


def _at(seed: int, values: np.ndarray, known: Scored) -> np.ndarray:
    """Values of one seed, beside NaN for the others."""
    return np.array([values if one == seed else np.full_like(values, np.nan) for one in known.seeds])


def _measured(known: Scored, y: np.ndarray) -> np.ndarray:
    """The effects (categories, sets) that one seed's trainings measured: all, or five where it judges too."""
    return effects(y if len(known.seeds) > 1 else additive(y, known.x), known.x)


def _relative(name: str, along: Sequence[np.ndarray], known: Scored, **about) -> Prediction:
    """A prediction in units of its own, and in points by the slope, at least 0, of the *other* sets' effects."""
    points = []
    for one, y in zip(along, known.by_seed, strict=True):
        products, squares = (one * _measured(known, y)).sum(axis=0), (one**2).sum(axis=0)
        above, below = np.maximum(products.sum() - products, 0), np.maximum(squares.sum() - squares, 1e-30)
        points.append(y[0] + known.x @ (one * above / below))
    return Prediction(name, np.array([known.x @ one for one in along]), points=np.array(points), **about)


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────
def predict(predictions: Sequence[Prediction], known: Scored, timing=None, second=None, draws=DRAWS) -> pd.DataFrame:
    """Return one row per prediction, cheapest first: ``predictor, kind, trainings, seconds`` and the judge's numbers.

    ``timing.csv`` prices the trainings; ``cells_second``: correlation with the effects of ``second`` (replication.csv).
    "noise-free" (with two seeds): about what a prediction without luck of its own would reach.
    """
    training, scoring = np.nan, np.nan
    if timing is not None:
        training, scoring = timing.loc[timing["subset"] != "base", ["seconds", "score_seconds"]].mean()
    rows = []
    for one in predictions:
        cost = one.trainings * (training + scoring * one.scored) if one.trainings else 0.0
        row = {"predictor": one.name, "kind": one.kind, "trainings": one.trainings, "seconds": one.seconds + cost}
        row |= judge(one.scores, known, draws)
        if one.points is not None:
            row |= {k: v for k, v in judge(one.points, known, draws).items() if k.startswith("rmse")}
        rows.append(row | {"cells_second": _second(one.scores, known, second)})
    table = pd.DataFrame(rows).sort_values(["seconds", "trainings"], kind="stable", ignore_index=True)
    for name in ("lds", "cells"):
        table[f"{name}_holm"] = adjust(table[f"{name}_p"].where(table["kind"] == "predictor").to_numpy(), "holm")
    if len(known.seeds) != 2:
        return table
    free = table[table["predictor"] == "all, as they are"].copy()
    reached = [f"{name}{end}" for name in ("lds", "lds_size", "cells") for end in ("", "_low", "_high")]
    free[reached] = np.sqrt(free[reached].clip(lower=0))  # the root of what the seeds agree in
    free[["rmse", "rmse_low", "rmse_high"]] /= np.sqrt(2)
    free[["trainings", "seconds", "lds_p", "lds_size_p", "cells_p", "cells_second"]] = np.nan
    return pd.concat([table, free.assign(predictor="noise-free")], ignore_index=True)


def _second(scores: np.ndarray, known: Scored, second: pd.DataFrame | None) -> float:
    """Correlation of predicted effects with those of a second study, mean over seeds; NaN without one."""
    if second is None:
        return float("nan")
    cells = pd.MultiIndex.from_product([known.codes, known.tasks])
    theirs = second[second["level"] == "task"].set_index(["factor", "task"])["second"].reindex(cells).to_numpy(float)
    ours = [effects(one, known.x).ravel() for one in scores if np.isfinite(one).all()]
    if not np.isfinite(theirs).all() or any(one.std() < 1e-12 for one in ours):
        return float("nan")
    return float(np.mean([np.corrcoef(one, theirs)[0, 1] for one in ours]))
