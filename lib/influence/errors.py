"""The error of a main effect across runs, whatever the runs share.

Own draws (every run draws its own batches and its own adapter start): the residual of the main-effects regression, with
the level of a seed as a block where the subsets have their seeds in common. Shared draws (all subsets of a seed see the
same batches): a lucky draw of a category sits in half of a seed's runs at once, the residual cannot see it, and the
only honest error is how a category's effect differs from seed to seed, with seeds - 1 degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.influence.ols import TINY, fit, model_matrix
from lib.influence.scores import Study
from lib.influence.sharing import common_seeds

SHARED = (
    "All subsets of a seed share their draws: the error is that of category by seed, with {df} degree{s} of freedom. "
    "{power}"
)


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
    seeds = runs["seed"].to_numpy()
    level = (seeds[:, None] == np.unique(seeds)[1:]).astype(float)
    level -= level.mean(axis=0)
    blocks, said = [level], [f"seed {seed}" for seed in np.unique(seeds)[1:]]
    if data.draws == "shared" and terms != "main":
        main = x[:, 1 : 1 + len(data.factors)]
        blocks += [level * main[:, [i]] for i in range(main.shape[1])]
        said += [f"{name} in seed {seed}" for name in data.factors for seed in np.unique(seeds)[1:]]
    return np.column_stack([x, *blocks]), (*names, *said)


def main_effects(data: Study, y: np.ndarray, terms: str = "main") -> MainEffects:
    """Return the main effects on every column of ``y`` (runs, m; points) with their error across runs."""
    x, names = design(data, terms)
    result = fit(x, names, y)
    rows = result.rows(data.factors)
    whole = MainEffects(result.beta[rows], result.se[rows], result.df, result.n, result.rss, result.lost, None)
    if data.draws != "shared":
        return whole
    seeds = data.runs["seed"].to_numpy()
    by_seed = np.array([_one_seed(data, y, seeds == seed, terms) for seed in np.unique(seeds)])
    count = (~np.isnan(by_seed)).all(axis=1).sum(axis=0)  # (m,) seeds that determine every category
    with np.errstate(invalid="ignore", divide="ignore"):
        se = np.where(count > 1, _sd(by_seed, count) / np.sqrt(count), np.nan)
        mean = np.where(count > 0, np.nansum(by_seed, axis=0) / count, whole.effect)
    flat = np.where((se <= TINY * np.nanmax(np.abs(y), initial=0.0)).all(axis=0), 0.0, 1.0)
    return MainEffects(mean, se, np.maximum(count - 1, 0), whole.n, flat, whole.lost, by_seed)


def _one_seed(data: Study, y: np.ndarray, rows: np.ndarray, terms: str) -> np.ndarray:
    """Effects (factors, m) of one seed's runs alone; NaN for an outcome where they do not determine all of them."""
    x, names = model_matrix(data.x[rows], data.factors, terms)
    result = fit(x, names, y[rows])
    beta = result.beta[result.rows(data.factors)]
    return np.where(np.isnan(beta).any(axis=0), np.nan, beta)


def _sd(by_seed: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Standard deviation over the seeds that have an effect."""
    mean = np.nansum(by_seed, axis=0) / count
    return np.sqrt(np.nansum((by_seed - mean) ** 2, axis=0) / (count - 1))


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
    power = (
        "One seed gives no error at all: train more."
        if df == 0
        else "So few seeds can hardly show anything: let every run draw its own batches instead."
        if df < 4
        else "Only more seeds make it smaller."
    )
    return [SHARED.format(df=df, s="" if df == 1 else "s", power=power)]
