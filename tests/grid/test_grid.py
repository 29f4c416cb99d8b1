"""The grid: the whole chain through Snakemake and papermill on a cut, killed, resumed, damaged and mended."""

import json
import random
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from grids import KEEP, ROOT, cut, kill_somewhere, reproduce, start


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of the cut: (folder, overrides, finished process)."""
    folder = tmp_path_factory.mktemp("whole")
    overrides = cut(folder)
    return folder, overrides, reproduce(overrides)


def results(folder):
    return (folder / "runs" / "classroom" / "results.csv").read_bytes()


def adapters(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("seed*/adapter_model.safetensors"))
    }


@pytest.mark.long
def test_one_command_makes_everything(whole):
    folder, _, done = whole
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(folder / "runs/classroom/results.csv", keep_default_na=False)
    assert set(table["subset"]) == {"base", "none", "ss", "ls", "ss+ls"}
    assert set(table["task"]) == set(KEEP) and table["score"].between(0, 1).all()
    assert len(table) == (4 * 2 + 1) * len(KEEP)
    assert re.search(r"^ss\+ls\s+\d", done.stdout, re.M), "the printed table"
    assert "score" in done.stdout and "job time" in done.stdout
    assert "influence.png" in done.stdout
    assert (folder / "figures/classroom/INDEX.md").exists()


@pytest.mark.long
def test_again_there_is_nothing_to_do(whole):
    folder, overrides, _ = whole
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    done = reproduce(overrides)
    assert done.returncode == 0
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed <= {"snakemake.log", ".lock"}


@pytest.mark.long
def test_killed_blocked_and_mended_the_result_is_the_same(whole, tmp_path):
    """SIGKILL at random moments, then a run that cannot be trained: it is named, the rest goes on; then all is well."""
    folder, _, _ = whole
    overrides, rng = cut(tmp_path, **{"grid.retries": 0}), random.Random(20)
    for _ in range(3):
        kill_somewhere(start(overrides), rng.uniform(5, 45), rng)
    shutil.rmtree(tmp_path / "runs/classroom/models/ss/seed0", ignore_errors=True)
    blocked = tmp_path / "runs/classroom/models/ss/seed0/log.jsonl"  # a folder where the log must go
    blocked.mkdir(parents=True)
    for left in (tmp_path / "runs/classroom/scores/ss").glob("seed0*"):
        left.unlink()
    done = reproduce(overrides)
    assert done.returncode != 0
    assert re.search(r"train ss/seed0 failed: .*log.jsonl", done.stdout), done.stdout
    assert "Missing from this table: ss seed 0" in done.stdout
    table = pd.read_csv(tmp_path / "runs/classroom/results.csv", keep_default_na=False)
    assert {*zip(table["subset"], table["seed"], strict=True)} == {
        ("base", 0),
        ("none", 0),
        ("none", 1),
        ("ss", 1),
        ("ls", 0),
        ("ls", 1),
        ("ss+ls", 0),
        ("ss+ls", 1),
    }
    assert (tmp_path / "figures/classroom/influence.csv").exists()
    blocked.rmdir()
    done = reproduce(overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(tmp_path) == results(folder)
    assert list(adapters(tmp_path).values()) == list(adapters(folder).values())


@pytest.mark.slow
def test_papermill_names_an_unknown_parameter(tmp_path):
    for arguments, sentence in [
        (["-p", "sedd", "3"], "03_train has no parameter 'sedd'; did you mean 'seed'?"),
        (["-p", "subset", "sss"], "unknown subset 'sss'"),
        (["-p", "seed", "one"], "parameter 'seed' of 03_train is 'one', but must be of type int"),
    ]:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "papermill",
                "--cwd",
                "notebooks",
                "--no-progress-bar",
                *arguments,
                "notebooks/03_train.ipynb",
                str(tmp_path / "out.ipynb"),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0 and f"KitError: {sentence}" in done.stderr
        shown = [
            output
            for cell in json.loads((tmp_path / "out.ipynb").read_text())["cells"]
            for output in cell.get("outputs", [])
            if output["output_type"] == "error"
        ]
        assert sentence in shown[0]["evalue"] and len(shown[0]["traceback"]) == 1
