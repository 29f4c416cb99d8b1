"""Main effects and interactions: held against independent computations, and bad tables."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import simulate
from reference import regression
from scipy import stats
from simulate import FACTORS, World

from lib.common.files import KitError
from lib.influence.designs import interaction_block, interactions, isolation
from lib.influence.effects import across_tasks, effects
from lib.influence.influence import reliability
from lib.influence.power import half_normal, noise
from lib.influence.scores import study
from lib.influence.tables import cells, paired_differences, run_means


@pytest.fixture(scope="module")
def table():
    """Twelve tasks, two seeds, real effects, interactions and noise."""
    return simulate.study(12, 2, World(mean=(0, 1.0, 0, 0.5), interaction=0.6, shared=0.2), seed=5)


@pytest.fixture(scope="module")
def single():
    """One seed, as in the paper."""
    return simulate.study(12, 1, World(mean=(0, 1.0, 0, 0.5), interaction=0.6), seed=6)


def of(result, task, factor):
    """The one row of a task and factor."""
    return result[(result["task"] == task) & (result["factor"] == factor)].iloc[0]


# ---- identities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", ["main", "two_way", "saturated"])
def test_main_effect_is_the_mean_difference_and_the_banzhaf_value(single, terms):
    """Whatever interactions are fitted beside it: this is what centring the factors buys."""
    result = effects(single, terms=terms)
    cell = {(r.task, r.ss, r.sl, r.ls, r.ll): 100 * r.score for r in single.itertuples()}
    for row in result.itertuples():
        place = FACTORS.index(row.factor)
        mine = single[single["task"] == row.task]
        difference = 100 * (
            mine.loc[mine[row.factor] == 1, "score"].mean() - mine.loc[mine[row.factor] == 0, "score"].mean()
        )
        steps = []
        for others in itertools.product((0, 1), repeat=3):
            without, present = list(others), list(others)
            without.insert(place, 0)
            present.insert(place, 1)
            steps.append(cell[(row.task, *present)] - cell[(row.task, *without)])
        assert abs(row.effect - difference) < 1e-12
        assert abs(row.effect - math.fsum(steps) / 8) < 1e-12


@pytest.mark.parametrize("terms", ["main", "two_way", "saturated"])
@pytest.mark.parametrize("gaps", [False, True])
def test_closed_form_equals_numpy_and_statsmodels(table, terms, gaps):
    if gaps:  # one run of one task is missing: no longer orthogonal
        first = table["task"].iloc[0]
        table = table[~((table["task"] == first) & (table["subset"] == "ss+sl") & (table["seed"] == 1))]
    result = effects(table, terms=terms)
    for task in list(dict.fromkeys(table["task"]))[:3]:
        mine = table[table["task"] == task]
        reference = regression(table, task=task, terms=terms)
        x = reference.model.exog
        numpy_beta = np.linalg.lstsq(x, reference.model.endog, rcond=None)[0]
        for factor in FACTORS:
            row = of(result, task, factor)
            place = list(reference.params.index).index(factor)
            assert row.n == len(mine) and row.df == reference.df_resid
            assert abs(row.effect - reference.params[factor]) < 1e-10
            assert abs(row.effect - numpy_beta[place]) < 1e-10
            assert row.se == pytest.approx(reference.bse[factor], rel=1e-9)
            assert row.p == pytest.approx(reference.pvalues[factor], rel=1e-7)
            assert row.p == pytest.approx(2 * stats.t.sf(abs(row.t), reference.df_resid), rel=1e-9)
            assert [row.ci_low, row.ci_high] == pytest.approx(list(reference.conf_int().loc[factor]), rel=1e-9)


def test_two_sample_t_is_the_one_factor_case():
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {"A": [0, 1] * 6, "seed": range(12), "task": "T", "type": "STS", "score": random.uniform(0.4, 0.6, 12)}
    )
    row = effects(table).iloc[0]
    a, b = (table.loc[table["A"] == v, "score"] for v in (1, 0))
    assert row.p == pytest.approx(stats.ttest_ind(a, b).pvalue, rel=1e-9)


def test_normalisations(single):
    z, std, t = (effects(single, normalize=kind) for kind in ("z", "std", "t"))
    assert np.allclose(std["normalized"], z["normalized"] / 2)  # a balanced 0/1 column has standard deviation 1/2
    assert np.allclose(t["normalized"], t["t"])
    assert (z["normalized"].abs() <= 2).all()
    for row in z.head(8).itertuples():
        mine = single[single["task"] == row.task]
        scores = stats.zscore(mine["score"].to_numpy())
        on = mine[row.factor].to_numpy() == 1
        assert row.normalized == pytest.approx(scores[on].mean() - scores[~on].mean(), abs=1e-10)
    assert effects(single, normalize=None)["normalized"].isna().all()


def test_normalised_influence_reaches_two_when_one_category_explains_everything(single):
    only = single.assign(score=0.5 + 0.1 * single["sl"])
    row = of(effects(only), only["task"].iloc[0], "sl")
    assert row.normalized == pytest.approx(2.0) and row.effect == pytest.approx(10.0)
    assert row.status == "exact fit" and row.p == 0
    assert of(effects(only), only["task"].iloc[0], "ss").p == 1


def test_corrections_cover_the_whole_level(table):
    for level, rows in (("task", 48), ("type", None), ("overall", 4)):
        result = effects(table, level=level)
        p = result["p"].to_numpy()
        order, m = np.argsort(p), len(p)
        assert rows in (None, m)
        holm = np.minimum.accumulate((np.sort(p) * (m - np.arange(m)))[::-1])[
            ::-1
        ]  # a lower bound, made monotone below
        holm = np.minimum(1, np.maximum.accumulate(np.sort(p) * (m - np.arange(m))))
        bh = np.minimum(1, np.minimum.accumulate((np.sort(p) * m / (np.arange(m) + 1))[::-1])[::-1])
        assert np.allclose(result["p_holm"].to_numpy()[order], holm) and np.allclose(
            result["p_bh"].to_numpy()[order], bh
        )


def test_levels_average_per_run_first(table):
    by_type = effects(table, level="type")
    name = by_type["type"].iloc[0]
    mean = table[table["type"] == name].groupby(["subset", "seed", *FACTORS], sort=False)["score"].mean().reset_index()
    mean = mean.assign(task="mean", type=name, draws="own")
    direct = effects(mean)
    mine = by_type[by_type["type"] == name]
    for column in ("effect", "se", "p", "normalized"):
        assert np.allclose(mine[column], direct[column])
    everything = effects(table, level="all")
    assert list(dict.fromkeys(everything["level"])) == ["task", "type", "overall"]
    assert len(everything) == 48 + len(by_type) + 4


# ---- interactions ----------------------------------------------------------


def test_interactions_are_differences_of_effects(table):
    result = interactions(table)
    assert len(result) == (12 + table["type"].nunique() + 1) * 6
    row = result[result["term"] == "sl:ll"].iloc[0]
    mine = table[table["task"] == row.task]
    mean = 100 * mine.groupby(["sl", "ll"])["score"].mean()
    assert row.effect == pytest.approx((mean[1, 1] - mean[0, 1]) - (mean[1, 0] - mean[0, 0]), abs=1e-10)
    reference = regression(table, task=row.task, terms="two_way")
    assert row.se == pytest.approx(reference.bse["sl:ll"]) and row.p == pytest.approx(reference.pvalues["sl:ll"])


def test_block_f_equals_anova(table, single):
    from statsmodels.stats.anova import anova_lm

    for scores in (table, single):
        block = interaction_block(scores).set_index(["level", "task", "type"])
        task = scores["task"].iloc[0]
        kind = scores["type"].iloc[0]
        for key, where in {
            ("task", task, kind): {"task": task},
            ("type", "", kind): {"type": kind},
            ("overall", "", ""): {},
        }.items():
            reference = anova_lm(regression(scores, **where), regression(scores, terms="two_way", **where)).iloc[1]
            row = block.loc[key]
            assert row["F"] == pytest.approx(reference["F"]) and row["p"] == pytest.approx(reference["Pr(>F)"])
            assert row["df_num"] == reference["df_diff"] and row["df_den"] == reference["df_resid"]


def test_half_normal_contrasts(single):
    task = single["task"].iloc[0]
    result = half_normal(single, task=task).set_index("term")
    mine = single[single["task"] == task]
    sign = {f: 2 * mine[f].to_numpy() - 1 for f in FACTORS}
    for term in ("ss", "sl:ll", "ss:sl:ls", "ss:sl:ls:ll"):
        product = np.prod([sign[f] for f in term.split(":")], axis=0)
        assert result.loc[term, "contrast"] == pytest.approx(100 * (product * mine["score"]).sum() / 8, abs=1e-10)
    assert (
        len(result) == 15 and result["magnitude"].is_monotonic_increasing and result["quantile"].is_monotonic_increasing
    )
    assert (result["beyond"] == (result["magnitude"] > result["simultaneous_margin"])).all()
    with pytest.raises(KitError, match="16 subsets"):
        half_normal(single[single["subset"] != "ll"], task=task)


# ---- tables from anywhere -------------------------------------------------------------------------


def test_a_csv_with_subset_names_only_gives_the_same(table, tmp_path):
    reference = effects(table)
    table[["subset", "seed", "task", "type", "score"]].to_csv(tmp_path / "scores.csv", index=False)
    result = effects(tmp_path / "scores.csv")
    assert np.allclose(result["effect"], reference["effect"]) and list(result["factor"]) == list(reference["factor"])
    long = table.rename(columns={"ss": "short-short", "sl": "short-long", "ls": "long-short", "ll": "long-long"})
    assert np.allclose(effects(long)["effect"], reference["effect"])
    other = table.rename(columns=dict(zip(FACTORS, "ABCD", strict=True))).drop(columns=["subset"])
    result = effects(other)
    assert np.allclose(result["effect"], reference["effect"]) and "A, B, C, D" in result.attrs["notes"][0]


def test_row_order_does_not_matter(table):
    mixed_up = table.sample(frac=1, random_state=1)
    reference = effects(table)
    joined = reference.merge(effects(mixed_up), on=["task", "type", "factor"])
    assert len(joined) == len(reference)
    for column in ("effect", "p", "p_bh"):
        assert np.allclose(joined[f"{column}_x"], joined[f"{column}_y"])


def test_base_rows_take_no_part_and_are_announced(table):
    base = table[table["subset"] == "none"].query("seed == 0").assign(subset="base", public=0, score=0.1)
    both = pd.concat([base, table])
    result = effects(both)
    assert np.allclose(result["effect"], effects(table)["effect"])
    assert "base" in result.attrs["notes"][0] and set(study(both).base.values()) == {0.1}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda t: t.assign(score=t["score"].where(t.index != 5)), "NaN"),
        (lambda t: t.assign(score=t["score"].astype(object).where(t.index != 5, "broken")), "'broken'"),
        (lambda t: t.assign(score=t["score"].where(t.index != 5, np.inf)), "inf"),
        (lambda t: t.assign(score=t["score"].where(t.index != 5, 1.7)), "0 to 1"),
        (lambda t: pd.concat([t, t.iloc[:1].assign(score=0.123)]), "twice"),
        (lambda t: t.drop(columns="score"), "'score'"),
        (lambda t: t.drop(columns="task"), "'task'"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.assign(ss=t["ss"] * 2), "0 or 1"),
        (lambda t: t.assign(ss=1 - t["ss"]), "mend the name or the column"),
        (lambda t: t.drop(columns=["subset", "public", *FACTORS]), "no 0/1 column"),
        (lambda t: t[t["subset"] == "ss+sl"], "nothing can be compared"),
        (lambda t: t.assign(type=["STS", *t["type"].iloc[1:]]).iloc[[*range(0, 24)]].assign(task="T0"), "two types"),
        (lambda t: t.assign(seed="first"), "whole numbers"),
        (lambda t: t.assign(draws="some"), "own, or shared"),
        (lambda t: t.assign(seed=0.5), "whole numbers"),
        (lambda t: t.assign(task=t["task"].where(t.index != 0, "")), "no task"),
        (lambda t: t.assign(**{" task": "again"}), "'task' twice"),
        # what differs in more than the run is no replicate of it
        (lambda t: pd.concat([t, t.assign(metric="f1", score=0.1)]).drop(columns="seed"), "column 'metric'"),
        (lambda t: pd.concat([t.assign(generator=g) for g in "ab"]).drop(columns="seed"), "column 'generator'"),
    ],
)
def test_refused_in_one_sentence(table, damage, words):
    with pytest.raises(KitError, match=words) as caught:
        effects(damage(table.copy()))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_an_unknown_level_is_refused(table):
    with pytest.raises(KitError, match="set"):
        effects(table, level="set")


def test_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(KitError, match="does not exist"):
        effects(tmp_path / "none.csv")


def test_nan_can_be_dropped_with_its_consequence(table):
    holes = table.copy()
    holes.loc[(holes["task"] == holes["task"].iloc[0]) & (holes["subset"] == "ss") & (holes["seed"] == 0), "score"] = (
        np.nan
    )
    result = effects(study(holes, nan="drop"))
    assert any("1 of 32 runs are missing" in note for note in result.attrs["notes"])
    first = result[result["task"] == holes["task"].iloc[0]]
    assert (first["n"] == 31).all() and (result[result["task"] != holes["task"].iloc[0]]["n"] == 32).all()


def test_without_any_score_nothing_can_be_dropped(table):
    with pytest.raises(KitError, match="score some first"):
        study(table.assign(score=np.nan), nan="drop")


def test_without_a_set_that_all_runs_have_nothing_is_said_across_sets(table):
    few = table[table["task"].isin(table["task"].unique()[:2])].assign(type="STS")
    first = few["task"] == few["task"].iloc[0]
    result = across_tasks(few[few["subset"] != np.where(first, "ss", "sl")])
    assert len(result) == 8 and (result["n_tasks"] == 0).all() and result[["effect", "p_t", "p_bh"]].isna().all(None)


def test_a_run_without_any_data_takes_no_part(table):
    idle = table[table["subset"] == "none"].assign(subset="untouched", public=0, score=0.1)
    result = effects(pd.concat([table, idle])).query("factor != 'public'")
    assert np.allclose(result["effect"], effects(table)["effect"])
    both = study(pd.concat([table, idle]))
    assert len(both.runs) == 32 and any("without public data" in note for note in both.notes)


def test_points_are_recognised(table):
    result = effects(table.assign(score=100 * table["score"]))
    assert np.allclose(result["effect"], effects(table)["effect"]) and "divided by 100" in result.attrs["notes"][0]


def test_repeated_rows_count_once(table):
    result = effects(pd.concat([table, table.iloc[:7]]))
    assert np.allclose(result["effect"], effects(table)["effect"])


def test_without_seed_column_rows_are_replicates(table):
    result = effects(table.drop(columns="seed"))
    assert np.allclose(result["effect"], effects(table)["effect"]) and "replicates" in result.attrs["notes"][0]


def test_types_unknown_or_silent(table):
    silent = effects(table.drop(columns="type"), level="type")  # MTEB's own names: the type is looked up
    assert np.allclose(silent["effect"], effects(table, level="type")["effect"])
    nameless = table.assign(task="mine " + table["task"]).drop(columns="type")
    assert set(effects(nameless, level="type")["type"]) == {"unknown"}


# ---- incomplete and unbalanced designs --------------------------------------------------------------


def test_fifteen_of_sixteen_runs(single):
    missing = single[single["subset"] != "ls+ll"]
    result = effects(missing)
    assert any("15 of the 16" in note for note in result.attrs["notes"])
    assert (result["n"] == 15).all() and (result["df"] == 10).all()
    affected = result[result["factor"] == "ls"].iloc[0]
    reference = regression(missing, task=affected["task"])
    assert affected["effect"] == pytest.approx(reference.params["ls"], abs=1e-10)


def test_one_seed_for_some_subsets(table):
    short = table[~(table["subset"].isin(["sl", "ss+ll"]) & (table["seed"] == 1))]
    result = effects(short)
    assert any("Between 1 and 2 seeds" in note for note in result.attrs["notes"])
    assert any("sl seed 1, ss+ll seed 1" in note for note in result.attrs["notes"]), "what is missing is named"
    row = result.iloc[0]
    assert row["n"] == 30 and row["effect"] == pytest.approx(
        regression(short, task=row["task"]).params[row["factor"]], abs=1e-10
    )


def test_one_task_missing_in_one_run_leaves_type_means_comparable(table):
    sts = table[table["type"] == "STS"]["task"].iloc[0]
    hole = table[~((table["task"] == sts) & (table["subset"] == "none") & (table["seed"] == 0))]
    result = effects(hole, level="type")
    without = effects(table[table["task"] != sts], level="type")
    mine, reference = (r[r["type"] == "STS"]["effect"].to_numpy() for r in (result, without))
    if len(reference):
        assert np.allclose(mine, reference)
    assert (
        any("not every run has" in note and sts in note for note in result.attrs["notes"])
        or (result["status"] == "lost").any()
    )


def test_aliased_effects_are_lost_and_named(single):
    together = single[single["ss"] == single["sl"]]
    result = effects(together)
    assert any("ss and sl are aliased" in note for note in result.attrs["notes"])
    lost = result["factor"].isin(["ss", "sl"])
    assert result.loc[lost, "effect"].isna().all() and (result.loc[lost, "status"] == "lost").all()
    kept = result[~lost].iloc[0]
    mine = together[together["task"] == kept["task"]]
    difference = mine.groupby(kept["factor"])["score"].mean()
    assert kept["effect"] == pytest.approx(100 * (difference[1] - difference[0]), abs=1e-10)


def test_a_category_that_never_varies_is_lost(single):
    result = effects(single[single["ss"] == 0])
    assert any("ss is lost" in note for note in result.attrs["notes"])
    assert (result.loc[result["factor"] == "ss", "status"] == "lost").all()
    assert (result.loc[result["factor"] == "sl", "status"] == "ok").all()


def test_lost_and_aliased_are_told_apart(single):
    two = effects(single[single["subset"].isin(["none", "ss"])])
    assert [f"{name} is lost: it is the same in every run." in two.attrs["notes"] for name in FACTORS] == [
        False,
        True,
        True,
        True,
    ]
    across = across_tasks(single[single["ss"] == single["sl"]]).query("type == ''").set_index("factor")
    assert across.loc[["ss", "sl"], "n_tasks"].eq(0).all() and across.loc[["ls", "ll"], "n_tasks"].eq(12).all()
    assert across.loc["ls", "p_t"] > 0 and across.loc["ss", ["effect", "p_t", "se_sets"]].isna().all()


def test_as_many_coefficients_as_runs(single):
    five = single[single["subset"].isin(["none", "ss", "sl", "ls", "ll"])]
    result = effects(five)
    assert (result["status"] == "no error").all() and result["se"].isna().all() and result["p"].isna().all()
    assert result["effect"].notna().all() and any("without standard error" in note for note in result.attrs["notes"])


def test_a_constant_task_is_not_tested(table):
    task = table["task"].iloc[0]
    result = effects(table.assign(score=table["score"].where(table["task"] != task, 0.37)))
    mine, others = result[result["task"] == task], result[result["task"] != task]
    assert (mine["effect"] == 0).all() and mine[["p", "p_bh", "normalized"]].isna().all().all()
    assert (mine["status"] == "constant").all() and (others["status"] == "ok").all()
    reference = effects(table[table["task"] != task])
    assert np.allclose(others["p_bh"], reference["p_bh"])  # the family is smaller by four
    assert any("same score in every run" in note for note in result.attrs["notes"])


def test_public_becomes_a_factor_when_it_varies(single):
    off = single[single["subset"].isin(["ss", "sl", "ls", "ll"])].assign(public=0)
    off = off.assign(subset=off["subset"] + "-alone", score=off["score"] - 0.1)
    result = effects(pd.concat([single, off]))
    assert list(result["factor"].iloc[:5]) == [*FACTORS, "public"]
    assert result.loc[result["factor"] == "public", "effect"].mean() > 5


# ---- views, noise, imports --------------------------------------------------------------------------


def test_cells_and_run_means(table):
    task = table["task"].iloc[0]
    shown = cells(table, task=task)
    assert len(shown) == 16 and (shown["n"] == 2).all()
    mine = table[(table["task"] == task) & (table["subset"] == "ss+ll")]["score"]
    row = shown[shown["subset"] == "ss+ll"].iloc[0]
    assert row["score"] == pytest.approx(100 * mine.mean()) and row["sd_seed"] == pytest.approx(100 * mine.std())
    turned = table.assign(subset=table["subset"].where(table["seed"] == 0, table["subset"].replace("ss+ll", "ll+ss")))
    assert cells(turned, task=task).equals(shown), "one subset by two names was two"
    wide = run_means(table, "overall")
    assert len(wide) == 32 and wide["overall"].mean() == pytest.approx(100 * table["score"].mean())
    with pytest.raises(KitError, match="no task 'Nope'"):
        cells(table, task="Nope")
    with pytest.raises(KitError, match="no category 'short_short'"):
        paired_differences(table, "short_short")


def test_alone_is_the_difference_to_the_reference(table):
    task = table["task"].iloc[0]
    row = of(isolation(table), task, "ll")
    mine = table[table["task"] == task]
    difference = mine[mine["subset"] == "ll"]["score"].mean() - mine[mine["subset"] == "none"]["score"].mean()
    assert row["effect"] == pytest.approx(100 * difference, abs=1e-10) and row["df"] == 5
    groups = [mine[mine["subset"] == s]["score"] * 100 for s in ("ll", "none", "ss", "sl", "ls")]
    pooled = math.sqrt(sum(g.var() for g in groups) / 5)
    assert row["se"] == pytest.approx(pooled)
    with pytest.raises(KitError, match="has a reference"):
        isolation(table[table["subset"].isin(["ss+sl", "ll+ls", "ss", "sl"])])
    off = mine[mine["subset"].isin(["ss", "sl"])]
    off = off.assign(subset=off["subset"] + "-alone", public=0)
    base = mine[mine["subset"] == "none"].query("seed == 0").assign(subset="base", public=0, score=0.2)
    result = isolation(pd.concat([mine, off, base])).query("public == 0")
    expected = 100 * (off[off["subset"] == "ss-alone"]["score"].mean() - 0.2)
    assert of(result, task, "ss")["effect"] == pytest.approx(expected, abs=1e-10)
    beside = isolation(pd.concat([table, base])).set_index(["level", "task", "type", "factor"])["effect"]
    assert np.allclose(beside, isolation(table)["effect"]), "sets without a base are left out beside public data"


def test_noise_floor_recovers_what_was_planted():
    table = simulate.study(40, 4, World(noise=0.8, noise_spread=0.0), seed=2)
    floor = noise(table)
    assert floor["sd_seed"].pow(2).mean() ** 0.5 == pytest.approx(0.8, rel=0.08)
    assert (floor["df_seed"] == 48).all() and (floor["n"] == 64).all()
    main = effects(table)
    assert np.allclose(floor.set_index("task").loc[main["task"], "se_effect"], main["se"])


def draw_table(table, spread, common, draws, seed):
    """Scores per draw whose means are the table's scores; runs share ``common`` of a draw's variance (``spread``^2)."""
    random = np.random.default_rng(seed)
    tasks = {task: i for i, task in enumerate(dict.fromkeys(table["task"]))}
    same = random.normal(size=(len(tasks), draws))[[tasks[task] for task in table["task"]]]
    move = np.sqrt(common) * same + np.sqrt(1 - common) * random.normal(size=(len(table), draws))
    move = spread / 100 * (move - move.mean(axis=1, keepdims=True))
    out = table.loc[table.index.repeat(draws), ["subset", "seed", "task"]].reset_index(drop=True)
    score = (table["score"].to_numpy()[:, None] + move).ravel()
    return out.assign(draw=np.tile(np.arange(draws), len(table)), score=score)


def test_draws_are_compared_run_against_run():
    table = simulate.study(6, 1, World(), seed=3)
    draws = draw_table(table, spread=2.0, common=0.75, draws=400, seed=1)
    floor = noise(table, draws)
    assert floor["se_score_draws"].mean() == pytest.approx(2.0 / 20, rel=0.05)
    # three quarters of the variance is common to all runs and cancels in a difference of two
    assert floor["se_difference_draws"].mean() == pytest.approx(math.sqrt(2 * 0.25) * 2.0 / 20, rel=0.05)
    assert floor["se_effect_draws"].mean() == pytest.approx(math.sqrt(0.25) * 2.0 / 20 * 2 / math.sqrt(16), rel=0.06)
    result = effects(table, draws=draws)
    assert len(result) == 24 and result["se_draw"].notna().all()
    some = effects(table, draws=draws[draws["task"] == table["task"].iloc[0]])
    assert some["se_draw"].notna().sum() == 4
    assert noise(table, draws[draws["draw"] == 0])["n_draws"].isna().all(), "one draw has no error, and a column for it"
    for wrong, words in (
        (draws.drop(columns="draw"), "draws has no column 'draw'"),
        (draws.assign(score="broken"), "not a number"),
        (pd.concat([draws, draws[:1]]), "twice"),
    ):
        with pytest.raises(KitError, match=words):
            effects(table, draws=wrong)


def test_import_is_light():
    heavy = "('torch', 'mteb', 'transformers')"
    code = f"import sys; import lib.influence.influence; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_thousand_tasks_and_five_seeds_in_a_minute():
    import time

    table = simulate.study(1000, 5, World(mean=(0, 1, 0, 0)), seed=1)
    started = time.process_time()
    result = effects(table, level="all")
    across_tasks(study(table))
    interaction_block(study(table))
    reliability(study(table), result)
    assert len(result) == 4000 + 28 + 4
    assert time.process_time() - started < 60
