"""Simulated studies with known effects: to see what the statistics do before trusting what they say.

One model: a task has a level, each category adds its effect on that task when present (a mean effect plus a spread over
tasks), pairs of categories may interact, a run has luck that all tasks of a type share, and every score has noise of
its own whose size differs between tasks. ``study`` gives a table like ``results.csv``; ``arrays`` gives thousands of
such studies at once for the tests. All sizes are in points.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from lib.common.bundled import DATA
from lib.common.design import CATEGORIES, CODES, levels, subset_name, subsets
from lib.common.files import KitError
from lib.influence.scores import Study

REFERENCE_TASKS = DATA / "reference" / "mteb_eng_v1_tasks.csv"
FACTORS = tuple(CODES[category] for category in CATEGORIES)


@dataclass(frozen=True)
class World:
    """What is true in a simulated study. Sizes in points."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  # mean effect of each category over all tasks
    spread: float = 1.0  # standard deviation of a category's effect over tasks
    noise: float = 0.8  # median over tasks of a score's own noise (standard deviation per run)
    noise_spread: float = 0.25  # standard deviation of the logarithm of that noise over tasks
    shared: float = 0.0  # luck of a run that all tasks of a type share (standard deviation)
    luck: float = 0.0  # luck of a run that all tasks share
    seed_luck: float = 0.0  # luck of a seed that all its subsets and all tasks share
    draw: float = 0.0  # luck of a category's draw within a seed, shared by the subsets that have it, per task
    interaction: float = 0.0  # standard deviation of the two-way interactions over tasks
    higher: float = 0.0  # of the three- and four-way interactions
    tails: float = 0.0  # 0: normal noise; otherwise the degrees of freedom of Student noise (same standard deviation)


@dataclass(frozen=True)
class Simulated:
    """``studies`` simulated studies. ``y``: (runs, studies, tasks) in points; ``truth``: (factors, studies, tasks)."""

    runs: pd.DataFrame  # subset, seed, ss, sl, ls, ll
    types: tuple[str, ...]
    y: np.ndarray
    truth: np.ndarray

    @property
    def x(self) -> np.ndarray:
        """0/1 levels, (runs, factors)."""
        return self.runs[list(FACTORS)].to_numpy(float)

    def design(self, draws: str = "own") -> Study:
        """The runs as a ``Study`` without scores, for ``lib.influence.regression`` on ``y``."""
        return Study(self.runs, np.empty((len(self.runs), 0)), (), (), FACTORS, draws=draws)


def factorial_runs(seeds: int) -> pd.DataFrame:
    """The paper's 16 subsets x ``seeds``, as a table of runs."""
    rows = [{"subset": subset_name(s), "seed": seed, **levels(s)} for s in subsets(CATEGORIES) for seed in range(seeds)]
    return pd.DataFrame(rows)


def arrays(types, seeds: int = 1, studies: int = 1, world: World | None = None, seed: int = 0) -> Simulated:
    """Simulate ``studies`` independent studies of the 16 subsets x ``seeds`` runs on tasks of the given ``types``."""
    world, random = world or World(), np.random.default_rng(seed)
    if len(world.mean) != len(FACTORS):
        raise KitError(f"World.mean needs {len(FACTORS)} numbers, one per category, and has {len(world.mean)}")
    runs, tasks = factorial_runs(seeds), len(types)
    x = runs[list(FACTORS)].to_numpy(float) - 0.5
    pairs = np.column_stack([x[:, a] * x[:, b] for a, b in combinations(range(len(FACTORS)), 2)])
    size = (studies, tasks)
    truth = np.array(world.mean)[:, None, None] + world.spread * random.normal(size=(len(FACTORS), *size))
    two_way = world.interaction * random.normal(size=(pairs.shape[1], *size))
    scale = world.noise * np.exp(world.noise_spread * random.normal(size=size))
    y = random.uniform(30, 85, size) + np.tensordot(x, truth, 1) + np.tensordot(pairs, two_way, 1)
    y = y + scale * _noise(random, (len(runs), *size), world.tails)
    if world.shared:
        kinds = list(dict.fromkeys(types))
        luck = world.shared * random.normal(size=(len(runs), studies, len(kinds)))
        y = y + luck[:, :, [kinds.index(name) for name in types]]
    return Simulated(runs, tuple(types), y + _common(random, world, runs, x, size), truth)


def _common(random, world: World, runs: pd.DataFrame, x: np.ndarray, size) -> np.ndarray | float:
    """What runs or tasks have in common: luck of a run, of a seed, of a draw, and interactions of higher order."""
    added, (studies, tasks) = 0.0, size
    if world.luck:
        added = added + world.luck * random.normal(size=(len(runs), studies, 1))
    seeds = runs["seed"].to_numpy()
    if world.seed_luck:
        added = added + world.seed_luck * random.normal(size=(seeds.max() + 1, studies, 1))[seeds]
    if world.draw:
        lucky = world.draw * random.normal(size=(seeds.max() + 1, len(FACTORS), studies, tasks))
        added = added + np.einsum("rf,rfst->rst", x + 0.5, lucky[seeds])
    if world.higher:
        terms = [chosen for size_ in (3, 4) for chosen in combinations(range(len(FACTORS)), size_)]
        products = np.column_stack([np.prod(2 * x[:, chosen], axis=1) for chosen in terms]) / 4
        added = added + np.tensordot(products, world.higher * random.normal(size=(len(terms), studies, tasks)), 1)
    return added


def _noise(random, shape, tails: float) -> np.ndarray:
    """Noise with standard deviation 1: normal, or Student with ``tails`` degrees of freedom (more than 2)."""
    if not tails:
        return random.normal(size=shape)
    if tails <= 2:
        raise KitError(f"World.tails={tails} has no finite variance; take more than 2, or 0 for normal noise")
    return random.standard_t(tails, size=shape) / np.sqrt(tails / (tails - 2))


def study(tasks: int | list[str] = 56, seeds: int = 1, world: World | None = None, seed: int = 0) -> pd.DataFrame:
    """Return one simulated study as a tidy table: ``subset, public, ss, sl, ls, ll, seed, draws, task, type, metric,
    score``.

    ``tasks``: the first so many of MTEB's 56 (names and types; more than 56 repeat the list), or a list of types.
    """
    if isinstance(tasks, int):
        listed = pd.read_csv(REFERENCE_TASKS)
        if tasks < len(listed):  # take evenly, so that few tasks still show several types
            listed = listed.iloc[np.linspace(0, len(listed) - 1, tasks).round().astype(int)]
        rounds, places = np.divmod(np.arange(tasks), len(listed))
        names = [listed["task"].iloc[i] + (f"#{n + 1}" if n else "") for n, i in zip(rounds, places, strict=True)]
        types = listed["type"].iloc[places].tolist()
    else:
        names, types = [f"{name}{i}" for i, name in enumerate(tasks)], list(tasks)
    made = arrays(types, seeds, 1, world, seed)
    score = np.clip(made.y[:, 0, :] / 100, 0, 1).ravel()
    runs, n = made.runs.loc[made.runs.index.repeat(len(names))].reset_index(drop=True), len(made.runs)
    table = runs.assign(task=names * n, type=types * n, metric="simulated", score=score, public=1)
    table = table.assign(draws="shared" if world is not None and world.draw else "own")
    return table[["subset", "public", *FACTORS, "seed", "draws", "task", "type", "metric", "score"]]
