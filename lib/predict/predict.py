"""Every predictor on one study, what it cost, and how well it did beside the ceilings: ``predict`` returns the table.

Predictors that need trainings take them from one seed and are judged by the others. A study of one seed judges by the
larger subsets, which no predictor has seen; what would need other trainings of all subsets is left out then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.influence.regression import adjust
from lib.params.params import Params
from lib.predict.judge import DRAWS, Truth, effects, judge
from lib.predict.mixtures import chosen_on_other_half, merged_scores
from lib.predict.sets import FEATURES

PREDICTOR, BASELINE, CEILING = "predictor", "baseline", "ceiling"
TRACES = {"start": ("start",), "path": ("start", "none")}  # places where gradients are taken: untrained, trained none
PENALTIES = np.logspace(-1, 4, 16)


# ── sums: of the scores (subsets, sets) of one seed, with the levels x (subsets, categories) ─────────────────
def additive(scores: np.ndarray, x: np.ndarray) -> np.ndarray:
    """From five trainings (none, four singles): none + the sum of (single - none) over the categories."""
    none = scores[x.sum(axis=1) == 0][0]
    singles = [scores[(x == row).all(axis=1)][0] for row in np.eye(x.shape[1])]
    return none + x @ (np.array(singles) - none)


def fitted(scores: np.ndarray, x: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """From the trainings in ``rows`` (default all): their regression on the categories."""
    gains = effects(scores[rows], x[rows])
    return scores[rows].mean(axis=0) - x[rows].mean(axis=0) @ gains + x @ gains


def half(scores: np.ndarray, x: np.ndarray) -> np.ndarray:
    """From eight trainings of sixteen: the half fraction of even size (none, pairs, all), main effects regressed."""
    return fitted(scores, x, x.sum(axis=1) % 2 == 0)


def calibrated(alignment: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return alignments (categories, sets) in points: times the slope, at least 0, of the *other* sets' effects."""
    products, squares = (alignment * measured).sum(axis=0), (alignment**2).sum(axis=0)
    rest = np.maximum(squares.sum() - squares, 1e-30)
    return alignment * np.maximum(products.sum() - products, 0) / rest


# ── the predictors ───────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Prediction:
    """What one predictor says: ``scores`` (seeds, subsets, sets), in ``points`` too where its own unit is another."""

    name: str
    scores: np.ndarray
    trainings: int = 0
    seconds: float = 0.0  # of a processor core, beside the trainings
    kind: str = PREDICTOR
    points: np.ndarray | None = None
    scored: bool = True  # are the trained models scored too?


def from_trainings(known: Truth) -> list[Prediction]:
    """Return what needs nothing but scores of trainings: the number of categories, five added up, eight, sixteen."""
    x, k = known.x, known.x.shape[1]
    size = np.ones((k, len(known.tasks)))
    found = [
        _relative("size alone", [size] * len(known.seeds), known, kind=BASELINE),
        Prediction("nothing changes", np.array([np.tile(y[0], (len(x), 1)) for y in known.y]), 1, kind=BASELINE),
        Prediction("additive", np.array([additive(y, x) for y in known.y]), k + 1),
    ]
    if len(known.seeds) > 1:
        found += [
            Prediction("half of the trainings", np.array([half(y, x) for y in known.y]), len(x) // 2),
            Prediction("all, regressed", np.array([fitted(y, x) for y in known.y]), len(x)),
            Prediction("all, as they are", known.y, len(x), kind=CEILING),
        ]
    return found


def from_merging(params: Params, known: Truth, folder: Path, seed: int, scalings: Sequence[str]) -> list[Prediction]:
    """Return the merged models' scores of a seed: of each scaling, and of the one chosen on other sets."""
    found, place, five = (
        merged_scores(params, known, seed, folder, scalings),
        known.seeds.index(seed),
        known.x.shape[1] + 1,
    )
    if len(scalings) > 1:
        options = {name: scores for name, (scores, _) in found.items()}
        found["chosen"] = chosen_on_other_half(options, known, place), sum(took for _, took in found.values())
    return [Prediction(f"merged, {n}", _at(place, scores, known), five, took) for n, (scores, took) in found.items()]


def from_gradients(found: dict[str, dict], seed: int, known: Truth) -> list[Prediction]:
    """Return the gradients' predictions; ``found``: what ``lib.predict.gradients.aligned`` returned of the seed."""
    made = []
    for trace, places in TRACES.items():
        about = {"trainings": len(places) - 1, "seconds": sum(found[place]["seconds"] for place in places)}
        for kind in ("adam", "dot", "fisher"):
            parts = [found[place][kind] / max(found[place][kind].std(), 1e-30) for place in places]
            along = _at(known.seeds.index(seed), np.mean(parts, axis=0), known)
            made.append(_relative(f"gradients, {trace}, {kind}", along, known, scored=False, **about))
    return made


def _at(place: int, values: np.ndarray, known: Truth) -> np.ndarray:
    """Values of one seed, beside NaN for the others."""
    return np.array([values if k == place else np.full_like(values, np.nan) for k in range(len(known.seeds))])


def from_features(table: pd.DataFrame, known: Truth, seconds: float) -> list[Prediction]:
    """Return the ridge regression on features, every set predicted by the others' measured effects."""
    gains = [leave_one_set_out(table, measured(known, place)) for place in range(len(known.seeds))]
    scores = np.array([y[0] + known.x @ gain for y, gain in zip(known.y, gains, strict=True)])
    trainings = len(known.x) if len(known.seeds) > 1 else known.x.shape[1] + 1
    return [Prediction("features, from other sets", scores, trainings, seconds)]


def leave_one_set_out(table: pd.DataFrame, measured: np.ndarray) -> np.ndarray:
    """Return effects (categories, sets) of every set as a ridge regression on the other sets has them.

    It is of the ``measured`` effects on the ``table`` of ``features`` and on which category it is.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.column_stack([pd.get_dummies(table["category"]).to_numpy(float), table[list(FEATURES)].to_numpy(float)])
    sets = np.tile(np.arange(measured.shape[1]), len(measured))
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    found = cross_val_predict(model, x, measured.ravel(), groups=sets, cv=LeaveOneGroupOut())
    return found.reshape(measured.shape)


def measured(known: Truth, place: int) -> np.ndarray:
    """Return the effects (categories, sets) that one seed's trainings measured: all, or five where it judges too."""
    y = known.y[place]
    return effects(y if len(known.seeds) > 1 else additive(y, known.x), known.x)


def _relative(name: str, alignment: Sequence[np.ndarray], known: Truth, **about) -> Prediction:
    """A prediction in units of its own, and in points by the slope that other sets show."""
    points = [known.y[k][0] + known.x @ calibrated(one, measured(known, k)) for k, one in enumerate(alignment)]
    return Prediction(name, np.array([known.x @ one for one in alignment]), points=np.array(points), **about)


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────
def predict(predictions: Sequence[Prediction], known: Truth, timing=None, second=None, draws=DRAWS) -> pd.DataFrame:
    """Return one row per prediction, cheapest first: ``predictor, kind, trainings, seconds`` and the judge's numbers.

    ``timing.csv`` prices the trainings; ``cells_second``: correlation with the effects of ``second`` (replication.csv).
    The row "noise-free" (with two seeds) is about what a prediction without luck of its own would reach: the square
    root of what the seeds agree in (errors over that of two).
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
        table[f"{name}_holm"] = adjust(table[f"{name}_p"].where(table["kind"] == PREDICTOR).to_numpy(), "holm")
    if len(known.seeds) != 2:
        return table
    free = table[table["predictor"] == "all, as they are"].copy()
    reached = [f"{name}{end}" for name in ("lds", "lds_size", "cells") for end in ("", "_low", "_high")]
    free[reached] = np.sqrt(free[reached].clip(lower=0))
    free[["rmse", "rmse_low", "rmse_high"]] /= np.sqrt(2)
    free[["trainings", "seconds", "lds_p", "lds_size_p", "cells_p", "cells_second"]] = np.nan
    return pd.concat([table, free.assign(predictor="noise-free")], ignore_index=True)


def _second(scores: np.ndarray, known: Truth, second: pd.DataFrame | None) -> float:
    """Correlation of predicted effects with those of a second study, mean over seeds; NaN without one."""
    if second is None:
        return float("nan")
    wide = second[second["level"] == "task"].pivot(index="factor", columns="task", values="second")
    theirs = wide.reindex(index=list(known.codes), columns=list(known.tasks)).to_numpy(float).ravel()
    ours = [effects(one, known.x).ravel() for one in scores if np.isfinite(one).all()]
    if not np.isfinite(theirs).all() or any(one.std() < 1e-12 for one in ours):
        return float("nan")
    return float(np.mean([np.corrcoef(one, theirs)[0, 1] for one in ours]))
