"""The error of a main effect across runs, whatever the runs share.

Own draws (every run draws its own batches and its own adapter start): the residual of the main-effects regression, with
the level of a seed as a block where the subsets have their seeds in common. Shared draws (all subsets of a seed see the
same batches): a lucky draw of a category sits in half of a seed's runs at once, the residual cannot see it, and the
only honest error is how a category's effect differs from seed to seed, with seeds - 1 degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.influence.factors import common_seeds
from lib.influence.regression import TINY, fit, model_matrix
from lib.influence.scores import Study


@dataclass(frozen=True)
class MainEffects:
    """Effects of every factor on ``m`` outcomes, (factors, m), and what is needed to combine them."""

    effect: np.ndarray
    se: np.ndarray
    df: np.ndarray  # (m,)
    n: np.ndarray  # (m,) runs used
    rss: np.ndarray  # (m,) 0 for an exact fit
    lost: tuple[str, ...]
    by_seed: np.ndarray | None  # (seeds, factors, m) under shared draws


def design(data: Study, terms: str = "main", rows=slice(None)) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the centred model matrix of a study and its names: terms, then blocks.

    Blocks: a level per seed where subsets have their seeds in common; under shared draws also the effect of each
    category in each seed, for ``terms`` beyond the main effects (whose error it would be).
    """
    x, names = model_matrix(data.x[rows], data.factors, terms)
    runs = data.runs[rows]
    if not common_seeds(runs):
        return x, names
    later = np.unique(runs["seed"])[1:]
    level = (runs["seed"].to_numpy()[:, None] == later).astype(float)
    level -= level.mean(axis=0)
    blocks, said = [level], [f"seed {seed}" for seed in later]
    if data.draws == "shared" and terms != "main":
        blocks += [level * x[:, [1 + i]] for i in range(len(data.factors))]
        said += [f"{name} in seed {seed}" for name in data.factors for seed in later]
    return np.column_stack([x, *blocks]), (*names, *said)


def main_effects(data: Study, y: np.ndarray, terms: str = "main") -> MainEffects:
    """Return the main effects on every column of ``y`` (runs, m; points) with their error across runs."""
    whole = fit(*design(data, terms), y)
    rows = whole.rows(data.factors)
    if data.draws != "shared":
        return MainEffects(whole.beta[rows], whole.se[rows], whole.df, whole.n, whole.rss, whole.lost, None)
    seeds = data.runs["seed"].to_numpy()
    each = [fit(*model_matrix(data.x[seeds == s], data.factors, terms), y[seeds == s]) for s in np.unique(seeds)]
    by_seed = np.array([found.beta[rows] for found in each])
    # a seed whose runs do not determine every category of an outcome takes no part in it
    by_seed = np.where(np.isnan(by_seed).any(axis=1, keepdims=True), np.nan, by_seed)
    count = (~np.isnan(by_seed)).all(axis=1).sum(axis=0)  # (m,)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(by_seed, axis=0) / count
        sd = np.sqrt(np.nansum((by_seed - mean) ** 2, axis=0) / (count - 1))
        se = np.where(count > 1, sd / np.sqrt(count), np.nan)
    mean = np.where(count > 0, mean, whole.beta[rows])
    flat = np.where((se <= TINY * np.nanmax(np.abs(y), initial=0.0)).all(axis=0), 0.0, 1.0)
    return MainEffects(mean, se, np.maximum(count - 1, 0), whole.n, flat, whole.lost, by_seed)


def combined(data: Study, y: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Return effect, standard error and degrees of freedom of a weighted sum of main effects on the outcomes of ``y``.

    ``weights`` is (factors, m). Exact in a balanced design with own draws: main effects are uncorrelated there, and
    each category's part is one regression of one weighted score. Under shared draws the sum is taken per seed.
    """
    each = main_effects(data, y @ weights.T)  # outcome i: the score weighted as category i asks
    own = np.arange(len(data.factors))
    if each.by_seed is not None:
        sums = each.by_seed[:, own, own].sum(axis=1)
        sums = sums[~np.isnan(sums)]
        se = sums.std(ddof=1) / np.sqrt(len(sums)) if len(sums) > 1 else np.nan
        return float(sums.mean()) if len(sums) else np.nan, float(se), max(len(sums) - 1, 0)
    return float(each.effect[own, own].sum()), float(np.sqrt((each.se[own, own] ** 2).sum())), float(each.df.min())


def shared_note(data: Study) -> list[str]:
    """The sentence that every table of a study with shared draws carries."""
    if data.draws != "shared":
        return []
    df = data.runs["seed"].nunique() - 1
    power = "Only more seeds make it smaller."
    if df == 0:
        power = "One seed gives no error at all: train more."
    elif df < 4:
        power = "So few seeds can hardly show anything: let every run draw its own batches instead."
    degrees = f"{df} degree{'' if df == 1 else 's'} of freedom"
    return [f"All subsets of a seed share their draws: the error is that of category by seed, with {degrees}. {power}"]
