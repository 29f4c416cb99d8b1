"""Claims on simulated pairs of studies: nothing is reproduced where nothing is true, and what is planted is found."""

from dataclasses import replace

import numpy as np
import pytest
import simulate
from alarms import TRUE_OF_NOTHING, replicated
from simulate import World

from lib.influence import claims
from lib.influence.verdicts import CONTRADICTED, NOISE, ONCE, OPPOSED, REPRODUCED

TYPES = ["Clustering"] * 3 + ["Reranking"] * 3 + ["STS"] * 4
QUIET = World(spread=0.0, noise=0.8)
WORLDS = {
    "independent": QUIET,
    "run luck": replace(QUIET, luck=1.0),
    "type luck": replace(QUIET, shared=1.0),
    "shared draws": replace(QUIET, draw=1.0),
    "heavy tails": replace(QUIET, tails=3.0),
}
STUDIES = 24


def verdicts(world, number, seeds=1):
    """The claims judged on a study and its repetition, with the same truth."""
    first = simulate.study(TYPES, seeds, world, seed=number)
    second = simulate.study(TYPES, seeds, replace(world), seed=10_000 + number)
    return claims.evaluate(replicated(first, second)).set_index("id")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(WORLDS))
def test_null_studies_reproduce_and_contradict_nothing(name):
    """Per claim at most 5 % (Monte Carlo error included) of the studies, already in one study alone."""
    world = WORLDS[name]
    judged = [verdicts(world, number, 2 if world.draw else 1) for number in range(STUDIES)]
    for key, kind in judged[0]["test"].items():
        if kind in TRUE_OF_NOTHING:
            continue
        said = [table.loc[key, "verdict"] for table in judged]
        assert sum(v == REPRODUCED for v in said) <= 1 and sum(v == CONTRADICTED for v in said) <= 1, (key, said)
        once = sum(v in (ONCE, OPPOSED) for v in said) / len(said)
        assert once <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / STUDIES), (key, said)


def test_planted_effects_are_reproduced():
    gain = World(mean=(1.5, 1.5, 1.5, 1.5), spread=0.0, noise=0.5)
    found = verdicts(gain, 1)["verdict"]
    assert found["average_gain"] == REPRODUCED and found["short_long_reranking"] == REPRODUCED
    assert found["benefits_sparse"] == CONTRADICTED and found["gain_concentrated"] == CONTRADICTED
    assert found["short_short_nowhere"] == CONTRADICTED and found["trade_offs"] in (CONTRADICTED, OPPOSED)
    quiet = verdicts(World(spread=0.0, noise=0.3), 2)["verdict"]
    assert quiet["short_short_nowhere"] == REPRODUCED and quiet["average_gain"] == NOISE
