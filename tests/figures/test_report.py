"""The report: index, claims file, bad input, and notebook 05 run as a person would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from planted import study

from lib.common.files import KitError
from lib.figures import catalogue, report
from lib.figures.catalogue import Report
from lib.figures.data import data_counts
from lib.influence import claims, verdicts
from lib.influence.influence import analyse
from lib.influence.verdicts import UNTESTABLE
from lib.params.model import InfluenceParams
from lib.params.params import load

ROOT = Path(__file__).resolve().parents[2]
QUICK = InfluenceParams()
TWO = {"Reranking": 2, "STS": 2}


def test_index_names_every_figure_and_follows_the_inputs(tmp_path, monkeypatch):
    one = next(figure for figure in catalogue.FIGURES if figure[0] == "noise")
    monkeypatch.setattr(catalogue, "FIGURES", (one, ("never", "another", lambda r: catalogue.need(False, "no data"))))
    (tmp_path / "never.png").write_bytes(b"of earlier results")
    study(TWO).to_csv(tmp_path / "results.csv", index=False)
    first = report.write_all(report.build(tmp_path / "results.csv", QUICK), tmp_path)
    text = (tmp_path / "INDEX.md").read_text()
    assert "[noise](noise.png)" in text and "not drawn: no data" in text and "05_influence.ipynb" in text
    assert "untrained base" in text and not (tmp_path / "never.png").exists()
    names = ["noise.svg", "noise.png", "noise.csv", "claims.csv", "claims.md", "INDEX.md"]
    assert [path.name for path in first] == names
    before = {path.name: path.read_bytes() for path in first}
    report.write_all(report.build(tmp_path / "results.csv", QUICK), tmp_path)
    assert before == {path.name: path.read_bytes() for path in first}
    study(TWO, seed=5).to_csv(tmp_path / "results.csv", index=False)
    report.write_all(report.build(tmp_path / "results.csv", QUICK), tmp_path)
    assert (tmp_path / "INDEX.md").read_text() != text
    judged = pd.read_csv(tmp_path / "claims.csv", keep_default_na=False)
    assert set(judged["verdict"]) <= set(verdicts.VERDICTS) and judged["numbers"].str.len().min() > 10


def test_crossed_design_has_public_as_a_factor_and_categories_alone():
    on = study({"STS": 2, "Reranking": 2}, seeds=1)
    off = on[on["subset"].isin(["ss", "sl", "ll", "sl+ls", "sl+ls+ll", "ss+ls+ll", "ss+sl+ll", "ss+sl+ls"])]
    off = off.assign(public=0, subset=off["subset"] + "-alone")
    both = pd.concat([on, off], ignore_index=True)
    r = Report(analyse(both, InfluenceParams()), {})
    _, alone = catalogue._alone(r)
    sts = 100 * both[both["type"] == "STS"].groupby("subset")["score"].mean()
    shown = alone[(alone["type"] == "STS") & (alone["level"] == "type")].set_index(["public", "factor"])["effect"]
    assert shown[0, "sl"] == pytest.approx(sts["sl-alone"] - sts["base"], abs=1e-8)
    assert shown[1, "ll"] == pytest.approx(sts["ll"] - sts["none"], abs=1e-8)


def test_summeval_takes_no_part_in_the_influence_and_that_is_said(tmp_path):
    table = study({"STS": 2, "Summarization": 1}).replace({"task": {"Summarization0": "SummEval"}})
    table.to_csv(tmp_path / "results.csv", index=False)
    for results in (table, tmp_path / "results.csv"):
        a = analyse(results, QUICK)
        assert a.study.tasks == ("STS0", "STS1") and set(a.tidy["task"]) == {"STS0", "STS1"}
        (said,) = (note for note in a.notes if "influence.exclude" in note)
        assert said.startswith("1 task takes no part in the influence") and "SummEval (its score averages" in said
    whole = analyse(table, load("classroom", {"influence.exclude": []}).influence)
    assert "SummEval" in whole.study.tasks and not any("influence.exclude" in note for note in whole.notes)
    without = table[table["task"] != "SummEval"]
    pd.testing.assert_frame_equal(analyse(without, QUICK).effects, a.effects)
    assert not any("influence.exclude" in note for note in analyse(without, QUICK).notes)
    own = analyse(table, QUICK.model_copy(update={"exclude": ("STS0", "SummEval")}))
    assert own.study.tasks == ("STS1",) and any("2 tasks take no part" in note for note in own.notes)
    with pytest.raises(KitError, match="every task of the table is in influence.exclude .SummEval."):
        analyse(table[table["task"] == "SummEval"], QUICK)
    with pytest.raises(KitError, match="no column 'task'"):
        analyse(table.drop(columns="task"), QUICK)


def test_counts_come_from_the_run_folder(tmp_path):
    assert data_counts(None).empty
    (tmp_path / "generation.json").write_text(json.dumps({"categories": {"short_long": {"valid": 7}}}))
    (tmp_path / "public.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    assert data_counts(tmp_path)[["category", "rows"]].values.tolist() == [["sl", 7], ["public", 2]]


def test_missing_or_broken_results_are_one_sentence(tmp_path):
    with pytest.raises(KitError, match="make reproduce"):
        report.build(tmp_path / "results.csv")
    (tmp_path / "results.csv").write_bytes(b"\xff\xfe\x00not a table")
    with pytest.raises(KitError):
        report.build(tmp_path / "results.csv")


def test_published_scores_are_a_study_of_two_runs():
    work = report.build("published", QUICK)
    assert len(work.analysis.study.tasks) == 56 and "SummEval included" in work.analysis.notes[-1]
    overall = work.analysis.across[work.analysis.across["type"] == ""]
    assert overall["effect"].item() == pytest.approx(2.07, abs=0.005) and not overall["p_t"].item() > 0.001
    assert work.claims.set_index("id")["verdict"].to_dict() == {
        claim["id"]: UNTESTABLE
        for claim in claims.load()  # adding up published numbers is no reproduction
    }


def run_notebook(tmp_path, results):
    overrides = json.dumps({"paths.figures": str(tmp_path / "figures"), "paths.runs": str(tmp_path / "runs")})
    command = [sys.executable, *"-m papermill --cwd notebooks --kernel python3 --no-progress-bar".split()]
    command += ["-p", "results", str(results), "-y", f"overrides: {overrides}"]
    command += ["notebooks/05_influence.ipynb", str(tmp_path / "out.ipynb")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)


@pytest.mark.slow
def test_notebook_on_a_csv_of_your_own(tmp_path):
    mine = study({"STS": 2, "Chess": 2}, noise=0.5, base_rows=False).drop(columns=["public", "subset", "metric"])
    mine.to_csv(tmp_path / "mine.csv", index=False)
    done = run_notebook(tmp_path, tmp_path / "mine.csv")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Chess" in (tmp_path / "figures" / "mine" / "influence.csv").read_text()
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_notebook_on_the_published_scores(tmp_path):
    done = run_notebook(tmp_path, "published")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "figures" / "published" / "INDEX.md").exists()


@pytest.mark.slow
def test_notebook_without_results_says_what_to_run(tmp_path):
    done = run_notebook(tmp_path, "")
    assert done.returncode != 0 and "make reproduce" in done.stderr
