"""Tests and corrections against scipy and statsmodels; errors of shared draws; reliability; power."""

import numpy as np
import pandas as pd
import pytest
import simulate
from scipy import stats
from simulate import World

from lib.influence import power
from lib.influence.designs import interactions
from lib.influence.effects import across_tasks, effects, pooled
from lib.influence.influence import reliability
from lib.influence.power import half_normal, noise
from lib.influence.regression import adjust, margin, t_test
from lib.influence.scores import study


def seeds_buy(table, seeds=(1,)):
    """What seeds would show of one set."""
    return power.seeds_buy(table, seeds).query("level == 'task'")


@pytest.fixture(scope="module")
def paper():
    """56 tasks, one seed, effects that differ between tasks."""
    return study(simulate.study(56, 1, World(mean=(0, 1.0, 0, 0.5)), seed=3))


def test_t_and_margin_equal_scipy():
    values = np.random.default_rng(1).normal(size=12)
    se = values.std(ddof=1) / np.sqrt(12)
    t, p = t_test(values.mean(), se, 11)
    reference = stats.ttest_1samp(values, 0)
    assert t == pytest.approx(reference.statistic) and p == pytest.approx(reference.pvalue)
    low, high = reference.confidence_interval(0.9)
    assert margin(se, 11, 0.1) == pytest.approx((high - low) / 2)
    assert t_test(0.0, 0.0, 5)[1] == 1 and t_test(1.0, 0.0, 5)[1] == 0 and np.isnan(t_test(1.0, np.nan, 0)[1])


def test_adjusted_p_leave_missing_out():
    p = np.array([0.01, np.nan, 0.04, 0.03])
    assert adjust(p)[[0, 2, 3]] == pytest.approx(stats.false_discovery_control(p[[0, 2, 3]])) and np.isnan(adjust(p)[1])
    assert adjust(p, "holm")[[0, 2, 3]] == pytest.approx([0.03, 0.06, 0.06])
    assert np.isnan(adjust(np.full(3, np.nan))).all()


def test_adjusted_p_equal_statsmodels():
    from statsmodels.stats.multitest import multipletests

    random = np.random.default_rng(0)
    for size in (1, 2, 28, 224):
        p = random.uniform(size=size) ** 3
        p[: size // 4] = p[0]  # ties
        for method in ("fdr_bh", "holm"):
            assert np.allclose(adjust(p, method), multipletests(p, method=method)[1], atol=1e-15)


# ---- across tasks -----------------------------------------------------------------------------------


def test_across_tasks_is_a_two_way_analysis_of_variance(paper):
    """Expected mean squares of runs x datasets, from the residuals written out."""
    result = across_tasks(paper).set_index(["type", "factor"])
    sts = np.array(paper.types) == "STS"
    y, x = 100 * paper.y[:, sts], paper.x - 0.5
    n, df = y.shape[1], len(y) - 5
    left = y - y.mean(axis=0) - x @ np.linalg.lstsq(x, y - y.mean(axis=0), rcond=None)[0]
    runs = (left.mean(axis=1) ** 2).sum() / df * 4 / len(y)
    both = ((left - left.mean(axis=1, keepdims=True)) ** 2).sum() / df / (n - 1) / n * 4 / len(y)
    main = effects(paper).query("type == 'STS'")
    for factor, own in main.groupby("factor"):
        row, sets = result.loc["STS", factor], own["effect"].var(ddof=1) / n
        assert row["effect"] == pytest.approx(own["effect"].mean()) and row["n_tasks"] == n
        assert row["se_runs"] ** 2 == pytest.approx(runs) and row["se_sets"] ** 2 == pytest.approx(sets)
        assert row["se"] ** 2 == pytest.approx(max(runs - both, 0) + max(sets - both, 0) + both)
        bar = stats.t.isf(0.025, row["df"])
        assert row["ci_high"] - row["effect"] == pytest.approx(bar * row["se"])
        assert (row["p_t"] < 0.05) == (abs(row["t"]) > bar) and min(df, n - 1) <= row["df"] <= df


def test_across_tasks_does_not_pretend(paper):
    result = across_tasks(paper)
    one = result[result["type"] == "Summarization"]
    assert one[["se", "p_t", "ci_low"]].isna().all().all() and (one["n_tasks"] == 1).all()
    assert any("Reranking (4)" in note for note in result.attrs["notes"])
    assert any("Summarization has 1 task" in note for note in result.attrs["notes"])
    by_type = effects(paper, level="type").merge(result, on=["type", "factor"])
    assert np.allclose(by_type["effect_x"], by_type["effect_y"])  # one estimate, two errors
    assert np.allclose(by_type["se_x"], by_type["se_runs"])
    overall = result[result["type"] == ""]
    assert (overall["n_tasks"] == 56).all() and len(overall) == 4
    assert np.allclose(result["p_bh"], adjust(result["p_t"]), equal_nan=True)


# ---- shared draws, reliability ------------------------------------------------------------------------


def test_shared_draws_have_the_error_of_category_by_seed():
    table = simulate.study(12, 3, World(draw=1.0), seed=2)
    result = effects(table, level="all")
    seeds = [effects(part, level="all")["effect"] for _, part in table.groupby("seed")]
    each = np.array(seeds)
    assert np.allclose(result["effect"], each.mean(axis=0)) and (result["df"] == 2).all()
    assert np.allclose(result["p"], stats.ttest_1samp(each, 0).pvalue)
    for made in (result, across_tasks(table), interactions(table)):
        assert any("category by seed, with 2 degrees" in note for note in made.attrs["notes"])
    assert len(half_normal(table)) == 11  # main effects are not among the contrasts
    one = effects(table[table["seed"] == 0].assign(draws="shared"))
    assert one["se"].isna().all() and (one["status"] == "no error").all()


def test_a_table_that_does_not_say_is_taken_as_shared_only_where_it_matters():
    table = simulate.study(12, 2, seed=2).drop(columns="draws")
    assert study(table).draws == "shared" and any("column draws" in n for n in study(table).notes)
    assert study(table[table["seed"] == 0]).draws == "own"
    assert any("One seed" in note for note in study(table[table["seed"] == 0]).notes)
    assert study(table.assign(seed=table.groupby(["subset", "seed"]).ngroup())).draws == "own"
    assert study(table.drop(columns="seed")).draws == "own"
    assert study(table.assign(draws="own")).draws == "own"


def test_the_level_of_a_seed_is_a_block():
    quiet = simulate.study(12, 2, seed=2)
    moved = quiet.assign(score=quiet["score"] + 0.05 * quiet["seed"])
    a, b = effects(quiet, level="all"), effects(moved, level="all")
    assert (a["df"] == 26).all() and np.allclose(a[["effect", "se", "p"]], b[["effect", "se", "p"]])


@pytest.mark.parametrize("noise", [0.3, 1.5])
def test_reliability_is_the_correlation_with_a_repetition(noise):
    """And shrunken effects are nearer to the truth than the estimates."""
    made, truth = [], None
    for seed in range(6):
        arrays = simulate.arrays(["STS"] * 40, 1, 2, World(spread=1.0, noise=noise), seed=seed)
        shift = np.tensordot(arrays.x - 0.5, arrays.truth[:, :1] - arrays.truth[:, 1:], 1)[:, 0]
        y = [arrays.y[:, 0], arrays.y[:, 1] + shift]  # the second study has the truth of the first
        made.append([_effects(arrays.runs, part) for part in y])
        truth = arrays.truth[:, 0].T.ravel()
        table = made[-1][0]
        if noise > 1:
            assert ((table["shrunk"] - truth) ** 2).mean() < ((table["effect"] - truth) ** 2).mean()
    both = np.mean([np.corrcoef(a["effect"], b["effect"])[0, 1] for a, b in made])
    said = np.mean([1 - (a["se"] ** 2).mean() / a["effect"].var() for a, _ in made])
    assert said == pytest.approx(both, abs=0.06) and np.mean(
        [a["reliability"].mean() for a, _ in made]
    ) == pytest.approx(both, abs=0.06)


def _effects(runs, y):
    long = runs.loc[runs.index.repeat(y.shape[1])].reset_index(drop=True)
    long = long.assign(task=[f"T{i:02}" for i in range(y.shape[1])] * len(runs), type="STS", score=y.ravel() / 100)
    return effects(long.assign(draws="own"))


def test_split_halves_are_stepped_up():
    table = simulate.study(28, 2, World(spread=1.0, noise=1.0), seed=3)
    made = effects(table, level="all")
    result = reliability(table, made).set_index(["level", "factor"])
    halves = [effects(part)["effect"] for _, part in table.groupby("seed")]
    r = np.corrcoef(*halves)[0, 1]
    assert result.loc[("task", ""), "split_half"] == pytest.approx(2 * r / (1 + r))
    assert result.loc[("task", ""), "n"] == 112 and result.loc[("task", "ss"), "n"] == 28
    assert result.loc[("task", ""), "reliability"] == pytest.approx(result.loc[("task", ""), "split_half"], abs=0.08)
    assert np.isnan(result.loc[("overall", "ss"), "reliability"])
    one = reliability(table[table["seed"] == 0], effects(table[table["seed"] == 0], level="all"))
    assert one["split_half"].isna().all()


def test_normalised_influence_does_not_depend_on_the_number_of_seeds():
    sizes = [effects(simulate.study(28, k, World(spread=1.0, noise=0.0001)))["normalized"].abs().mean() for k in (1, 3)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
    table = simulate.study(12, 1, seed=1)
    again = pd.concat([table, table.assign(seed=1)]).assign(draws="own")
    assert np.allclose(effects(table)["normalized"], effects(again)["normalized"])


def test_pooled_is_one_regression_with_a_mean_per_task(paper):
    from statsmodels.formula.api import ols

    table = simulate.study(["STS"] * 5, 1, seed=1)
    row = pooled(table).set_index("factor").loc["sl"]
    long = table.assign(score=100 * table["score"])
    reference = ols("score ~ C(task) + ss + sl + ls + ll", long).fit()
    assert row["effect"] == pytest.approx(reference.params["sl"]) and row["se"] == pytest.approx(reference.bse["sl"])
    assert row["df"] == reference.df_resid and row["p"] == pytest.approx(reference.pvalues["sl"])


# ---- power and attainability ----------------------------------------------------------------------------


def test_power_is_found_again_in_the_study():
    table = simulate.study(["STS"] * 200, 2, World(spread=0.0, noise=1.0, noise_spread=0.0), seed=3)
    found = seeds_buy(table, (1, 2))
    ratio = np.array([power.detectable_ratio(df) for df in (11, 26)])
    assert list(found["df"]) == [11, 26]
    assert found["detectable_median"].to_numpy() == pytest.approx(ratio * 2 / np.sqrt([16, 32]), rel=0.03)
    shared = simulate.study(12, 3, World(draw=1.0), seed=2)
    assert list(seeds_buy(shared, (2, 3))["df"]) == [1, 2]


def test_power_equals_statsmodels_and_simulation():
    from statsmodels.stats.power import TTestPower

    for ratio, df in ((2.0, 11), (3.0, 27), (0.5, 4)):
        reference = TTestPower().power(effect_size=ratio / np.sqrt(df + 1), nobs=df + 1, alpha=0.05, df=df)
        assert power.t_power(ratio, df) == pytest.approx(reference, abs=1e-6)
    random = np.random.default_rng(0)
    drawn = (random.normal(size=200_000) + 3.1) / np.sqrt(random.chisquare(11, 200_000) / 11)
    assert power.t_power(3.1, 11) == pytest.approx((np.abs(drawn) > stats.t.isf(0.025, 11)).mean(), abs=0.004)
    for df, alpha in ((1, 0.05), (5, 0.05), (11, 0.05 / 224), (75, 0.05)):
        assert power.t_power(power.detectable_ratio(df, alpha), df, alpha) == pytest.approx(0.8, abs=1e-6)
    assert np.isnan(power.detectable_ratio(0))


def test_more_seeds_buy_smaller_effects(paper):
    table = seeds_buy(paper, (1, 2, 4))
    assert list(table["df"]) == [11, 26, 56] and list(table["runs"]) == [16, 32, 64]
    assert table["se_median"].iloc[0] == pytest.approx(2 * table["se_median"].iloc[2])
    assert table["detectable_median"].is_monotonic_decreasing
    assert (table["detectable_corrected"] > table["detectable_median"]).all()
    floor = noise(paper)
    assert table["se_median"].iloc[0] == pytest.approx(floor["se_effect"].median())
    assert table["detectable_median"].iloc[0] == pytest.approx(floor["detectable"].median())


def test_a_design_without_degrees_of_freedom_buys_nothing():
    table = simulate.study(12, 1, seed=1)
    five = seeds_buy(table[table["subset"].isin(["none", "ss", "sl", "ls", "ll"])])
    assert five[["se_median", "detectable_median"]].isna().all(axis=None)
