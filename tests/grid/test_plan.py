"""The plan before spending: counted work times rates, and every rate from a stated source."""

import json
import re

import pytest
from test_status import finish, leave

from lib.common.files import KitError
from lib.grid import jobs, plan, status
from lib.params.params import load


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
    shared = {"study.categories": ["short_short", "long_long"], "training.batch_size": 32, "study.seeds": [0]}

    def steps(**budget):
        params = load("classroom", {**shared, **budget})
        return {run.name: jobs.steps_of(params, run, sizes) for run in jobs.runs(params).values()}

    assert set(steps(**{"mixture.steps": 20}).values()) == {20}
    epochs = steps(**{"mixture.budget": "fixed_epochs", "mixture.epochs": 2})
    assert epochs == {"none": 2 * 31, "ss": 2 * (31 + 3), "ll": 2 * (31 + 2), "ss+ll": 2 * (31 + 3 + 2)}


def test_sizes_come_from_the_data_once_they_exist(params):
    assert jobs.pool_sizes(params)["public"] == params.public.n
    assert jobs.pool_sizes(params)["short_short"] > 100
    made = params.run_dir / "data" / "triplets" / "short_short.jsonl"
    made.parent.mkdir(parents=True)
    made.write_text('{"query": "a"}\n' * 7)
    assert jobs.pool_sizes(params)["short_short"] == 7


def test_tokens_of_generation_and_of_the_bundled_suite(params):
    sizes = {"public": 10, "short_short": 1000, "long_long": 500}
    assert jobs.generated(params, sizes) == 0  # replayed answers cost nothing
    asked = load("classroom", {"generation.backend": "openai", "plan.answer_tokens": 300.0})
    assert jobs.generated(asked, sizes) == 1500 * 300
    without = load("classroom", {"scoring.exclude": ["TechSTS"]})
    assert 0 < jobs.suite_tokens(without) < jobs.suite_tokens(params)


@pytest.mark.slow
def test_tokens_of_a_benchmark_come_from_mtebs_own_statistics():
    small = jobs.suite_tokens(load("classroom", {"scoring.suite": ["STSBenchmark", "SciFact"]}))
    sts = jobs.suite_tokens(load("classroom", {"scoring.suite": ["STSBenchmark"]}))
    assert 0 < sts < small
    parts = jobs.suite_tokens(load("classroom", {"scoring.suite": ["CQADupstackRetrieval"]}))
    assert parts > 5e7  # the twelve parts of an aggregate are counted: 0.43 G characters


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────────────
def test_finished_jobs_are_trusted_before_reference_figures(params):
    job = next(iter(jobs.stage_files(params)["train"]))
    leave(params, "train", job, start=0, seconds=30)
    jobs.stage_files(params)["train"][job].write_text(json.dumps({"steps": 10, "seconds": 11.0, "tokens": 20000}))
    stages = {stage.name: stage for stage in plan.plan(params, status.jobs(params), params.plan, "a book")}
    assert stages["train"].seconds == [pytest.approx(30 - 11 + 20 * 1.1)] * 7 and stages["train"].source == plan.HERE
    assert stages["score"].source == "a book" and len(stages["score"].seconds) == 9


def test_reference_figures_are_named_and_priced(tmp_path):
    wanted = {
        "paths.runs": str(tmp_path),
        "study.seeds": [0],
        "mixture.steps": 100,
        "mixture.budget": "fixed_steps",
        "plan.price": 2.0,
        "scoring.suite": "classroom",
    }
    params = load("paper", wanted)
    text = plan.report(params, "paper", wanted)
    assert "Generate, train, score: reference figures for H100 80 GB, not measured here." in text
    assert "only the start of the job is counted" in text and "16 models x 1 seeds = 16 trainings of 100 steps" in text
    stages = {stage.name: stage for stage in plan.plan(params, status.jobs(params), params.plan, "")}
    figures = params.plan
    hours = (100 * 2048 * figures.triplet_tokens / figures.train_tokens_per_second + figures.start_seconds) / 3600
    assert sum(stages["train"].seconds) == pytest.approx(16 * 3600 * hours)
    total = sum(sum(stage.seconds) for stage in stages.values()) / 3600
    assert f"Price: about {2 * total:,.2f} USD" in text and "on 8 x H100 80 GB" in text


def test_a_calibration_is_run_only_when_it_is_asked_for(params, monkeypatch):
    measured = params.plan.model_copy(update={"train_tokens_per_second": 1e3, "triplet_tokens": 50.0})
    asked = []
    monkeypatch.setattr(plan, "calibrate", lambda *_: asked.append(1) or measured)
    assert "reference figures" in plan.report(params, "classroom", {}) and not asked
    text = plan.report(params, "classroom", {}, cores=2, measure=True)
    assert asked and "Train, score: measured: a short calibration" in text.replace("Generate, train", "Train")
    assert re.search(rf"train +8 +8 +256.0 k +{32 + params.plan.start_seconds:.0f} s", text), text
    assert "Done already: 0 of 20 jobs" in text and "8 x train" in text and "this machine, 2 jobs at once" in text


def test_a_calibration_that_cannot_even_begin_says_why(params, monkeypatch):
    def stopped(small, *_):
        small.run_dir.mkdir(parents=True)
        (small.run_dir / "snakemake.log").write_text(f"{status.MARK}\nWorkflowError: no such rule\n")
        return 1

    monkeypatch.setattr(plan, "run", stopped)
    with pytest.raises(KitError, match="^WorkflowError: no such rule$"):
        plan.calibrate(params, "classroom", {})


def test_rates_are_those_of_the_finished_jobs(params):
    finish(params, seconds=30)
    found = plan._rates(params, params)
    assert found.train_tokens_per_second == pytest.approx(20000 / 22)
    suite, sets = jobs.suite_tokens(params), 31
    assert found.encode_tokens_per_second == pytest.approx(suite / (2 * sets))
    assert found.triplet_tokens == pytest.approx(20000 / 20 / 32)


def test_without_any_figure_the_plan_says_what_to_do(params):
    unknown = params.plan.model_copy(update={"train_tokens_per_second": 0.0})
    with pytest.raises(KitError, match="say `make plan CALIBRATE=1` on the machine that will run it"):
        plan.plan(params, status.jobs(params), unknown, "")


def test_a_finished_study_says_what_it_would_take_anew(params):
    finish(params, seconds=30)
    text = plan.report(params, "classroom", {}, cores=2)
    assert text.startswith("All 20 jobs are done: nothing will run. Made anew, the whole would take:")
    assert re.search(r"train +8 +8 .* 30 s", text) and "Will run" not in text
    assert f"Time: about {status.duration(30 * (2 + (1 + 8 + 9) / 2))} on this machine, 2 jobs at once" in text
