"""Every predictor on one study, what it cost, and how well it did beside the ceilings: ``predict`` returns the table.

Predictors that need trainings take them from one seed and are judged by the others. A study of one seed judges by the
larger subsets, which no predictor has seen; what would need other trainings of all subsets is left out then.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.influence.regression import adjust
from lib.params.params import Params
from lib.predict import additive, merging
from lib.predict.judge import DRAWS, Truth, effects, judge

PREDICTOR, BASELINE, CEILING = "predictor", "baseline", "ceiling"
TRACES = ("start", "path")  # where gradients are taken: before the first step, or there and at the trained none


@dataclass(frozen=True)
class Prediction:
    """What one predictor says: ``scores`` (seeds, subsets, sets), in ``points`` too where its own unit is another."""

    name: str
    scores: np.ndarray
    trainings: int = 0
    seconds: float = 0.0  # of a processor core, beside the trainings
    scorings: int = -1  # of the trainings, -1: all
    kind: str = PREDICTOR
    points: np.ndarray | None = None


def from_trainings(known: Truth) -> list[Prediction]:
    """Return what needs nothing but scores of trainings: the number of categories, five added up, eight, sixteen."""
    x, k = known.x, known.x.shape[1]
    size = np.ones((k, len(known.tasks)))
    found = [
        _relative("size alone", [size] * len(known.seeds), known, kind=BASELINE),
        Prediction("nothing changes", np.array([np.tile(y[0], (len(x), 1)) for y in known.y]), 1, kind=BASELINE),
        Prediction("additive", np.array([additive.additive(y, x) for y in known.y]), k + 1),
    ]
    if len(known.seeds) > 1:
        half = np.array([additive.half(y, x) for y in known.y])
        fitted = np.array([additive.fitted(y, x) for y in known.y])
        found += [Prediction("half of the trainings", half, len(x) // 2), Prediction("all, regressed", fitted, len(x)),
                  Prediction("all, as they are", known.y, len(x), kind=CEILING)]  # fmt: skip
    return found


def from_merging(
    params: Params, known: Truth, folder: Path, seeds: Sequence[int], scalings: Sequence[str]
) -> list[Prediction]:
    """Return the merged models' scores: of each scaling, and of the one chosen on other sets where there are several.

    Only ``seeds`` are scored.
    """
    names = [*scalings, *(["chosen"] if len(scalings) > 1 else [])]
    scores, cost = {name: np.full(known.y.shape, np.nan) for name in names}, dict.fromkeys(names, 0.0)
    for seed in seeds:
        place = known.seeds.index(seed)
        found = merging.merged_scores(params, known, seed, folder, scalings)
        for name, (values, took) in found.items():
            scores[name][place], cost[name] = values, cost[name] + took / len(seeds)
        if "chosen" in names:
            options = {name: values for name, (values, _) in found.items()}
            scores["chosen"][place], _ = merging.chosen_on_other_half(options, known, place)
            cost["chosen"] += sum(took for _, took in found.values()) / len(seeds)
    five = known.x.shape[1] + 1
    return [Prediction(f"merged, {name}", values, five, cost[name]) for name, values in scores.items()]


def from_gradients(found: dict[int, dict], known: Truth) -> list[Prediction]:
    """Return the gradients' predictions; ``found`` {seed: what ``lib.predict.gradients.aligned`` returned}."""
    made = []
    for trace in TRACES:
        for kind in ("adam", "dot", "fisher"):
            per_seed = [_along(found.get(seed), trace, kind, known) for seed in known.seeds]
            took = np.mean([sum(one[place]["seconds"] for place in _places(trace)) for one in found.values()])
            name, trained = f"gradients, {trace}, {kind}", int(trace == "path")
            made.append(_relative(name, per_seed, known, trainings=trained, seconds=float(took), scorings=0))
    return made


def _places(trace: str) -> tuple[str, ...]:
    return ("start",) if trace == "start" else ("start", "none")


def _along(found: dict | None, trace: str, kind: str, known: Truth) -> np.ndarray:
    """Mean alignment over the places, each scaled to the same spread; NaN for a seed without."""
    if found is None:
        return np.full((known.x.shape[1], len(known.tasks)), np.nan)
    return np.mean([found[place][kind] / max(found[place][kind].std(), 1e-30) for place in _places(trace)], axis=0)


def from_features(table: pd.DataFrame, known: Truth, seconds: float) -> list[Prediction]:
    """Return the ridge regression on features, every set predicted by the others' measured effects."""
    from lib.predict.features import leave_one_set_out

    gains = [leave_one_set_out(table, measured(known, place)) for place in range(len(known.seeds))]
    scores = np.array([additive.summed(y[0], gain, known.x) for y, gain in zip(known.y, gains, strict=True)])
    trainings = len(known.x) if len(known.seeds) > 1 else known.x.shape[1] + 1
    return [Prediction("features, from other sets", scores, trainings, seconds)]


def timed_features(params: Params, pools: dict, sides: Sequence) -> tuple[pd.DataFrame, float]:
    """Return the table of features by the untrained base, and the processor seconds it took."""
    from lib.embedder.embedder import Embedder
    from lib.predict.features import features

    began, embedder = time.process_time(), Embedder.from_params(params.model)
    table = features(pools, sides, lambda texts, how: embedder.encode(texts, instruction=how))
    return table, time.process_time() - began


def measured(known: Truth, place: int) -> np.ndarray:
    """Return the effects (categories, sets) that one seed's trainings measured: all, or five where it judges too."""
    y = known.y[place]
    return effects(y if len(known.seeds) > 1 else additive.additive(y, known.x), known.x)


def _relative(name: str, alignment: Sequence[np.ndarray], known: Truth, **about) -> Prediction:
    """A prediction in units of its own, and in points by the slope that other sets show."""
    points = [additive.summed(y[0], additive.calibrated(one, measured(known, k)), known.x)
              for k, (y, one) in enumerate(zip(known.y, alignment, strict=True))]  # fmt: skip
    scores = np.array([known.x @ one for one in alignment])
    return Prediction(name, scores, points=np.array(points), **about)


def predict(
    predictions: Sequence[Prediction],
    known: Truth,
    timing: pd.DataFrame | None = None,
    second: pd.DataFrame | None = None,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Return one row per prediction, cheapest first: ``predictor, kind, trainings, seconds`` and the judge's numbers.

    ``timing`` (subset, seed, seconds, score_seconds) prices the trainings. ``second``: a second study's effects
    (``figures/.../replication.csv``), of which ``cells_second`` is the correlation with them. ``lds_holm, cells_holm``:
    p-values corrected for all predictors. The row "noise-free" (with two seeds) is about what a prediction
    without luck of its own would reach: the square root of what the seeds agree in (errors over that of two).
    """
    rows, price = [], _price(timing)
    for one in predictions:
        row = {"predictor": one.name, "kind": one.kind, "trainings": one.trainings, "seconds": _cost(one, price)}
        row |= judge(one.scores, known, draws)
        if one.points is not None:
            row |= {k: v for k, v in judge(one.points, known, draws).items() if k.startswith("rmse")}
        rows.append(row | {"cells_second": _second(one.scores, known, second)})
    table = pd.DataFrame(rows).sort_values(["seconds", "trainings"], kind="stable", ignore_index=True)
    tested = table["kind"] == PREDICTOR
    for name in ("lds", "cells"):
        table[f"{name}_holm"] = adjust(table[f"{name}_p"].where(tested).to_numpy(), "holm")
    return pd.concat([table, _noise_free(table)], ignore_index=True) if len(known.seeds) == 2 else table


def _price(timing: pd.DataFrame | None) -> tuple[float, float]:
    """Mean seconds of a training and of a scoring."""
    if timing is None:
        return float("nan"), float("nan")
    trained = timing[timing["subset"] != "base"]
    return float(trained["seconds"].mean()), float(trained["score_seconds"].mean())


def _cost(one: Prediction, price: tuple[float, float]) -> float:
    scorings = one.trainings if one.scorings < 0 else one.scorings
    return one.seconds + (one.trainings and one.trainings * price[0]) + (scorings and scorings * price[1])


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


def _noise_free(table: pd.DataFrame) -> pd.DataFrame:
    """What a prediction without luck would reach, from the agreement of two seeds."""
    real = table[table["predictor"] == "all, as they are"]
    row = real.assign(predictor="noise-free", trainings=np.nan, seconds=np.nan)
    for name in ("lds", "lds_size", "cells"):
        row = row.assign(
            **{f"{name}{end}": np.sqrt(row[f"{name}{end}"].clip(lower=0)) for end in ("", "_low", "_high")}
        )
        row[f"{name}_p"] = np.nan
    row = row.assign(**{f"rmse{end}": row[f"rmse{end}"] / np.sqrt(2) for end in ("", "_low", "_high")})
    return row.assign(cells_second=np.nan)
