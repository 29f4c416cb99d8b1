"""Designs list their runs before anything is trained, and say what those runs can tell apart."""

import numpy as np
import pandas as pd
import pytest
import simulate

from lib.common import design as designs
from lib.common.design import CATEGORIES, CODES, EXTRA, subsets
from lib.common.files import KitError
from lib.influence.designs import interactions, isolation
from lib.influence.effects import effects


def test_factorial_is_the_papers_sixteen_subsets():
    runs = designs.design_runs("factorial", range(2))
    assert len(runs) == 32 == len(set(runs)) and all(run.public for run in runs)
    assert [run.subset for run in runs[::2]] == subsets(CATEGORIES) and [run.seed for run in runs[:2]] == [0, 1]


def test_isolation_has_each_category_with_and_without_public_data():
    runs = designs.design_runs("isolation", [3])
    assert len(runs) == 13 and {run.seed for run in runs} == {3}
    for public in (True, False):
        assert {run.subset[0] for run in runs if run.public == public and run.subset} == {*CATEGORIES, *EXTRA}
    assert [run.name for run in runs if not run.subset] == ["none"]


def test_crossed_adds_eight_models_without_public_data():
    runs = designs.design_runs("crossed")
    off = [run for run in runs if not run.public]
    codes = ["".join(str(int(c in run.subset)) for c in CATEGORIES) for run in off]
    assert len(runs) == 24 and codes == ["0001", "0010", "0100", "0111", "1000", "1011", "1101", "1110"]


def test_no_run_without_any_data():
    for name in designs.DESIGNS:
        assert all(run.subset or run.public for run in designs.design_runs(name))
        runs = designs.design_runs(name, range(3))
        assert len({(run.name, run.seed) for run in runs}) == len(runs)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fractional",), "fractional"),
        (("factorial", []), "seed"),
        (("factorial", [1, 1]), "once"),
        (("crossed", [1], ("sts",)), "four categories"),
    ],
)
def test_bad_designs_are_refused(arguments, words):
    with pytest.raises(KitError, match=words):
        designs.design_runs(*arguments)


def table_of(name, seeds):
    """Return one row per run of a design, with a 0/1 column per category and the public data."""
    codes = CODES.items() if name == "isolation" else [(category, CODES[category]) for category in CATEGORIES]
    return pd.DataFrame(
        {"subset": run.name, "public": int(run.public), "seed": run.seed, **{c: int(k in run.subset) for k, c in codes}}
        for run in designs.design_runs(name, range(seeds))
    )


def test_crossed_recovers_a_planted_public_interaction():
    random = np.random.default_rng(0)
    table = table_of("crossed", 3)
    x = table[["ss", "sl", "ls", "ll", "public"]].to_numpy() - 0.5
    points = 50 + x @ [1, 2, -1, 0, 6] + 4 * x[:, 1] * x[:, 4] + random.normal(0, 0.2, len(table))
    table = table.assign(task="T", type="Retrieval", score=points / 100)
    effect = effects(table, terms="two_way").set_index("factor")["effect"]
    assert effect.to_dict() == pytest.approx({"ss": 1, "sl": 2, "ls": -1, "ll": 0, "public": 6}, abs=0.3)
    terms = interactions(table).query("level == 'task'").set_index("term")
    assert terms.loc["sl:public", "effect"] == pytest.approx(4, abs=0.6) and terms.loc["sl:public", "p"] < 1e-6
    assert (terms.drop("sl:public")["effect"].abs() < 0.8).all()


def test_isolation_fits_additively_and_alone():
    table = table_of("isolation", 2)
    gains = {"ss": 1, "sl": 3, "ls": 0, "ll": 2, "sts": -1, "bt": 0}
    points = 40 + 5 * table["public"] + sum(gain * table[code] for code, gain in gains.items())
    base = pd.DataFrame([{"subset": "base", "public": 0, "seed": 0, **dict.fromkeys(gains, 0)}])
    scores = pd.concat([table.assign(score=points / 100), base.assign(score=0.40)]).assign(task="T", type="STS")
    for public in (0, 1):
        alone = isolation(scores)
        result = alone[(alone["level"] == "task") & (alone["public"] == public)].set_index("factor")["effect"]
        assert result.to_dict() == pytest.approx(gains)
    result = effects(scores)
    assert result.set_index("factor")["effect"].to_dict() == pytest.approx({**gains, "public": 5})
    assert any("13 of the 128" in note for note in result.attrs["notes"])


def test_simulated_runs_are_the_factorial():
    names = [run.name for run in designs.design_runs("factorial", range(2))]
    assert simulate.factorial_runs(2)["subset"].tolist() == names
