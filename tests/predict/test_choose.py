"""Choosing and judging apart: a truly better mixture is found at its true size, and noise gains nothing."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from simulate import World, arrays, study

from lib.common.bundled import ROOT
from lib.common.files import KitError
from lib.influence.power import detectable_ratio
from lib.influence.regression import design, fit
from lib.influence.scores import study as checked
from lib.predict import choose

TYPES = ("Classification",) * 7 + ("Retrieval",) * 7 + ("PairClassification",) * 6 + ("Clustering",) * 4
TYPES += ("Reranking",) * 3 + ("STS",) * 2 + ("BitextMining", "Summarization")
QUIET = World(spread=0.0, noise=1.5, luck=0.3)


def simulated(world, studies, seeds=2, seed=0, better=()):
    """Yield simulated studies as ``Scored``; ``better``: (candidate, its true gain in points per set)."""
    made = arrays(TYPES, seeds, studies, world, seed)
    names, x = tuple(dict.fromkeys(made.runs["subset"])), made.x[::seeds]
    for place in range(studies):
        y = made.y[:, place].reshape(len(names), seeds, -1).copy()
        for name, points in better:
            y[names.index(name)] += points
        yield choose.Scored(names, x, tuple(map(str, range(len(TYPES)))), TYPES, y, *choose.error(y, x), len(names))


def judged(s, how, where="other", splits=4):
    full = s.only(s.names[s.corners[1]])
    return choose.gain(s, choose.weights(s, how, splits, where, where) - full, "", choose.TURNS)


@pytest.fixture(autouse=True)
def quick_halves(monkeypatch):
    """Halves are the same for every simulated study; sort them once."""
    known, real = {}, choose.halves
    monkeypatch.setattr(choose, "halves", lambda types, seed=0: known.setdefault((types, seed), real(types, seed)))


def test_halves_are_halves_of_every_type():
    kinds = np.array(TYPES)
    for seed in range(20):
        half = choose.halves(TYPES, seed)
        assert abs(2 * half.sum() - len(half)) <= 1 and (half == choose.halves(TYPES, seed)).all()
        assert all(abs(2 * half[kinds == kind].sum() - (kinds == kind).sum()) <= 1 for kind in TYPES)
    assert len({choose.halves(TYPES, seed).tobytes() for seed in range(20)}) == 20


def test_the_procedure_is_the_one_that_the_notebook_spells_out():
    s = next(simulated(World(noise=1.0), 1, seeds=3))
    full, plain = s.corners[1], []
    for seen in (half := choose.halves(s.types, 0), ~half):
        for seed in range(3):
            others = [k for k in range(3) if k != seed]
            best = s.y[:, others][:, :, seen].mean(axis=(1, 2)).argmax()
            plain.append(s.y[best, seed, ~seen] - s.y[full, seed, ~seen])
    assert judged(s, "measured", splits=1)["gain"] == pytest.approx(np.concatenate(plain).mean())


def test_the_error_of_a_run_is_that_of_the_regression():
    table = study(12, seeds=2, world=World(noise=1.0), seed=3)
    s, data = choose.scored(table), checked(table)
    whole = fit(*design(data, "saturated"), 100 * data.y)
    assert s.df == whole.df[0] and np.allclose(np.sqrt(np.diag(s.cov)), whole.sd)
    one = choose.gain(s, s.only("ss") - s.only("none"))
    assert one["se_runs"] == pytest.approx(np.sqrt(s.cov.mean()))  # of two seeds each
    alone = choose.scored(table[table["seed"] == 0])
    data = checked(table[table["seed"] == 0])
    assert alone.df == 11 and np.allclose(np.sqrt(np.diag(alone.cov)), fit(*design(data), 100 * data.y).sd)


def test_a_better_mixture_is_found_and_its_gain_is_unbiased():
    found = []
    for s in simulated(QUIET, 60, better=[("ss+ll", 2.0)]):
        w = choose.weights(s, "measured", 4)
        found.append((w[s.names.index("ss+ll")].sum() / len(TYPES), *judged(s, "measured").values()))
    taken, _, gained, *_ = zip(*found, strict=True)
    assert np.mean(taken) > 0.95
    assert np.mean(gained) == pytest.approx(2.0 * np.mean(taken), abs=4 * np.std(gained) / np.sqrt(60))


def test_routing_finds_what_is_better_for_one_type_only():
    points = np.where(np.array(TYPES) == "Retrieval", 4.0, 0.0)
    gained = {how: [] for how in ("measured", "routed")}
    for s in simulated(QUIET, 40, better=[("sl", points)]):
        for how in gained:
            full = s.only(s.names[s.corners[1]])
            gained[how].append(choose.gain(s, choose.weights(s, how, 4) - full, "Retrieval")["gain"])
    assert np.mean(gained["routed"]) > 3.5 > np.mean(gained["measured"])


def test_noise_gains_nothing_elsewhere_and_much_where_it_was_chosen():
    rates = {(how, where): [] for how in ("measured", "routed") for where in ("other", "same")}
    for s in simulated(QUIET, 200, seed=1):
        for (how, where), seen in rates.items():
            row = judged(s, how, where)
            seen.append((row["gain"], row["low"] > 0 or row["high"] < 0))
    for (how, where), seen in rates.items():
        gained, excludes = np.array(seen).T
        if where == "other":
            assert excludes.mean() <= 0.06 and abs(gained.mean()) < 4 * gained.std() / np.sqrt(200), how
        else:
            assert excludes.mean() > 0.5 and gained.mean() > 0.6, how


def test_a_predicted_subset_needs_none_and_the_singles_only():
    s = next(simulated(QUIET, 1))
    mean = np.zeros((16, len(TYPES)))
    for code, points in (("ss", 1.0), ("sl", -1.0), ("ls", 2.0), ("ll", -0.1)):
        mean[s.names.index(code)] = points
    mean[s.names.index("ss+sl")] = 9.0  # what pairs did is not looked at
    picks = choose.choose(s, "predicted", mean, np.ones((1, len(TYPES)), bool))
    assert {s.names[pick] for pick in picks.ravel()} == {"ss+ls"}


def test_tables_of_a_study_and_of_merged_adapters():
    table = study(list(TYPES[:12]), seeds=2, world=World(noise=1.0), seed=3)
    rows = table[table["subset"] == "ss"][["subset", "seed", "task", "type", "score"]]
    s = choose.scored(table, merged=rows.assign(subset="merged 0.25"))
    found = choose.compare(s, splits=3)
    whole = found[found["type"] == ""].set_index(["strategy", "against"])
    assert set(whole.index.get_level_values(0)) == {
        "none",
        "all",
        "oracle",
        "predicted",
        "measured",
        "routed",
        "merged",
    }
    ss, full = (s.y[s.names.index(name)].mean() for name in ("ss", "ss+sl+ls+ll"))
    assert whole.loc[("merged", "all"), "gain"] == pytest.approx(ss - full)
    assert whole.loc["oracle", "low"].isna().all() and whole.loc["measured", "low"].notna().all()
    row = whole.loc[("none", "all")]
    assert row["detectable_runs"] == pytest.approx(detectable_ratio(s.df) * row["se_runs"])
    assert len(choose.curse(s, 2)) == 16
    with pytest.raises(KitError, match="1 seeds are merged, and the study has 2"):
        choose.scored(table, merged=rows[rows["seed"] == 0])
    with pytest.raises(KitError, match="score the runs of these two subsets first"):
        choose.compare(choose.scored(table[table["subset"] != "none"]))
    one = choose.scored(table[table["seed"] == 0])
    assert set(choose.curse(one, 2)["judged_runs"]) == {"same"} and len(choose.compare(one, 2)) > 10


@pytest.mark.slow
def test_notebook_on_a_table_alone(tmp_path):
    overrides = {"profile": "mine", "paths.figures": str(tmp_path / "figures"), "paths.runs": str(tmp_path / "runs")}
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    made = study(list(TYPES[:16]), seeds=2, world=World(noise=1.0), seed=3)
    made.to_csv(tmp_path / "runs" / "mine" / "results.csv", index=False)
    command = [sys.executable, *"-m papermill --cwd notebooks --kernel python3 --no-progress-bar".split()]
    command += ["-p", "fresh", "False", "-p", "splits", "2", "-y", f"overrides: {json.dumps(overrides)}"]
    command += ["notebooks/07_improve.ipynb", str(tmp_path / "out.ipynb")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    drawn = pd.read_csv(tmp_path / "figures" / "mine" / "improve.csv")
    assert set(drawn["judge"]) == {"study"} and (tmp_path / "figures" / "mine" / "winners_curse.png").is_file()
