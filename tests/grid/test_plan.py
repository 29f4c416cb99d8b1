"""The plan before spending: counted work, seconds from a stated source, and jobs queued as the grid queues them."""

import json
import re

import pytest
from test_status import leave

from lib.common.files import KitError
from lib.grid import plan, rehearsal, status, workload
from lib.grid import run as grid
from lib.grid.rehearsal import Sample, simulate
from lib.params.params import load
from lib.params.stages import decisive
from lib.score.scorefile import record_of, wanted_sets


@pytest.fixture
def params(tmp_path):
    return load(
        "classroom",
        {
            "paths.runs": str(tmp_path),
            "study.categories": ["short_short", "long_long"],
            "study.seeds": [0, 1],
            "mixture.steps": 20,
            "training.batch_size": 32,
        },
    )


# ── counting ─────────────────────────────────────────────────────────────────────────────────────────────
def test_steps_follow_the_budget():
    sizes = {"public": 1000, "short_short": 100, "long_long": 70}
    fixed = load("classroom", {"study.categories": ["short_short", "long_long"], "mixture.steps": 20})
    assert {workload.steps(fixed, run, sizes) for run in workload.runs(fixed)} == {20}
    epochs = load(
        "classroom",
        {
            "study.categories": ["short_short", "long_long"],
            "training.batch_size": 32,
            "mixture.budget": "fixed_epochs",
            "mixture.epochs": 2,
            "study.seeds": [0],
        },
    )
    per_run = {run.name: workload.steps(epochs, run, sizes) for run in workload.runs(epochs)}
    assert per_run == {"none": 2 * 31, "ss": 2 * (31 + 3), "ll": 2 * (31 + 2), "ss+ll": 2 * (31 + 3 + 2)}


def test_sizes_come_from_the_data_once_they_exist(params):
    assert workload.pool_sizes(params)["public"] == params.public.n
    bundled = workload.pool_sizes(params)["short_short"]
    assert bundled > 100
    made = params.run_dir / "data" / "triplets" / "short_short.jsonl"
    made.parent.mkdir(parents=True)
    made.write_text('{"query": "a"}\n' * 7)
    assert workload.pool_sizes(params)["short_short"] == 7


def test_tokens_of_generation_and_of_the_bundled_suite(params):
    sizes = {"public": 10, "short_short": 1000, "long_long": 500}
    assert workload.generated(params, sizes) == 0  # replayed answers cost nothing
    asked = load("classroom", {"generation.backend": "openai", "plan.answer_tokens": 300.0})
    assert workload.generated(asked, sizes) == 1500 * 300
    without = load("classroom", {"scoring.exclude": ["TechSTS"]})
    assert 0 < workload.suite_tokens(without) < workload.suite_tokens(params)


@pytest.mark.slow
def test_tokens_of_a_benchmark_come_from_mtebs_own_statistics():
    small = workload.suite_tokens(load("classroom", {"scoring.suite": ["STSBenchmark", "SciFact"]}))
    sts = workload.suite_tokens(load("classroom", {"scoring.suite": ["STSBenchmark"]}))
    assert 0 < sts < small
    parts = workload.suite_tokens(load("classroom", {"scoring.suite": ["CQADupstackRetrieval"]}))
    assert parts > 5e7  # the twelve parts of an aggregate are counted: 0.43 G characters


# ── queueing ─────────────────────────────────────────────────────────────────────────────────────────────
def test_two_workers_share_the_jobs():
    trains = [("train", f"r{i}", 10.0) for i in range(4)]
    jobs = [("generate", "generate", 5.0), *trains, ("influence", "influence", 3.0)]
    assert simulate(jobs, 1) == 5 + 40 + 3
    assert simulate(jobs, 2) == 5 + 20 + 3


def test_a_scoring_waits_for_its_training_and_the_base_for_nothing():
    assert simulate([("train", "a", 10.0), ("score", "a", 4.0)], 8) == 14
    assert simulate([("train", "a", 10.0), ("score", "a", 4.0), ("score", "base/seed0", 12.0)], 8) == 14
    assert simulate([("score", "a", 4.0)], 8) == 4  # its training is done already


def test_the_overhead_beside_notebooks_is_found_from_the_wall_time():
    jobs = [("train", f"r{i}", 10.0) for i in range(6)]
    gap = rehearsal._fit(lambda g: simulate([(s, n, t + g) for s, n, t in jobs], 2), 34.5)
    assert gap == pytest.approx(1.5, abs=1e-3)  # three rounds of 10 + 1.5
    assert rehearsal._fit(lambda g: 30 + g, 25) == pytest.approx(0, abs=1e-6)


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────────────
def sample():
    """A made-up measurement with round numbers."""
    notebooks = {"generate": 8, "inspect": 6, "train": 12, "score": 20, "influence": 9}
    return Sample(
        "measured: rehearsal",
        notebooks,
        step_seconds=0.5,
        step_tokens=4000,
        train_rest=4,
        score_work=15,
        score_tokens=1.0,
        between=1.0,
        start=5.0,
        megabytes={"adapter": 2.0, "data": 3.0, "scoring": 0.1},
    )


def test_a_plan_scales_a_rehearsal_to_the_study(params, monkeypatch):
    measured = sample()
    measured.score_tokens = workload.suite_tokens(params)
    stages = {stage.name: stage for stage in plan.plan(params, status.jobs(params), [measured])}
    assert stages["train"].seconds == [4 + 20 * 0.5 + 1] * 8  # 20 steps, however many the rehearsal did
    assert stages["score"].seconds == [21] * 9
    assert stages["train"].tokens == 8 * 20 * 4000
    monkeypatch.setattr(rehearsal, "rehearse", lambda *_: measured)
    monkeypatch.setattr(rehearsal, "slots_here", lambda *_: 2)
    text = plan.report(params, "classroom", {})
    # 9 generate, (7 + 8 x 15 + 9 x 21) / 2 in between by two workers, 10 influence, 5 start, and the last worker's end
    minutes = float(re.search(r"Time: about ([\d.]+) min on this machine, 2 jobs at once", text)[1])
    assert (9 + 158 + 10 + 5) / 60 - 0.05 <= minutes <= (9 + 158 + 21 + 10 + 5) / 60
    assert "4 models x 2 seeds = 8 trainings of 20 steps of 32 triplets; 9 scorings" in text
    assert "Done already: 0 of 20 jobs" in text and "8 x train" in text


def test_finished_jobs_are_trusted_before_a_rehearsal(params, monkeypatch):
    job = next(iter(grid.stage_files(params)["train"]))
    leave(params, "train", job, start=0, seconds=30)
    grid.stage_files(params)["train"][job].write_text(json.dumps({"steps": 20, "seconds": 22.0, "tokens": 20000}))
    here = rehearsal.finished(params)
    assert (here.step_seconds, here.step_tokens, here.train_rest) == (pytest.approx(1.1), 1000, pytest.approx(8))
    stages = {stage.name: stage for stage in plan.plan(params, status.jobs(params), [here, sample()])}
    assert stages["train"].seconds == [pytest.approx(30)] * 7 and "finished jobs" in stages["train"].source
    assert "rehearsal" in stages["score"].source


def test_reference_figures_are_called_derived_and_priced(tmp_path):
    wanted = {
        "paths.runs": str(tmp_path),
        "study.seeds": [0],
        "mixture.steps": 100,
        "mixture.budget": "fixed_steps",
        "training.batch_size": 2048,
        "plan.price": 2.0,
        "scoring.suite": "classroom",
    }
    params = load("paper", wanted)
    text = plan.report(params, "paper", wanted, calibrate=False)
    assert "derived or assumed, not measured" in text and "H100" in text
    stages = {stage.name: stage for stage in plan.plan(params, status.jobs(params), [])}
    figures = params.plan
    hours = (100 * 2048 * figures.triplet_tokens / figures.train_tokens_per_second + figures.start_seconds) / 3600
    assert stages["train"].hours == pytest.approx(16 * hours)
    total = sum(stage.hours for stage in stages.values())
    assert f"Price: about {2 * total:,.2f} USD" in text


def test_without_any_figure_the_plan_says_what_to_do(params):
    with pytest.raises(KitError, match="say `make plan CALIBRATE=1` on the machine that will run it"):
        plan.report(params, "classroom", {}, calibrate=False)


def test_a_finished_study_has_nothing_left(params):
    for stage, jobs in grid.stage_files(params).items():
        for job, path in jobs.items():
            leave(params, stage, job, start=0, seconds=30)
            if stage == "train":
                path.write_text(json.dumps({"steps": 20, "seconds": 22.0, "tokens": 20000}))
            if stage == "score":
                path.write_text("task,score_seconds\n" + "".join(f"{name},2\n" for name in wanted_sets(params)))
                of = decisive(params, "base" if job.startswith("base/") else "score")
                record_of(path).write_text(json.dumps({"made_of": of, "adapter": None}))
    text = plan.report(params, "classroom", {})
    assert "Will run: nothing" in text and "Done already: 20 of 20" in text
