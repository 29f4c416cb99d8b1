"""Figures: deterministic files, text that is text, and tables that equal a recomputation from the results."""

import hashlib
import subprocess
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawing import QUICK, ROOT, again, command, whole
from planted import CODES, SUITE, study
from scipy import stats

from lib.__main__ import main
from lib.common import bundled
from lib.common.files import KitError
from lib.figures import matrix, report
from lib.figures.base import save, style
from lib.figures.catalogue import FIGURES
from lib.figures.data import counts
from lib.figures.forest import forest
from lib.figures.scores import published
from lib.figures.structure import detectable, with_margin
from lib.figures.texts import palette
from lib.influence import tables
from lib.influence.influence import analyse
from lib.params.model import InfluenceParams

PLANTED = {("sl", "Reranking"): 3.0, ("sl", "STS"): -3.0, ("ll", "Clustering"): 2.0}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The figures of a planted study, drawn by the command without torch or mteb: (results table, folder, output)."""
    folder = tmp_path_factory.mktemp("study")
    table = study(effects=PLANTED)
    table.to_csv(folder / "results.csv", index=False)
    (folder / "data").mkdir()
    (folder / "data" / "public.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    (folder / "figures").mkdir()
    again(table, study(effects=PLANTED, seed=9)).to_csv(folder / "figures" / "replication.csv", index=False)
    done = command(folder / "results.csv", folder / "figures")
    assert done.returncode == 0, done.stderr
    return table, folder / "figures", done.stdout


def trained(table):
    return table[table["subset"] != "base"].assign(score=lambda t: 100 * t["score"])


def present_minus_absent(rows, factor):
    return rows.loc[rows[factor] == 1, "score"].mean() - rows.loc[rows[factor] == 0, "score"].mean()


def test_save_gives_the_same_bytes_and_text_stays_text(tmp_path):
    hashes = []
    for folder in ("a", "b"):
        with style():
            fig, ax = plt.subplots(figsize=(2, 1.5), layout="constrained")
            ax.plot([0, 1], [1, 0])
            ax.set_xlabel("a label of words")
        paths = save(fig, pd.DataFrame({"x": [0.1, 1 / 3]}), "name", tmp_path / folder)
        hashes.append([hashlib.sha256(paths[kind].read_bytes()).hexdigest() for kind in ("svg", "png", "csv")])
        assert not plt.fignum_exists(fig.number)
    assert hashes[0] == hashes[1]
    svg = (tmp_path / "a" / "name.svg").read_text()
    assert "<text" in svg and "a label of words" in svg and "<dc:date>" not in svg
    assert pd.read_csv(tmp_path / "a" / "name.csv")["x"].tolist() == pytest.approx([0.1, 1 / 3], abs=1e-9)
    with pytest.raises(KitError, match="no table"):
        save(plt.figure(), pd.DataFrame(), "empty", tmp_path)


def test_command_needs_no_torch_and_is_quick(drawn):
    _, folder, output = drawn
    for name, *_ in FIGURES:
        if name in ("alone", "crossed", "generators"):
            continue
        for kind in ("svg", "png", "csv"):
            assert (folder / f"{name}.{kind}").stat().st_size > 100, name
            assert f"{name}.{kind}" in output
    assert float(output.split("cpu")[1]) < 30


def test_command_takes_a_profiles_influence_settings(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(report, "build", lambda results, settings, out: taken.append(settings))
    monkeypatch.setattr(report, "write_all", lambda work, out, say: [])
    given = ["figures", "--results", "results.csv", "--out", str(tmp_path)]
    profile = tmp_path / "mine.yaml"
    profile.write_text("profile: mine\ninfluence: {alpha: 0.01, exclude: []}\n")
    assert main(given) == 0 and taken[0] == InfluenceParams()
    assert main([*given, "--profile", str(profile), "--overrides", '{"influence.normalize": "t"}']) == 0
    assert taken[1] == InfluenceParams(alpha=0.01, exclude=(), normalize="t")
    assert main([*given, "--overrides", '{"influence.normalise": "t"}']) == 2 and len(taken) == 2


def test_summeval_is_left_out_without_torch_or_mteb(tmp_path):
    table = study({"STS": 2, "Summarization": 1}, seeds=1).replace({"task": {"Summarization0": "SummEval"}})
    table.to_csv(tmp_path / "results.csv", index=False)
    done = command(tmp_path / "results.csv", tmp_path / "out", "--overrides", '{"influence.normalize": "std"}')
    assert done.returncode == 0, done.stderr
    assert "SummEval (its score averages" in (tmp_path / "out" / "INDEX.md").read_text()
    shown = pd.read_csv(tmp_path / "out" / "influence.csv")
    assert set(shown["type"]) == {"STS", tables.OVERALL} and set(shown["normalization"]) == {"std"}


def test_a_notebook_that_only_shows_texts_loads_no_plots():
    code = "import sys, lib.figures.texts; print({'matplotlib', 'torch', 'scipy', 'seaborn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def test_svgs_hold_words_and_pictures_are_not_cut(drawn):
    whole(drawn[1])
    assert "short-long" in (drawn[1] / "tasks.svg").read_text()


def test_heat_map_table_is_the_mean_difference(drawn):
    table, folder, _ = drawn
    shown = pd.read_csv(folder / "influence.csv")
    rows = trained(table)
    for cell in shown.itertuples():
        own = rows if cell.type == tables.OVERALL else rows[rows["type"] == cell.type]
        assert cell.effect == pytest.approx(present_minus_absent(own, cell.factor), abs=1e-8)
        means = own.groupby("subset")["score"].mean().reset_index()
        z = (means["score"] - means["score"].mean()) / means["score"].std(ddof=0)
        on = means["subset"].str.split("+").map(lambda parts, code=cell.factor: code in parts)
        assert cell.normalized == pytest.approx(z[on].mean() - z[~on].mean(), abs=1e-6)
    assert set(shown["type"]) == {*SUITE, tables.OVERALL}


def test_forest_table_has_two_intervals_recomputed(drawn):
    table, folder, _ = drawn
    shown = pd.read_csv(folder / "tasks.csv", keep_default_na=True)
    tasks = shown[shown["level"] == "task"]
    rows = trained(table)
    assert len(tasks) == 4 * sum(SUITE.values())
    for row in tasks.itertuples():
        own = rows[rows["task"] == row.task]
        x = np.column_stack([np.ones(len(own)), own[list(CODES)] - 0.5])
        beta, rss, *_ = np.linalg.lstsq(x, own["score"], rcond=None)
        assert row.effect == pytest.approx(beta[1 + CODES.index(row.factor)], abs=1e-8)
        assert row.se == pytest.approx(np.sqrt(rss[0] / (len(own) - 5) * np.linalg.inv(x.T @ x)[1, 1]), rel=0.1)
        for low, level in ((row.ci_low, 0.05), (row.all_low, 0.05 / len(tasks))):
            assert low == pytest.approx(row.effect - stats.t.isf(level / 2, row.df) * row.se, abs=1e-7)
    means = shown[shown["level"] == "type"].set_index(["type", "factor"])
    across = analyse(table, QUICK).across.set_index(["type", "factor"]).reindex(means.index)
    np.testing.assert_allclose(means["datasets_low"], across["ci_low"], atol=1e-7)
    np.testing.assert_allclose(means["effect"], tasks.groupby(["type", "factor"])["effect"].mean().reindex(means.index))


def test_score_tables_are_recomputed(drawn):
    table, folder, _ = drawn
    shown = pd.read_csv(folder / "main_results.csv").set_index(["mixture", "type"])
    everything = "public + all synthetic (ss+sl+ls+ll)"
    corner = {"untrained base": "base", tables.LABEL_WITHOUT: "none", everything: "ss+sl+ls+ll"}
    for (mixture, kind), row in shown.iterrows():
        own = table[table["subset"] == corner[mixture]]
        own = own if kind == tables.OVERALL else own[own["type"] == kind]
        assert row["points"] == pytest.approx(100 * own["score"].mean(), abs=1e-8)
        per_seed = 100 * own.groupby("seed")["score"].mean()
        assert row["sd_seeds"] == pytest.approx(per_seed.std(), abs=1e-8, nan_ok=True)
    gains = trained(table).pivot_table(index="task", columns="subset", values="score")
    gain = (gains["ss+sl+ls+ll"] - gains["none"]).sort_values(ascending=False)
    ours = pd.read_csv(folder / "sparsity.csv").query("source == 'this study' and ranking == 'same seeds'")
    np.testing.assert_allclose(ours["cumulated"], gain.cumsum(), atol=1e-7)
    assert ours["task"].tolist() == gain.index.tolist()
    runs = pd.read_csv(folder / "trade_off.csv", keep_default_na=False).set_index(["subset", "seed"])
    wide = trained(table).pivot_table(index=["subset", "seed"], columns="type", values="score")
    np.testing.assert_allclose(runs.loc[wide.index, list(SUITE)].astype(float), wide[list(SUITE)], atol=1e-7)


def test_noise_and_interaction_tables_are_recomputed(drawn):
    table, folder, _ = drawn
    rows = trained(table)
    noise = pd.read_csv(folder / "noise.csv").set_index("task")
    for task, own in rows.groupby("task"):
        pooled = np.sqrt(own.groupby("subset")["score"].var().mean())
        assert noise.loc[task, "sd_seed"] == pytest.approx(pooled, abs=1e-8)
    shown = pd.read_csv(folder / "interactions.csv")
    for row in shown[shown["term"].str.contains(":")].itertuples():
        own = rows if row.type == tables.OVERALL else rows[rows["type"] == row.type]
        one, two = row.term.split(":")
        change = present_minus_absent(own[own[two] == 1], one) - present_minus_absent(own[own[two] == 0], one)
        assert row.effect == pytest.approx(change, abs=1e-7)
    contrasts = pd.read_csv(folder / "half_normal.csv").query("term == 'sl' and type == 'STS'")
    expected = abs(present_minus_absent(rows[rows["type"] == "STS"], "sl"))
    assert contrasts["magnitude"].item() == pytest.approx(expected, abs=1e-7)


def test_types_of_one_set_each_have_a_power_figure(tmp_path):
    found = save(*detectable(analyse(study({"STS": 1, "Reranking": 1}))), "power", tmp_path)
    assert pd.read_csv(found["csv"]).query("table == 'sets'")["alone"].isna().all()


def test_lattice_shows_the_most_moved_task(drawn):
    table, folder, _ = drawn
    shown = pd.read_csv(folder / "lattice.csv", keep_default_na=False).set_index("subset")["score"]
    rows = trained(table)
    matching = [
        task
        for task, own in rows.groupby("task")
        if np.allclose(own.groupby("subset")["score"].mean().reindex(shown.index), shown, atol=1e-7)
    ]
    assert len(shown) == 16 and len(matching) == 1
    assert matching[0].startswith(("STS", "Reranking", "Clustering"))  # where effects were planted


def test_counts_and_published_figures_keep_their_tables(tmp_path):
    (tmp_path / "generation.json").write_text('{"categories": {"short_long": {"valid": 195}}}')
    paths = save(*counts(tmp_path), "counts", tmp_path)
    assert list(pd.read_csv(paths["csv"]).iloc[0]) == ["this study", "sl", 195]
    assert "195" in paths["svg"].read_text()
    gains = tables.published_gains(bundled.reference("published_mteb_scores"))
    paths = save(*published(gains), "published", tmp_path)
    shown = pd.read_csv(paths["csv"]).set_index("task")["gain"]
    assert shown.loc["FEVER"] == pytest.approx(14.7) and len(shown) == 56


def test_noise_alone_rarely_passes_the_half_normal_margin():
    random, passed = np.random.default_rng(4), 0
    for _ in range(400):
        parts = pd.DataFrame({"contrast": random.normal(size=120), "type": np.repeat([f"t{i}" for i in range(8)], 15)})
        parts = parts.assign(magnitude=parts["contrast"].abs(), pse=1.0)
        passed += with_margin(parts)["beyond"].any()
    assert passed / 400 < 0.09


def test_text_is_read_on_every_shade():
    def luminance(shade):
        part = np.where(
            np.array(shade[:3]) <= 0.03928, np.array(shade[:3]) / 12.92, ((np.array(shade[:3]) + 0.055) / 1.055) ** 2.4
        )
        return part @ [0.2126, 0.7152, 0.0722]

    for strength in matrix.STRENGTH:
        for shade in matrix.pale(matrix.diverging()(np.linspace(0, 1, 81)), np.full(81, strength)):
            light = sorted([luminance(shade), 1.0 if matrix.ink(shade) == "white" else 0.0])
            assert (light[1] + 0.05) / (light[0] + 0.05) >= 4.5


def test_every_point_of_the_forest_lies_between_ticks():
    a = analyse(study(effects={("sl", "STS"): 9.0}, noise=2.0), QUICK)
    fig, table = forest(a)
    for ax in fig.axes[:4]:
        low, high = ax.get_xlim()
        ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
        assert len(ticks) >= 3 and low < table["effect"].min() and table["effect"].max() < high


def test_more_own_categories_than_colours_still_differ():
    names = [f"c{i}" for i in range(14)]
    assert len(set(palette(names).values())) == 14
    assert palette(["ss", "mine"])["ss"] == "#E69F00" != palette(["ss", "mine"])["mine"]


@pytest.mark.slow
@pytest.mark.parametrize("design", [(28, 1), (28, 2)])
def test_twenty_eight_sets_of_eight_types(tmp_path, design):
    sizes = {"Classification": 6, "Clustering": 6, "PairClassification": 3, "Reranking": 3, "Retrieval": 6, "STS": 2}
    table = study(sizes | {"Summarization": 1, "BitextMining": 1}, seeds=design[1], effects=PLANTED, noise=1.0)
    table.to_csv(tmp_path / "results.csv", index=False)
    done = command(tmp_path / "results.csv", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "°" not in "".join(path.read_text() for path in (tmp_path / "out").glob("*.svg"))
    whole(tmp_path / "out")


@pytest.mark.slow
def test_fifty_six_tasks_in_time_and_uncut(tmp_path):
    kinds = bundled.reference("mteb_eng_v1_tasks")["type"].value_counts().to_dict()
    study(kinds, seeds=2, effects=PLANTED, noise=0.8).to_csv(tmp_path / "results.csv", index=False)
    started = time.perf_counter()
    done = command(tmp_path / "results.csv", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("cpu")[1]) < 30, f"{time.perf_counter() - started:.0f} s on the clock"
    whole(tmp_path / "out")
    assert (pd.read_csv(tmp_path / "out" / "tasks.csv")["level"] == "task").sum() == 224


def test_second_study_beside_the_figures_is_read_and_kept(drawn):
    _, folder, output = drawn
    assert "second study" in (folder / "noise.svg").read_text() and "again " in (folder / "influence.svg").read_text()
    assert "is about another first study" not in output
    table = pd.read_csv(folder / "replication.csv")
    assert {"first", "second", "returned"} <= set(table) and {"type", "task", "overall"} == set(table["level"])
    assert "correlation" in (folder / "replication.svg").read_text()
