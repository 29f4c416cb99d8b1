"""The status of a grid is read from its files alone: done, failed, running, and when the rest will be finished."""

import fcntl
import json

import pytest

from lib.grid import jobs as grid
from lib.grid import status
from lib.grid.run import last_words
from lib.params.params import load
from lib.params.provenance import MADE, decisive
from lib.score.score import wanted_sets

ERROR = [{"output_type": "error", "ename": "KitError", "evalue": "disk full; free some space", "traceback": []}]


@pytest.fixture
def params(tmp_path):
    return load(
        "classroom",
        {"paths.runs": str(tmp_path), "study.categories": ["short_short", "long_long"], "study.seeds": [0, 1]},
    )


def leave(params, stage, job, start=None, seconds=None, done=True, outputs=()):
    """Leave behind what a job leaves: its executed notebook and, when it finished, its result file."""
    stamps = {"start_time": f"2026-01-05T10:{start // 60:02}:{start % 60:02}+00:00"} if start is not None else {}
    if seconds:
        end = start + seconds
        stamps["end_time"] = f"2026-01-05T10:{end // 60:02}:{end % 60:02}+00:00"
    path = grid.notebook_of(params, stage, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    stamps["duration"] = seconds
    path.write_text(json.dumps({"metadata": {"papermill": stamps}, "cells": [{"outputs": list(outputs)}]}))
    if done:
        result = grid.stage_files(params)[stage][job]
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text("{}")
        if stage == "generate":
            (result.parent / MADE).write_text(json.dumps({"made_of": decisive(params, "data")}))


def finish(params, seconds):
    """Leave behind a whole finished study, every job of which took ``seconds``."""
    for stage, files in grid.stage_files(params).items():
        for job, path in files.items():
            leave(params, stage, job, start=0, seconds=seconds)
            if stage == "train":
                path.write_text(json.dumps({"steps": 20, "seconds": 22.0, "tokens": 20000}))
            if stage == "score":
                path.write_text("task,score_seconds\n" + "".join(f"{name},2\n" for name in wanted_sets(params)))
                of = decisive(params, "base" if job.startswith("base/") else "score")
                path.with_suffix(".made.json").write_text(json.dumps({"made_of": of, "adapter": None}))


def test_an_untouched_grid_is_all_waiting(params):
    everything = status.jobs(params)
    assert {job.state for job in everything} == {"-"}
    assert "0 of" in status.report(params) and "no grid is at work" in status.report(params)


def test_table_failures_and_time_left(params):
    trains = [job for job in grid.stage_files(params)["train"]]
    assert len(trains) == 8  # 4 subsets of 2 categories x 2 seeds
    leave(params, "generate", "generate", start=0, seconds=10)
    for i, job in enumerate(trains[:4]):  # two at a time, a minute each
        leave(params, "train", job, start=10 + 60 * (i // 2), seconds=60)
    leave(params, "train", trains[4], start=130, done=False, outputs=ERROR)
    leave(params, "train", trains[5], start=130, done=False)

    states = {(job.stage, job.name): job.state for job in status.jobs(params)}
    assert states["train", trains[0]] == "done"
    assert states["train", trains[4]] == states["train", trains[5]] == "FAILED"
    assert states["train", trains[6]] == "-"

    seconds, unknown = status.remaining([job for job in status.jobs(params) if job.stage in ("train", "score")])
    assert seconds == pytest.approx(4 * 60 / 2)  # four trainings left, two at a time
    assert unknown == ["score"]

    text = status.report(params)
    row = next(line.split() for line in text.splitlines() if line.startswith("none"))
    assert row == ["none", "done", "done", "-", "-"]  # train 0, train 1, score 0, score 1
    assert f"train {trains[4]} failed: KitError: disk full; free some space" in text
    assert f"train {trains[5]} failed: it was killed or ran out of memory" in text
    assert "about 2.0 min left" in text
    assert "no job of inspect, score, influence has finished yet" in text


def test_a_job_without_result_is_running_while_the_grid_is_at_work(params):
    job = next(iter(grid.stage_files(params)["train"]))
    leave(params, "train", job, start=0, done=False)
    with open(params.run_dir / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        states = {(j.stage, j.name): j.state for j in status.jobs(params)}
        assert states["train", job] == "running"
        assert "failed" not in status.report(params)
    assert not status.at_work(params)
    assert {(j.stage, j.name): j.state for j in status.jobs(params)}["train", job] == "FAILED"


def test_a_notebook_that_is_being_written_does_not_break_the_status(params):
    job = next(iter(grid.stage_files(params)["train"]))
    leave(params, "train", job, start=0, done=True)
    grid.notebook_of(params, "train", job).write_text('{"cells": [')
    assert [j.state for j in status.jobs(params) if j.name == job and j.stage == "train"] == ["done"]


@pytest.mark.parametrize("seconds, text", [(7, "7 s"), (600, "10 min"), (20000, "5.6 h"), (10 * 86400, "10.0 days")])
def test_durations_are_said_as_people_say_them(seconds, text):
    assert status.duration(seconds) == text


def test_a_finished_study_shows_where_its_time_went(params):
    finish(params, seconds=30)
    assert "20 of 20 jobs done" in status.report(params)
    assert "  train          30 s per job (8 measured)" in status.times(status.jobs(params))


def test_a_job_that_ended_before_it_had_a_notebook_is_named(params):
    notebook = grid.notebook_of(params, "train", "ss/seed0")
    said = f"Error in rule train:\n    log: {notebook} (check log file(s) for error details)\n"
    params.run_dir.mkdir(parents=True)
    log = params.run_dir / "snakemake.log"
    log.write_text(f"{status.MARK}\n{said}")
    empty = grid.notebook_of(params, "train", "ll/seed0")  # Snakemake leaves one of a job that broke at its start
    empty.parent.mkdir(parents=True)
    empty.touch()
    text = status.report(params)
    assert "train ll/seed0 failed: it was killed or broke" in text
    assert "train ss/seed0 failed: it was killed or broke before it had a notebook" in text and "snakemake.log)" in text
    assert text.count(" failed: ") == 2
    empty.unlink()
    log.write_text(f"{status.MARK}\n{said}{status.MARK}\n")
    assert " failed: " not in status.report(params)


def test_a_step_without_a_notebook_that_failed_says_why(params):
    """Of the lines of Snakemake that hold the word Error, the last three do not tell it."""
    log = params.run_dir / "snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        f"KitError: of an earlier run\n{status.MARK}\nKitError: cannot write a.csv; make that folder writable\n"
        "RuleException:\nCalledProcessError in file Snakefile, line 115:\nError in rule contrast:\nWorkflowError:\n"
    )
    assert last_words(params)[1:] == ["    KitError: cannot write a.csv; make that folder writable"]
    log.write_text(f"{status.MARK}\nBuilding DAG of jobs...\nLockException:\nError: Directory cannot be locked.\n")
    assert last_words(params)[1:] == ["    Error: Directory cannot be locked."]
