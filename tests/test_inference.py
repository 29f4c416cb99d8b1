"""Tests and corrections against enumeration, scipy and statsmodels; power and attainability; the mixed model."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib import influence as inf
from lib.files import KitError
from lib.influence import power, simulate
from lib.influence.across import resampled
from lib.influence.inference import adjust, margin, sign_flip, t_test
from lib.influence.simulate import World


@pytest.fixture(scope="module")
def study():
    """56 tasks, one seed, effects that differ between tasks."""
    return inf.study(simulate.study(56, 1, World(mean=(0, 1.0, 0, 0.5)), seed=3))


@pytest.mark.parametrize("n", [1, 2, 5, 8, 13, 16])
def test_sign_flip_equals_enumeration(n):
    values = np.random.default_rng(n).normal(0.4, 1, size=(n, 3))
    patterns = np.array(list(itertools.product((-1, 1), repeat=n)))
    p, floor = sign_flip(values)
    for column in range(3):
        sums = np.abs(patterns @ values[:, column])
        assert p[column] == pytest.approx((sums >= np.abs(values[:, column].sum()) - 1e-12).mean(), abs=1e-15)
    assert (floor == min(1.0, 2 / 2**n)).all() and (p >= floor).all()


def test_sign_flip_equals_scipy():
    values = np.random.default_rng(0).normal(0.3, 1, size=10)
    reference = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(values[:, None])[0][0] == pytest.approx(reference.pvalue, abs=1e-12)


def test_sign_flip_with_gaps_ties_and_nothing():
    full = np.array([[1.0], [2.0], [-0.5], [3.0]])
    gap = np.vstack([full, [[np.nan]]])
    assert sign_flip(gap)[0] == sign_flip(full)[0] and sign_flip(gap)[1] == 2 / 16
    p, floor = sign_flip(np.full((8, 1), 0.1))
    assert p == 2 / 256 == floor  # all the same sign: the smallest p there is
    assert sign_flip(np.zeros((8, 1)))[0] == 1
    assert np.isnan(sign_flip(np.full((3, 1), np.nan))[0]).all() and np.isnan(sign_flip(np.empty((0, 2)))[0]).all()
    whole = np.random.default_rng(0).integers(-4, 5, size=(10, 200)).astype(float)
    assert np.array_equal(sign_flip(whole)[0], sign_flip(whole * 0.1)[0])  # ties stay ties when tenths are not exact
    more = np.random.default_rng(0).integers(-4, 5, size=(15, 50)).astype(float)
    assert np.array_equal(sign_flip(more)[0], sign_flip(more * 0.1)[0])


def test_drawn_signs_approach_the_exact_count():
    values = np.random.default_rng(4).normal(0.35, 1, size=(24, 6))
    exact, _ = sign_flip(values)
    padded = np.vstack([values, np.zeros((1, 6))])  # a 25th difference of zero changes nothing but the method
    drawn, floor = sign_flip(padded, seed=1)
    assert np.abs(drawn - exact).max() < 4 * 0.5 / np.sqrt(19_999) and (floor == 1 / 20_000).all()
    assert np.array_equal(drawn, sign_flip(padded, seed=1)[0]) and not np.array_equal(
        drawn, sign_flip(padded, seed=2)[0]
    )


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
    with pytest.raises(KitError, match="bonferroni"):
        adjust(p, "bonferroni")


def test_adjusted_p_equal_statsmodels():
    from statsmodels.stats.multitest import multipletests

    random = np.random.default_rng(0)
    for size in (1, 2, 28, 224):
        p = random.uniform(size=size) ** 3
        p[: size // 4] = p[0]  # ties
        for method in ("fdr_bh", "holm"):
            assert np.allclose(adjust(p, method), multipletests(p, method=method)[1], atol=1e-15)


# ---- across tasks -----------------------------------------------------------------------------------


def test_across_tasks_equals_scipy(study):
    effects = inf.effects(study, permutations=False)
    result = inf.across_tasks(study)
    for row in result[result["n_tasks"] > 1].itertuples():
        mine = effects[(effects["type"] == row.type) & (effects["factor"] == row.factor)]["effect"].to_numpy()
        reference = stats.ttest_1samp(mine, 0)
        assert row.effect == pytest.approx(mine.mean()) and row.p_t == pytest.approx(reference.pvalue)
        assert [row.ci_low, row.ci_high] == pytest.approx(list(reference.confidence_interval()))
        assert row.share_up == (mine > 0).mean() and row.p_signflip_min == 2.0 ** (1 - len(mine))
    summarization = result[result["type"] == "Summarization"]
    assert summarization[["se", "p_t", "p_signflip", "boot_low"]].isna().all().all()
    reranking = result[result["type"] == "Reranking"]
    assert (reranking["p_signflip_min"] == 0.125).all() and any("Reranking" in note for note in result.attrs["notes"])
    by_type = inf.effects(study, level="type").merge(result, on=["type", "factor"])
    assert np.allclose(by_type["effect_x"], by_type["effect_y"])  # one estimate, two errors
    overall = inf.across_tasks(study, by="overall")
    assert (overall["n_tasks"] == 56).all() and len(overall) == 4
    with pytest.raises(KitError, match="'task'"):
        inf.across_tasks(study, by="task")


def test_bootstrap_is_the_widened_percentile_interval():
    values = np.random.default_rng(2).normal(1, 2, size=(2, 12))
    low, high = resampled(values, 0.05, 20_000, 0)
    t = stats.t.interval(0.95, 11, values.mean(axis=1), stats.sem(values, axis=1))
    assert np.allclose([low, high], t, atol=0.25 * stats.sem(values, axis=1).max())
    plain = stats.bootstrap((values[0],), np.mean, method="percentile", n_resamples=20_000, rng=0).confidence_interval
    assert low[0] < plain.low and high[0] > plain.high


def test_pooled_is_one_regression_with_a_mean_per_task(study):
    from statsmodels.formula.api import ols

    table = simulate.study(["STS"] * 5, 1, seed=1)
    row = inf.pooled(table).set_index("factor").loc["sl"]
    long = table.assign(score=100 * table["score"])
    reference = ols("score ~ C(task) + ss + sl + ls + ll", long).fit()
    assert row["effect"] == pytest.approx(reference.params["sl"]) and row["se"] == pytest.approx(reference.bse["sl"])
    assert row["df"] == reference.df_resid and row["p"] == pytest.approx(reference.pvalues["sl"])


# ---- mixed model --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, "STS"])
def test_mixed_model_agrees_with_the_tasks_own_effects(study, kind):
    result = inf.mixed(study, kind)
    across = inf.across_tasks(study, "overall" if kind is None else "type")
    across = across[across["type"] == (kind or "")].reset_index(drop=True)
    assert result["converged"].all() and (result["message"] == "").all()
    assert np.allclose(result["effect"], across["effect"], atol=1e-3) and np.allclose(
        result["effect"], result["mean_effect"], atol=1e-3
    )
    assert np.allclose(result["se"], across["se"], rtol=0.01)
    assert (result["sd_tasks"] < across["sd_tasks"]).all()  # the spread of true effects, noise taken out


def test_mixed_model_says_when_it_is_on_the_edge():
    table = simulate.study(["STS"] * 4, 1, World(spread=0.0), seed=0)
    result = inf.mixed(table)
    assert not result["converged"].all() or result["message"].str.len().all()  # no spread over tasks: said, not hidden
    with pytest.raises(KitError, match="three tasks"):
        inf.mixed(simulate.study(["STS", "STS"], 1))
    with pytest.raises(KitError, match="'Poetry' has 0"):
        inf.mixed(table, "Poetry")
    with pytest.raises(KitError, match="noise"):
        inf.mixed(table.assign(score=0.5))


# ---- power and attainability ----------------------------------------------------------------------------


def test_numbers_of_the_design_document(study):
    table = inf.attainable(study)
    toggle = table[(table["test"].str.startswith("toggle")) & (table["level"] == "task")].iloc[0]
    assert toggle["smallest_p"] == 0.0078125 and toggle["tests"] == 224 and toggle["hits_needed"] == 35
    flip = table[table["test"].str.startswith("sign-flip")].set_index("type")
    assert flip.loc["Reranking", "smallest_p"] == 0.125 and not flip.loc["Reranking", "reachable"]
    assert flip.loc["Retrieval", "smallest_p"] == 2.0**-14 and flip.loc["Retrieval", "reachable"]
    assert table.set_index(["test", "level"]).loc[("t, main effect", "task"), "df"] == 11


def test_hits_needed_is_where_benjamini_hochberg_starts():
    for pairs, tests in ((8, 224), (8, 28), (16, 224), (7, 64)):
        p = power.smallest_p(pairs)
        hits = int(power.hits_needed(p, tests))
        for count in (hits - 1, hits):
            family = np.ones(tests)
            family[:count] = p
            assert (adjust(family) <= 0.05).any() == (count == hits and count > 0)


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


def test_more_seeds_buy_smaller_effects(study):
    table = inf.seeds_buy(study, seeds=(1, 2, 4))
    assert list(table["df"]) == [11, 27, 59] and list(table["runs"]) == [16, 32, 64]
    assert table["se_median"].iloc[0] == pytest.approx(2 * table["se_median"].iloc[2])
    assert table["detectable_median"].is_monotonic_decreasing and table["hits_needed"].is_monotonic_decreasing
    assert (table["detectable_corrected"] > table["detectable_median"]).all()
    noise = inf.noise(study)
    assert table["se_median"].iloc[0] == pytest.approx(noise["se_effect"].median())
    assert table["detectable_median"].iloc[0] == pytest.approx(noise["detectable"].median())


def test_attainability_of_a_broken_design(study):
    table = simulate.study(12, 1, seed=1)
    five = table[table["subset"].isin(["none", "ss", "sl", "ls", "ll"])]
    result = inf.attainable(five)
    t = result[(result["test"] == "t, main effect") & (result["level"] == "task")].iloc[0]
    assert t["df"] == 0 and not t["reachable"] and np.isnan(t["smallest_p"])
    assert isinstance(inf.seeds_buy(five), pd.DataFrame)
