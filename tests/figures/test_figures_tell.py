"""What the figures tell: certainty before size, one study and two, somebody's own names, tables that lack something."""

from dataclasses import replace

import pandas as pd
import pytest
from drawing import QUICK, again, command, own_results
from planted import study

from lib.figures import catalogue, report
from lib.figures.base import NEUTRAL
from lib.figures.catalogue import Report
from lib.figures.forest import forest
from lib.figures.matrix import heat_map
from lib.figures.texts import palette
from lib.influence import tables
from lib.influence.influence import agreement, analyse

PLANTED = {("sl", "Reranking"): 3.0, ("sl", "STS"): -3.0, ("ll", "Clustering"): 2.0}


def drawn_heat(a, **more):
    fig, table = heat_map(a, **more)
    return fig, table, [p for p in fig.axes[0].patches if p.get_edgecolor()[:3] == (0.0, 0.0, 0.0)]


def test_what_is_certain_is_what_the_eye_meets():
    a = analyse(study(effects=PLANTED, noise=0.4), QUICK)
    effects = a.effects.copy()
    wild = (effects["type"] == "Summarization") & (effects["factor"] == "ss")
    effects.loc[wild, ["effect", "se", "p", "p_bh", "p_holm"]] = [4.0, 4.0, 0.3, 0.5, 1.0]
    fig, table, frames = drawn_heat(replace(a, effects=effects))
    marked = table["mark"] != ""
    assert set(table["mark"]) <= {"", "*", "**"} and len(frames) == marked.sum() > 2
    assert all(frame.get_linestyle() in ("solid", "-") for frame in frames)
    colours = fig.axes[0].collections[0].get_facecolors()[:, :3]
    factors, kinds = ["ss", "sl", "ls", "ll"], ["Clustering", "Reranking", "STS", "Summarization", tables.OVERALL]
    depth = {
        (row.factor, row.type): 1 - colours[factors.index(row.factor) * len(kinds) + kinds.index(row.type)].min()
        for row in table.itertuples()
    }
    sure = [depth[row.factor, row.type] for row in table[marked & (table["effect"].abs() > 1.5)].itertuples()]
    assert min(sure) > depth["ss", "Summarization"]


def test_marks_come_from_old_and_new_tables_across_sets():
    a = analyse(study(effects=PLANTED), QUICK)
    new = replace(a, across=a.across.assign(se_runs=0.1, se_sets=0.1))
    new.__dict__["reliability"] = a.reliability.assign(reliability=0.7)
    fig, table, _ = drawn_heat(new)
    assert "reliability of these effects: 0.70" in fig._suptitle.get_text() and {"shrunk", "reliability"} <= set(table)
    assert table["mark"].tolist() == drawn_heat(a)[1]["mark"].tolist()
    fig, table = forest(new)
    assert "shrunken" in " ".join(text.get_text() for text in fig.legends[0].get_texts()) and "shrunk" in table


def test_second_study_frames_and_agreement():
    first = study(effects=PLANTED, noise=0.4)
    a, table = analyse(first, QUICK), again(first, study(effects=PLANTED, noise=0.4, seed=3))
    cell = (table["type"] == "STS") & (table["factor"] == "sl") & (table["level"] == "type")
    assert table.loc[cell, "marked_first"].item()
    table.loc[cell, "returned"] = False
    _, shown, frames = drawn_heat(a, second=table)
    assert sum(frame.get_linestyle() not in ("solid", "-") for frame in frames) == 1
    row = shown[(shown["type"] == "STS") & (shown["factor"] == "sl")]
    assert row["second"].item() == pytest.approx(table.loc[cell, "second"].item())
    told = agreement(table[table["level"] == "task"]).iloc[0]
    assert told["r"] > 0.8 and told["marked"] >= told["same_sign"] >= told["returned"] > 0
    assert report.about(table, a.effects)
    assert not report.about(table, analyse(study(effects=PLANTED, seed=11), QUICK).effects)


def test_a_second_study_of_other_results_is_left_out_with_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "FIGURES", tuple(f for f in catalogue.FIGURES if f[0] in ("noise", "replication")))
    again(study(seed=1), study(seed=2)).to_csv(tmp_path / "replication.csv", index=False)
    before, told = (tmp_path / "replication.csv").read_bytes(), []
    study(effects=PLANTED).to_csv(tmp_path / "results.csv", index=False)
    report.write_all(report.build(tmp_path / "results.csv", QUICK, tmp_path), tmp_path, say=told.append)
    assert any("another first study" in sentence for sentence in told)
    assert (tmp_path / "replication.csv").read_bytes() == before and not (tmp_path / "replication.svg").exists()


def test_own_results_carry_their_own_names_and_colours(tmp_path):
    done = command(own_results(tmp_path), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Taken as the categories: the 0/1 columns puzzles, recipes, law." in done.stdout
    assert " for :" not in done.stdout and "for all tasks" not in done.stdout
    shades = palette(["puzzles", "recipes", "law"])
    assert len(set(shades.values())) == 3 and NEUTRAL not in shades.values()
    for path in (tmp_path / "out").glob("*.svg"):
        text = path.read_text()
        assert not any(word in text for word in ("public", "synthetic", "Wang", "the paper", "short-")), path.name
        if path.stem in ("tasks", "trade_off"):
            assert all(
                f"fill: {shade.lower()}" in text or f"stroke: {shade.lower()}" in text for shade in shades.values()
            )
    assert "all of puzzles, recipes, law" in (tmp_path / "out" / "main_results.svg").read_text()
    assert not (tmp_path / "out" / "counts.png").exists() and not (tmp_path / "out" / "published.png").exists()


def test_an_aliased_table_is_drawn_and_says_so(tmp_path):
    done = command(own_results(tmp_path, aliased=True), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "puzzles and recipes are aliased" in done.stdout and "Not drawn: interactions" in done.stdout
    assert "lost" in (tmp_path / "out" / "influence.svg").read_text() and (tmp_path / "out" / "tasks.png").exists()


def test_a_table_that_tells_no_effect_is_drawn_without_what_needs_one(tmp_path):
    table = pd.read_csv(own_results(tmp_path))
    table[table["puzzles"].eq(table["recipes"]) & table["law"].eq(table["recipes"])].to_csv(tmp_path / "two.csv")
    told = []
    paths = report.write_all(report.build(tmp_path / "two.csv", QUICK), tmp_path / "out", say=told.append)
    assert {"influence", "tasks", "main_results"} <= {path.stem for path in paths}
    assert any(sentence.startswith("Not drawn: lattice") for sentence in told)


def test_no_note_has_an_empty_name():
    a = analyse(study({"STS": 2, "Reranking": 2}), QUICK)
    a.notes.append("No exact test across tasks can reach .05 for : fewer than six tasks.")
    assert not any(" for :" in note for note in Report(a, {}).notes)
