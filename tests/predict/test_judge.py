"""The judge finds what is planted, finds nothing where nothing is, and says what it cannot judge."""

import numpy as np
import pytest
from planted import study as planted
from scipy.stats import spearmanr

from lib.common.files import KitError
from lib.predict.choose import Scored
from lib.predict.predict import additive, effects, fitted, from_trainings, judge, predict, truth

X = np.array([[i >> c & 1 for c in range(4)] for i in range(16)], float)
X = X[np.lexsort((np.arange(16), X.sum(axis=1)))]


def world(rng, effect=0.0, interaction=0.0, noise=1.0, luck=0.0, seeds=2, sets=31):
    """A study with effects (spread, points) per category and set, interactions, noise, and a run's own luck."""
    gains, both = effect * rng.normal(size=(4, sets)), interaction * rng.normal(size=(16, sets))
    y = 50 + X @ gains + both + noise * rng.normal(size=(seeds, 16, sets)) + luck * rng.normal(size=(seeds, 16, 1))
    names = tuple("".join(map(str, row.astype(int))) for row in X)
    return scored(y, names), gains


def scored(y, names):
    sets = tuple(f"set{i}" for i in range(y.shape[-1]))
    return Scored(names, X, sets, sets, y.swapaxes(0, 1), None, 0, 16, tuple(range(len(y))), tuple("abcd"))


def of(known, function):
    return np.array([function(y, known.x) for y in known.by_seed])


def test_what_is_additive_is_predicted_exactly():
    known, gains = world(np.random.default_rng(0), effect=2, noise=0)

    def half(scores, x):
        return fitted(scores, x, x.sum(axis=1) % 2 == 0)

    for function in (additive, half, fitted):
        found = judge(of(known, function), known, 99)
        assert [found["lds"], found["cells"], found["rmse"]] == pytest.approx([1, 1, 0], abs=1e-9)
        assert found["lds_p"] == found["cells_p"] == 0.01
    assert effects(known.by_seed, known.x)[0] == pytest.approx(gains)


def test_every_number_is_the_plain_one():
    rng = np.random.default_rng(1)
    known, _ = world(rng, effect=1)
    predicted = of(known, additive)
    found, held = judge(predicted, known, 49), known.held
    plain = [spearmanr(predicted[k][held, s], known.by_seed[1 - k][held, s])[0] for k in (0, 1) for s in range(31)]
    assert found["lds"] == pytest.approx(np.mean(plain))
    measured = [
        known.by_seed[k][X[:, c] == 1].mean(0) - known.by_seed[k][X[:, c] == 0].mean(0)
        for k in (1, 0)
        for c in range(4)
    ]
    singles = [known.by_seed[k][1 + c] - known.by_seed[k][0] for k in (0, 1) for c in range(4)]
    r = [np.corrcoef(np.ravel(singles[4 * k : 4 * k + 4]), np.ravel(measured[4 * k : 4 * k + 4]))[0, 1] for k in (0, 1)]
    assert found["cells"] == pytest.approx(np.mean(r))
    square = [(predicted[k][held] - known.by_seed[1 - k][held]) ** 2 for k in (0, 1)]
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(square)))


@pytest.mark.parametrize("noise", [{}, {"luck": 1.0}, {"interaction": 2.0, "noise": 0.3}])
def test_where_nothing_is_built_in_few_are_significant(noise):
    """200 studies without effects: at most about 5 % by either test (8 % is two standard errors above)."""
    rng, hits = np.random.default_rng(3), np.zeros(2)
    for i in range(200):
        known, _ = world(rng, **noise)
        gains = rng.normal(size=(4, 31)) + rng.normal(size=(4, 1))  # a predictor that knows nothing, with a pattern
        found = judge(np.tile(known.x @ gains, (2, 1, 1)), known, 99, seed=i)
        hits += [found["lds_p"] <= 0.05, found["cells_p"] <= 0.05]
    assert (hits / 200 <= 0.08).all()


def test_a_noisy_additive_truth_is_found():
    rng, found = np.random.default_rng(4), []
    for i in range(20):
        known, _ = world(rng, effect=1, noise=1)
        found.append(judge(of(known, additive), known, 99, seed=i))
    assert all(one["lds_p"] < 0.05 and one["cells_p"] < 0.05 for one in found)


def test_interactions_are_no_main_effects_and_size_alone_is_told_apart():
    rng = np.random.default_rng(5)
    known, _ = world(rng, noise=0.2)
    grows = scored(known.by_seed + 3 * X.sum(1)[:, None], known.names)
    found = judge(np.tile(X.sum(1)[:, None], (2, 1, 31)), grows, 99)
    assert found["lds"] > 0.8 and found["lds_size"] == 0 and found["lds_size_p"] == 1


def test_one_seed_is_judged_by_subsets_that_no_prediction_has_seen():
    known, _ = world(np.random.default_rng(6), effect=2, noise=0.1, seeds=1)
    cheat = known.by_seed.copy()
    cheat[0, known.held] = np.random.default_rng(0).normal(size=(11, 31))
    assert judge(cheat, known, 99)["cells"] < 0.3 < 0.9 < judge(of(known, additive), known, 99)["cells"]
    table = predict(from_trainings(known), known, draws=9)
    assert set(table["predictor"]) == {"size alone", "nothing changes", "additive"}


def test_the_table_prices_and_orders(tmp_path):
    import pandas as pd

    known, _ = world(np.random.default_rng(7), effect=1)
    timing = pd.DataFrame({"subset": ["base", "none"], "seed": 0, "seconds": [0, 60.0], "score_seconds": [9.0, 40.0]})
    table = predict(from_trainings(known), known, timing, draws=49).set_index("predictor")
    assert table.loc["additive", "seconds"] == 500 and table.loc["size alone", "seconds"] == 0
    real, free = table.loc["all, as they are"], table.loc["noise-free"]
    assert free["lds"] == pytest.approx(real["lds"] ** 0.5) and free["rmse"] == pytest.approx(real["rmse"] / 2**0.5)
    assert table["lds_holm"].notna().sum() == 3 and (table["lds_holm"].dropna() >= table["lds_p"].dropna().min()).all()


def test_the_scores_of_a_table_and_what_cannot_be_judged():
    table = planted({"STS": 2, "Reranking": 1}, effects={("sl", "STS"): 3.0}, noise=0.0)
    known = truth(table)
    assert known.by_seed.shape == (2, 16, 3) and known.names[0] == "none" and known.held.sum() == 11
    place = known.names.index("sl"), known.tasks.index("STS0")
    assert known.by_seed[0][place] - known.by_seed[0][0, place[1]] == pytest.approx(3)
    with pytest.raises(KitError, match="complete study"):
        truth(table[~((table["subset"] == "ss+ll") & (table["seed"] == 1))])
    with pytest.raises(KitError, match="three categories"):
        truth(table[(table["ls"] == 0) & (table["ll"] == 0)].drop(columns=["ls", "ll"]))
    with pytest.raises(KitError, match="make reproduce"):  # no seed in common
        truth(table.assign(seed=table["seed"] + 2 * (table["subset"] == "ss")))
