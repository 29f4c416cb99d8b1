"""Lessons from simulated studies: how often each test cries wolf, and what it finds.

Small experiments on ``lib.influence.simulate`` that the notebooks draw and the tests check: rejection rates of the pooled test,
the t-test over tasks and the sign-flip when there is no average effect, and the power of one, two, three seeds. Every
rate comes with the number of tests behind it, so its own error can be read off.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.influence.across import summary
from lib.influence.inference import adjust, sign_flip, t_test
from lib.influence.ols import fit, model_matrix
from lib.influence.simulate import FACTORS, World, arrays

MTEB_SIZES = {"Reranking": 4, "STS": 10, "Clustering": 11, "Classification": 12, "Retrieval": 15}
NO_AVERAGE_EFFECT = World(spread=2.0, noise=1.0, noise_spread=0.25, shared=0.3)


def false_alarms(
    seeds: int = 1,
    studies: int = 500,
    world: World = NO_AVERAGE_EFFECT,
    alpha: float = 0.05,
    seed: int = 0,
    sizes: dict[str, int] | None = None,
) -> pd.DataFrame:
    """Return how often each test finds an average effect on a type where there is none.

    Per type (of ``sizes`` tasks, by default MTEB's) ``studies`` studies are simulated in which tasks differ in their
    effects but the mean effect is zero. Columns: ``type, n_tasks, seeds, pooled, t_tasks, sign_flip, tests``: shares of
    the ``tests`` = studies x categories with p <= ``alpha``.
    """
    rows = []
    for place, (name, count) in enumerate((sizes or MTEB_SIZES).items()):
        made = arrays([name] * count, seeds, studies, world, seed + place)
        slopes, pooled_p = pooled_many(made.x, made.y)  # (factors, studies, tasks), (factors, studies)
        mean, _, se, df = summary(slopes)
        t_p = t_test(mean, se, df)[1]
        flip = sign_flip(slopes.reshape(-1, count).T, seed)[0]
        rows.append(
            {
                "type": name,
                "n_tasks": count,
                "seeds": seeds,
                "pooled": (pooled_p <= alpha).mean(),
                "t_tasks": (t_p <= alpha).mean(),
                "sign_flip": (flip <= alpha).mean(),
                "tests": pooled_p.size,
            }
        )
    return pd.DataFrame(rows)


def pooled_many(levels: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Naive pooled p of many complete, balanced studies: slopes (factors, studies, tasks) and p (factors, studies).

    ``y`` is (runs, studies, tasks). The same numbers as ``lib.influence.across.pooled_fit``, study by study.
    """
    runs, studies, tasks = y.shape
    x, names = model_matrix(levels, FACTORS)
    result = fit(x, names, y.reshape(runs, -1))
    slopes = result.beta[1:].reshape(-1, studies, tasks)
    mean = slopes.mean(axis=2)
    within = ((y - y.mean(axis=0)) ** 2).sum(axis=(0, 2))
    rss = within - tasks * runs / 4 * (mean**2).sum(axis=0)
    df = tasks * runs - tasks - len(mean)
    return slopes, t_test(mean, np.sqrt(rss / df * 4 / (runs * tasks)), np.array(df))[1]


def power_by_seeds(
    effect: float = 1.55,
    seeds=(1, 2, 3),
    studies: int = 40,
    world: World | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Return ``seeds, power_t, power_toggle, power_bh, tests``: how often a planted main effect is found on one task.

    ``effect`` is in units of the median noise of a score. By default the noise varies over tasks with a log standard
    deviation of .25, and 20 of the 224 effects of a study are not zero (all of size ``effect``), which is what
    Benjamini-Hochberg then works on.
    """
    world = world or World(spread=0.0, noise=1.0, noise_spread=0.25)
    rows = []
    for count in seeds:
        made = arrays(["T"] * 56, count, studies, world, seed + count)
        random = np.random.default_rng(seed + 1000 + count)
        real = (
            random.permuted(np.tile(np.arange(224) < 20, (studies, 1)), axis=1)
            .reshape(studies, 4, 56)
            .transpose(1, 0, 2)
        )
        y = made.y + np.tensordot(made.x - 0.5, effect * world.noise * real, 1)
        x, names = model_matrix(made.x, FACTORS)
        result = fit(x, names, y.reshape(len(x), -1))
        p = t_test(result.beta[1:], result.se[1:], result.df)[1].reshape(real.shape)
        found = np.stack([adjust(p[:, i]) for i in range(studies)], axis=1)
        flips = _toggle_p(made, y, real)
        rows.append(
            {
                "seeds": count,
                "power_t": (p[real] <= alpha).mean(),
                "power_toggle": (flips <= alpha).mean(),
                "power_bh": (found[real] <= alpha).mean(),
                "tests": int(real.sum()),
            }
        )
    return pd.DataFrame(rows)


def _toggle_p(made, y: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Toggle-permutation p of the effects marked in ``real`` (factors, studies, tasks)."""
    parts = []
    for place, factor in enumerate(FACTORS):
        off, on = balanced_pairs(made.runs, factor)
        parts.append(sign_flip((y[on] - y[off])[:, real[place]])[0])
    return np.concatenate(parts)


def balanced_pairs(runs: pd.DataFrame, factor: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows without and with ``factor``, paired, of a complete factorial (see ``lib.influence.effects.toggle_pairs``)."""
    others = [name for name in FACTORS if name != factor]
    order = runs.reset_index(drop=True).sort_values([*others, "seed", factor]).index.to_numpy().reshape(-1, 2)
    return order[:, 0], order[:, 1]
