"""Planted effects: in simulated studies estimates are unbiased, intervals cover, and tests reject as promised.

Studies are those of the paper: 16 runs x 1, 2, 3 seeds x MTEB's 56 tasks. Tolerances are the kit's promise (95 % and
5 %, within 1.5 points); each rate rests on enough tests for its own standard error to be under .4 points.
"""

from pathlib import Path

import alarms
import numpy as np
import pandas as pd
import pytest
import simulate
from scipy import stats
from simulate import FACTORS, World

from lib.common.bundled import DATA
from lib.influence.designs import block_f
from lib.influence.effects import across_tasks, effects, pooled
from lib.influence.power import lenth, noise, pseudo_error
from lib.influence.regression import adjust, fit, main_effects, margin, model_matrix, t_test
from lib.influence.scores import study

TYPES = pd.read_csv(simulate.REFERENCE_TASKS)["type"].tolist()
REALISTIC = World(mean=(0.0, 0.6, -0.3, 0.2), spread=1.0, noise=0.8, noise_spread=0.4, shared=0.3)
NULL = World(spread=0.0, noise=0.8, noise_spread=0.4, shared=0.3)
HEAVY = World(spread=0.0, noise=0.8, noise_spread=0.4, tails=5)


def regress(made, terms="main"):
    """Fit every task of every study at once: effects, errors (factors, studies * tasks), degrees of freedom."""
    x, names = model_matrix(made.x, FACTORS, terms)
    result = fit(x, names, made.y.reshape(len(x), -1))
    result = result.of(FACTORS)
    return result.effect, result.se, result.df


def truth(tasks, seeds, world, seed):
    """The true main effects of `simulate.study` with the same arguments: task, type, factor, true."""
    names = simulate.study(tasks, seeds, world, seed)[["task", "type"]].drop_duplicates()
    found = simulate.arrays(names["type"].tolist(), seeds, 1, world, seed).truth[:, 0].T
    wide = names.join(pd.DataFrame(found, names.index, FACTORS))
    return wide.melt(["task", "type"], var_name="factor", value_name="true")


def within(rate, target, tolerance=0.015):
    """Is a rate where it should be?"""
    return abs(rate - target) <= tolerance


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_task_effects_unbiased_and_covered(seeds):
    made = simulate.arrays(TYPES, seeds, 60, REALISTIC, seed=seeds)
    effect, se, df = regress(made)
    error = effect - made.truth.reshape(4, -1)
    bias = error.mean(axis=1)
    assert (np.abs(bias) < 4 * error.std(axis=1) / np.sqrt(error.shape[1] / 20)).all()  # tasks of a type share luck
    assert np.abs(bias).max() < 0.05
    assert within((np.abs(error) <= margin(se, df)).mean(), 0.95)


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("world", [NULL, HEAVY], ids=["normal", "heavy tails"])
def test_tests_across_runs_reject_five_percent_of_true_nulls(seeds, world):
    made = simulate.arrays(TYPES, seeds, 40 if seeds < 3 else 25, world, seed=10 + seeds)
    effect, se, df = regress(made)
    assert within((t_test(effect, se, df)[1] <= 0.05).mean(), 0.05)
    y = made.y.reshape(len(made.runs), -1)
    f, num, den = block_f(made.design(), y)
    assert within((stats.f.sf(f, num, den) <= 0.05).mean(), 0.05)
    x, names = model_matrix(made.x, FACTORS, "two_way")
    pairs = fit(x, names, y).of([name for name in names if ":" in name])
    assert within((t_test(pairs.effect, pairs.se, pairs.df)[1] <= 0.05).mean(), 0.05)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_type_means_cover_although_tasks_share_a_runs_luck(seeds):
    rows = []
    for size in (4, 10, 15):
        made = simulate.arrays(["T"] * size, seeds, 700, REALISTIC, seed=20 + seeds + size)
        mean, truth = made.y.mean(axis=2), made.truth.mean(axis=2)
        result = fit(*model_matrix(made.x, FACTORS), mean)
        rows.append(np.abs(result.effect[1:] - truth) <= margin(result.se[1:], result.df))
    assert within(np.mean(rows), 0.95)


def test_interactions_widen_main_effect_errors_and_never_bias_them():
    world = World(mean=(0, 1, 0, 0), spread=0.5, noise=0.8, interaction=1.0)
    made = simulate.arrays(TYPES, 2, 60, world, seed=5)
    for terms, exact in (("main", False), ("two_way", True)):
        effect, se, df = regress(made, terms)
        error = effect - made.truth.reshape(4, -1)
        coverage = (np.abs(error) <= margin(se, df)).mean()
        assert np.abs(error.mean(axis=1)).max() < 0.03
        assert within(coverage, 0.95) if exact else coverage > 0.965


def test_half_normal_margins_are_passed_by_noise_as_often_as_said():
    contrasts = np.random.default_rng(7).normal(size=(20_000, 15))
    _, each, largest = lenth(np.arange(1.0, 16.0))
    unit = lenth(np.arange(1.0, 16.0))[0]
    ratio = np.abs(contrasts) / pseudo_error(contrasts)[:, None]
    assert within((ratio > each / unit).mean(), 0.05, 0.003)
    assert within((ratio.max(axis=1) > largest / unit).mean(), 0.05, 0.006)
    for row in contrasts[:20]:  # the vectorised pseudo standard error is Lenth's
        size = np.abs(row)
        assert pseudo_error(row[None])[0] == pytest.approx(1.5 * np.median(size[size < 3.75 * np.median(size)]))


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_false_discoveries_after_correction(seeds):
    """One effect in five is real: Benjamini-Hochberg keeps false ones at or under 5 % of what it finds."""
    studies, random = 120, np.random.default_rng(30 + seeds)
    made = simulate.arrays(TYPES, seeds, studies, NULL, seed=30 + seeds)
    real = random.random((4, studies, 56)) < 0.2
    y = made.y + np.tensordot(made.x - 0.5, 2.5 * random.normal(size=real.shape) * real, 1)
    result = fit(*model_matrix(made.x, FACTORS), y.reshape(len(y), -1))
    p = t_test(result.effect[1:], result.se[1:], result.df)[1].reshape(real.shape)
    share, any_wrong, naive = [], [], []
    for i in range(studies):
        found, sure = adjust(p[:, i]) <= 0.05, adjust(p[:, i], "holm") <= 0.05
        share.append((found & ~real[:, i]).sum() / max(found.sum(), 1))
        any_wrong.append((sure & ~real[:, i]).any())
        naive.append(((p[:, i] <= 0.05) & ~real[:, i]).sum() / max((p[:, i] <= 0.05).sum(), 1))
    assert np.mean(share) <= 0.05 and np.mean(any_wrong) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)
    assert np.mean(naive) > 0.15  # what happens without a correction


def test_power_table_agrees_with_the_simulated_power():
    made = simulate.arrays(["T"] * 40, 2, 60, World(spread=0.0, noise=1.0, noise_spread=0.0), seed=9)
    table = simulate.study(["STS"] * 300, 2, World(spread=0.0, noise=1.0, noise_spread=0.0), seed=3)
    detectable = noise(table)["detectable"].median()
    y = made.y + np.tensordot(made.x - 0.5, np.full(made.truth.shape, detectable), 1)
    result = fit(*model_matrix(made.x, FACTORS), y.reshape(len(y), -1))
    assert (t_test(result.effect[1:], result.se[1:], result.df)[1] <= 0.05).mean() == pytest.approx(0.8, abs=0.02)


def test_simulated_tables_are_reproducible_and_true():
    world = World(mean=(0, 2, 0, -1), spread=0.5, noise=0.3)
    table = simulate.study(56, 2, world, seed=4)
    assert table.equals(simulate.study(56, 2, world, seed=4)) and not table.equals(simulate.study(56, 2, world, seed=5))
    assert len(table) == 56 * 32 and sorted(table["type"].unique()) == sorted(set(TYPES))
    joined = effects(table).merge(truth(56, 2, world, seed=4), on=["task", "type", "factor"])
    error = joined["effect"] - joined["true"]
    assert len(joined) == 224 and error.abs().mean() < 0.15 and joined["effect"].corr(joined["true"]) > 0.98
    assert (joined["true"] - joined["ci_low"]).abs().max() < 3


@pytest.mark.slow
def test_everything_through_the_public_functions():
    """40 whole studies through tables: the same promises as above, on the path that users take."""
    covered, found, across, draws = [], [], [], []
    for seed in range(40):
        world = World(mean=(0, 0.8, 0, 0), spread=1.0, noise=0.8, noise_spread=0.4)
        table = study(simulate.study(56, 1, world, seed=seed))
        joined = effects(table).merge(truth(56, 1, world, seed), on=["task", "type", "factor"])
        covered.append(joined["true"].between(joined["ci_low"], joined["ci_high"]).mean())
        overall = across_tasks(table).query("type == ''").set_index("factor")
        means = pd.Series(world.mean, FACTORS)
        across.append(means.between(overall["ci_low"], overall["ci_high"]).to_numpy())
        found.append(overall.loc["sl", "p_t"] <= 0.05)
        draws.append((pooled(table).query("factor == 'ss'")["p"] <= 0.05).mean())
    assert within(np.mean(covered), 0.95)
    assert np.mean(across) == pytest.approx(0.95, abs=0.05) and np.mean(found) > 0.95
    assert np.mean(draws) > 0.12  # the pooled test, on a category without any average effect


# ---- false alarms of every test and mark ------------------------------------------------------------


CONSERVATIVE = (
    "crossed",
    "** ",
    "interactions of all orders",
    "forest",
)  # at or below 5 %, see lib/influence/effects.py


def check(table, bars=3.0):
    """5 % within 1.5 points (Monte Carlo error added); crossed errors and marks may be below, never above."""
    for row in table.itertuples():
        tests = row.studies * (1 if "somewhere" in row.test or "named" in row.test else 4)
        slack = 0.015 + bars * np.sqrt(0.05 * 0.95 / tests)
        assert row.rate <= 0.05 + slack, row
        if not any(word in f"{row.test} {row.noise}" for word in (*CONSERVATIVE, "Student")):
            assert row.rate >= 0.05 - slack, row


def test_shipped_table_of_false_alarms_holds_the_level():
    table = pd.read_csv(DATA / "reference/false_alarms.csv")
    judged = table["question"] == "two studies"
    called, table = table[judged], table[~judged]
    assert set(called["test"]) == set(alarms.VERDICTS) and (called["rate"] <= 0.05).all()
    assert set(table["test"]) == set(alarms.TESTS) and set(table["noise"]) == set(alarms.NOISES)
    assert set(table["shape"]) == set(alarms.SHAPES) and (table["studies"] >= 1000).all()
    check(table, bars=1.0)
    assert table["rate"].max() <= 0.065


def test_a_cut_of_the_table_comes_out_again():
    shapes = {name: alarms.SHAPES[name] for name in ("classroom 16 x 2", "paper 16 x 1")}
    check(alarms.table(120, shapes, seed=77))


def test_what_the_old_errors_did():
    """Shared draws taken as own reject several times too often, and so do datasets that share a run's luck."""
    made = simulate.arrays(["STS"] * 6, 2, 300, alarms.NOISES["a category's luck in a seed (shared draws)"], seed=1)
    assert (
        alarms.rates(made, "own")["t, one dataset"] > 0.12 and alarms.rates(made, "own")["* somewhere on the map"] > 0.2
    )
    made = simulate.arrays(["STS"] * 6, 1, 300, alarms.NOISES["a run's luck in all datasets, 1"], seed=1)
    each = main_effects(made.design(), made.y.reshape(16, -1)).effect.reshape(4, 300, 6)
    assert (stats.ttest_1samp(each, 0, axis=2).pvalue <= 0.05).mean() > 0.3
    assert alarms.rates(made)["t, one type, crossed"] < 0.065


def real_tables(count, seed=0):
    """Tables that nobody here made: 16 public models, called subsets at random (complete sets only)."""
    models = pd.read_csv(Path(__file__).parents[1] / "data" / "public_mteb_models.csv").set_index("model")
    kinds = pd.read_csv(simulate.REFERENCE_TASKS).set_index("task")["type"]
    models = models.loc[models.notna().sum(axis=1) > 50, [task for task in models if task in kinds]].dropna(axis=1)
    random = np.random.default_rng(seed)
    y = np.stack([100 * models.to_numpy()[random.permutation(len(models))[:16]] for _ in range(count)], axis=1)
    runs = simulate.factorial_runs(1)
    return simulate.Simulated(runs, tuple(kinds[models.columns]), y, np.empty(0))


def test_real_models_called_subsets_at_random_give_no_marks():
    """A model's own quality is luck that all its sets share: a few points, far from normal."""
    made = real_tables(600)
    assert len(made.types) > 30 and len(set(made.types)) == 7
    found = alarms.rates(made)
    bar = 0.05 + 2 * np.sqrt(0.05 * 0.95 / 600)
    assert found["* somewhere on the map"] <= bar and found["** somewhere on the map"] <= bar, found
    assert found["* somewhere in the forest"] <= bar, found
    assert abs(found["t, one dataset"] - 0.05) <= 0.015 and found["t, one type, crossed"] <= 0.065, found
    assert found["t, overall, crossed"] <= 0.065 and found["contrast named in the half-normal figure"] <= 0.065, found
