"""False alarms: how often each test and each mark of the figures finds something in simulated studies without effects.

Every kind of noise that is known to fool such studies, at two shapes: the classroom's and the paper's. The null belongs
to the question: over runs, that these very datasets do not move; over datasets, that datasets of the kind do not move
on average, whatever these ones do. The shipped ``lib/data/reference/false_alarms.csv`` is ``table(1000)`` followed by
``verdicts(40)``: how often a claim about nothing is called reproduced or contradicted by a study and its repetition.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats
from simulate import FACTORS, Simulated, World, arrays, study

from lib.common import bundled
from lib.influence import claims
from lib.influence.designs import block_f
from lib.influence.effects import variances
from lib.influence.influence import analyse
from lib.influence.power import contrast_signs, lenth_factors, pseudo_error
from lib.influence.regression import design, fit, main_effects, t_test
from lib.influence.verdicts import CONTRADICTED, REPRODUCED, Evidence
from lib.params.model import InfluenceParams

CLASSROOM = {"Classification": 6, "Retrieval": 6, "STS": 6, "Clustering": 3, "PairClassification": 3, "Reranking": 3,
             "BitextMining": 1}  # fmt: skip
PAPER = {"Retrieval": 15, "Classification": 12, "Clustering": 11, "STS": 10, "Reranking": 4, "PairClassification": 3,
         "Summarization": 1}  # fmt: skip
SHAPES = {"classroom 16 x 1": (CLASSROOM, 1), "classroom 16 x 2": (CLASSROOM, 2), "paper 16 x 1": (PAPER, 1)}
QUIET = World(spread=0.0, noise=1.0, noise_spread=0.25)
NOISES = {
    "independent": QUIET,
    "unequal between datasets": replace(QUIET, noise_spread=0.8),
    "heavy-tailed (Student 3)": replace(QUIET, tails=3.0),
    "a run's luck in all datasets, 0.5": replace(QUIET, luck=0.5),
    "a run's luck in all datasets, 1": replace(QUIET, luck=1.0),
    "a run's luck by type, 0.5": replace(QUIET, shared=0.5),
    "a run's luck by type, 1": replace(QUIET, shared=1.0),
    "a seed's luck in all subsets, 1": replace(QUIET, seed_luck=1.0),
    "a category's luck in a seed (shared draws)": replace(QUIET, draw=0.65),
    "interactions of all orders": replace(QUIET, interaction=1.0, higher=1.0),
    "datasets differ, mean zero": replace(QUIET, spread=1.0),
    "datasets differ, and a run's luck, 1": replace(QUIET, spread=1.0, luck=1.0),
}
TESTS = {
    "t, one dataset": "over runs",
    "t, one type": "over runs",
    "t, overall": "over runs",
    "* somewhere on the map": "over runs",
    "* somewhere in the forest": "over runs",
    "t, one type, crossed": "over datasets",
    "t, overall, crossed": "over datasets",
    "** somewhere on the map": "over datasets",
    "t, interaction": "over runs",
    "F, all interactions": "over runs",
    "contrast named in the half-normal figure": "over runs",
}
# silence about gains is no claim about effects: with little noise "no type improves" is true of a null study
TRUE_OF_NOTHING = {"no_improvement", "published_gain"}
VERDICTS = {f"{verdict}, the claim most often": verdict for verdict in (REPRODUCED, CONTRADICTED)}
COLUMNS = ["shape", "noise", "test", "question", "rate", "studies"]


def table(studies: int = 400, shapes=SHAPES, noises=NOISES, seed: int = 0, alpha: float = 0.05) -> pd.DataFrame:
    """Return ``shape, noise, test, question, rate, studies``: shares of tests (of studies, for "somewhere") rejected.

    Rows whose null the simulated world breaks are left out: where datasets truly differ, finding so is right.
    """
    rows = []
    for name, (sizes, seeds) in shapes.items():
        types = [kind for kind, count in sizes.items() for _ in range(count)]
        for place, (noise, world) in enumerate(noises.items()):
            if seeds == 1 and (world.seed_luck or world.draw):
                continue  # nothing to see, or no error at all, with one seed
            made = arrays(types, seeds, studies, world, seed + place)
            found = rates(made, "shared" if world.draw else "own", alpha)
            for test, rate in found.items():
                if np.isfinite(rate) and not (world.spread and TESTS[test] == "over runs"):
                    if not ("interaction" in test or "contrast" in test) or not (world.interaction or world.spread):
                        rows.append((name, noise, test, TESTS[test], round(rate, 4), studies))
    return pd.DataFrame(rows, columns=COLUMNS)


def verdicts(pairs: int, shapes=("classroom 16 x 2", "paper 16 x 1"), noises=NOISES, seed: int = 0) -> pd.DataFrame:
    """Return rows as ``table`` does: of pairs of null studies, how many call a claim so; the worst of the kit's claims.

    Noises in which datasets truly differ are left out, and so is a seed's luck where there is one seed.
    """
    rows = []
    for shape in shapes:
        sizes, seeds = SHAPES[shape]
        types = [kind for kind, count in sizes.items() for _ in range(count)]
        for noise, world in noises.items():
            if world.spread or (seeds == 1 and (world.seed_luck or world.draw)):
                continue
            said = pd.DataFrame([judged(types, seeds, world, seed + pair) for pair in range(pairs)])
            for test, verdict in VERDICTS.items():
                rows.append((shape, noise, test, "two studies", round((said == verdict).mean().max(), 4), pairs))
    return pd.DataFrame(rows, columns=COLUMNS)


def judged(types: list[str], seeds: int, world: World, number: int) -> dict[str, str]:
    """Return the verdict on every claim about effects, by a simulated study and its repetition with the same truth."""
    tables = (study(types, seeds, world, seed) for seed in (number, 1_000_000 + number))
    found = claims.evaluate(replicated(*tables))
    return {row.id: row.verdict for row in found.itertuples() if row.test not in TRUE_OF_NOTHING}


def replicated(first: pd.DataFrame, second: pd.DataFrame) -> Evidence:
    """Return the evidence of two studies: the first one's analysis and the cell-by-cell table."""
    one, two = (analyse(table, InfluenceParams()) for table in (first, second))
    keys = ["level", "task", "type", "factor"]
    both = one.effects[[*keys, "effect"]].rename(columns={"effect": "first"})
    other = two.effects[[*keys, "effect", "se", "p"]]
    other = other.rename(columns={"effect": "second", "se": "second_se", "p": "second_p"})
    return Evidence(one, bundled.reference("published_mteb_scores"), None, both.merge(other, on=keys))


def rates(made: Simulated, draws: str = "own", alpha: float = 0.05) -> dict[str, float]:
    """Share of rejections of every test in TESTS over the simulated studies; NaN where a design has no such test."""
    data, y = made.design(draws), made.y
    kinds = np.array(made.types)
    groups = [*(kinds == kind for kind in dict.fromkeys(made.types)), np.ones(len(kinds), bool)]  # the map's rows
    means = np.stack([y[:, :, members].mean(axis=2) for members in groups], axis=2)
    p_set, p_map = _p(data, y), _p(data, means)  # (factors, studies, outcomes)
    p_cross = np.stack([variances(data, y[:, :, members]).p() for members in groups], axis=2)
    p_pair, p_block, named = _beyond(data, means, alpha)
    star, cross = _marks(p_map, alpha), _marks(p_cross, alpha)
    found = {
        "t, one dataset": _share(p_set, alpha),
        "t, one type": _share(p_map[:, :, :-1], alpha),
        "t, overall": _share(p_map[:, :, -1], alpha),
        "* somewhere on the map": star.any(axis=(0, 2)).mean(),
        "* somewhere in the forest": _marks(p_set, alpha).any(axis=(0, 2)).mean(),
        "t, one type, crossed": _share(p_cross[:, :, :-1], alpha),
        "t, overall, crossed": _share(p_cross[:, :, -1], alpha),
        "** somewhere on the map": (star & cross).any(axis=(0, 2)).mean(),
        "t, interaction": _share(p_pair, alpha),
        "F, all interactions": _share(p_block, alpha),
        "contrast named in the half-normal figure": named.mean(),
    }
    return {name: float(rate) for name, rate in found.items()}


def _p(data, values: np.ndarray) -> np.ndarray:
    """p of every main effect, (factors, studies, outcomes)."""
    found = main_effects(data, values.reshape(len(values), -1))
    return t_test(found.effect, found.se, found.df)[1].reshape(-1, *values.shape[1:])


def _marks(p: np.ndarray, alpha: float) -> np.ndarray:
    """What Benjamini-Hochberg marks within each study of (factors, studies, outcomes); an outcome may have no p."""
    tested = ~np.isnan(p).any(axis=(0, 1))
    marks = np.zeros(p.shape, bool)
    if tested.any():
        family = np.moveaxis(p[:, :, tested], 1, 0)
        adjusted = stats.false_discovery_control(family.reshape(len(family), -1), axis=1).reshape(family.shape)
        marks[:, :, tested] = np.moveaxis(adjusted <= alpha, 0, 1)
    return marks


def _share(p: np.ndarray, alpha: float) -> float:
    """Share of the tests with a p that reject."""
    return np.mean(p[~np.isnan(p)] <= alpha) if np.isfinite(p).any() else np.nan


def _beyond(data, means: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p of interactions, p of their F, and where Lenth's simultaneous margin names a contrast (per study)."""
    runs = len(means)
    f, num, den = block_f(data, means.reshape(runs, -1))
    x, names = design(data, "two_way")
    pairs = fit(x, names, means.reshape(runs, -1)).of([name for name in names if ":" in name])
    p = t_test(pairs.effect, pairs.se, pairs.df)[1]
    signs, _ = contrast_signs(data)
    code = (data.x @ (2 ** np.arange(len(FACTORS)))).astype(int)
    contrasts = np.tensordot(signs[:, code] * 2 / runs, means, 1)  # (terms, studies, panels)
    size = np.abs(np.moveaxis(contrasts, 0, -1))
    bar = lenth_factors(len(signs), alpha / means.shape[2])[1] * pseudo_error(size)  # as the figure does
    return p, stats.f.sf(f, num, den), (size.max(axis=-1) > bar).any(axis=1)
