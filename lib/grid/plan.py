"""A plan before spending: steps, tokens, hours, disk and price by stage; what is done, what will run.

Counts times rates. Rates come from jobs that have finished in this run folder, else from a calibration on this machine
if one was asked for, else from the profile's reference figures (``plan.*``); the plan says from which.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.common.bundled import shown
from lib.common.files import KitError, read_json
from lib.grid import workload
from lib.grid.devices import visible
from lib.grid.failures import failures
from lib.grid.jobs import NOTEBOOKS, answers, runs, stage_files, work_seconds
from lib.grid.run import run
from lib.grid.status import DONE, Job, duration, jobs, measured
from lib.params.params import Params, PlanParams, load

HERE = "measured: finished jobs of this run folder"
START_ONLY = ("inspect", "influence")  # without a measurement only the start of these two is counted
STEPS = 16  # training steps of a calibration, at most


@dataclass
class Stage:
    """One stage of the plan: the seconds of each of its jobs that will run, and where they come from."""

    name: str
    jobs: int
    seconds: list[float]
    tokens: float
    source: str

    @property
    def hours(self) -> float:
        """Device-hours of the jobs that will run."""
        return sum(self.seconds) / 3600


def plan(params: Params, everything: list[Job], rates: PlanParams, source: str, anew: bool = False) -> list[Stage]:
    """Return the stages of the grid with the seconds each job will take; ``anew``: as if none were done.

    Raises KitError when neither finished jobs nor ``rates`` know how long a stage takes.
    """
    sizes, suite = workload.pool_sizes(params), workload.suite_tokens(params)
    steps = {job: workload.steps(params, run, sizes) for job, run in runs(params).items()}
    per_step = params.training.batch_size * rates.triplet_tokens
    stages = []
    for name in NOTEBOOKS:
        mine = [job for job in everything if job.stage == name]
        will_run = [job for job in mine if anew or job.state != DONE]
        tokens = {job.name: 0.0 for job in mine} | {
            "train": {job: count * per_step for job, count in steps.items()},
            "score": {job.name: suite for job in mine},
            "generate": {
                job: workload.generated(asked, workload.pool_sizes(asked)) for job, asked in answers(params).items()
            },
        }.get(name, {})
        if measured(everything, name):
            seconds, known = _as_finished(params, name, everything, steps), HERE
        else:
            seconds, known = _by_rates(name, tokens, rates), source
        stages.append(Stage(name, len(mine), [seconds[job.name] for job in will_run], sum(tokens.values()), known))
    return stages


def _as_finished(params: Params, stage: str, everything: list[Job], steps: dict[str, int]) -> dict[str, float]:
    """Return seconds per job: the mean of the finished ones; trainings by their steps, and what is not training."""
    times = measured(everything, stage)
    mean = sum(times) / len(times)
    if stage != "train":
        return {job.name: mean for job in everything if job.stage == stage}
    done = [job for job in everything if job.stage == stage and job.state == DONE and job.seconds]
    files = [stage_files(params)[stage][job.name] for job in done]
    work = sum(work_seconds(stage, file) for file in files)
    rest, each = mean - work / len(done), work / sum(read_json(file)["steps"] for file in files)
    return {job: rest + each * count for job, count in steps.items()}


def _by_rates(stage: str, tokens: dict[str, float], rates: PlanParams) -> dict[str, float]:
    """Return seconds per job from tokens per second."""
    name = {"generate": "generate", "train": "train", "score": "encode"}.get(stage)
    speed = getattr(rates, f"{name}_tokens_per_second") if name else 0.0
    if name and any(tokens.values()) and not speed:
        raise KitError(
            f"nothing is known about how long {stage} takes: say `make plan CALIBRATE=1` on the machine "
            f"that will run it, or set plan.{name}_tokens_per_second"
        )
    return {job: rates.start_seconds + (count / speed if speed else 0.0) for job, count in tokens.items()}


def calibrate(profile: str, overrides: dict[str, Any], cores: int = 0) -> PlanParams:
    """Measure this machine's rates: run two short trainings and three scorings of bundled data, in a folder of its own.

    The model and the recipe are the profile's. Raises KitError when a job of it fails.
    """
    params = load(profile, overrides)
    steps = min(STEPS, params.mixture.steps)
    short = {
        "study.categories": [params.study.categories[0]],
        "study.seeds": [params.study.seeds[0]],
        "study.design": "factorial",
        "mixture.budget": "fixed_steps",
        "mixture.steps": steps,
        "mixture.steps_per_category": min(params.mixture.steps_per_category, steps // 2),
        "generation.backend": "replay",
        "generation.n": {},
        "public.source": "docstrings",
        "public.n": 4000,
        "scoring.suite": "classroom",
        "negatives.encoder": "bundled:minilm",
    }
    with tempfile.TemporaryDirectory(prefix="synfluence-plan-") as folder:
        short = {**overrides, **short, "paths.runs": folder, "paths.figures": f"{folder}/figures"}
        small = load(profile, short)
        if run(small, profile, short, cores, ["--until", "score", "inspect"]):
            kept = shutil.copy(
                small.run_dir / "snakemake.log", Path(tempfile.gettempdir(), "synfluence-plan-failed.log")
            )
            raise KitError((failures(small) or [f"the calibration failed (see {kept})"])[0].splitlines()[0])
        return _rates(params, small)


def _rates(params: Params, small: Params) -> PlanParams:
    """Return the reference figures of ``params`` with those that the finished jobs of ``small`` show."""
    files, everything = stage_files(small), jobs(small)
    trained = [read_json(path) for path in files["train"].values()]
    tokens, steps, seconds = (sum(one[name] for one in trained) for name in ("tokens", "steps", "seconds"))
    scoring = sum(work_seconds("score", path) for path in files["score"].values())
    idle = sum(measured(everything, "train")) + sum(measured(everything, "score")) - seconds - scoring
    found = {
        "train_tokens_per_second": tokens / seconds,
        "encode_tokens_per_second": workload.suite_tokens(small) * len(files["score"]) / scoring,
        "start_seconds": max(0.0, idle) / (len(files["train"]) + len(files["score"])),
    }
    if params.generation.backend == "replay":  # otherwise other texts than these will be trained on
        found["triplet_tokens"] = tokens / steps / small.training.batch_size
    return params.plan.model_copy(update=found)


def report(params: Params, profile: str, overrides: dict, cores: int = 0, measure: bool = False) -> str:
    """Return the whole plan as text. ``measure``: calibrate on this machine first, where no job has finished yet."""
    everything = jobs(params)
    done = sum(job.state == DONE for job in everything)
    rates, source = params.plan, f"reference figures for {params.plan.device or 'an unnamed device'}, not measured here"
    if measure and not all(measured(everything, stage) for stage in ("train", "score")):
        rates, source = calibrate(profile, overrides, cores), "measured: a short calibration on this machine, just now"
    anew = done == len(everything)
    stages = plan(params, everything, rates, source, anew)
    known = all(stage.source != source for stage in stages if stage.name not in START_ONLY) or rates is not params.plan
    slots = at_once(params, cores) if known else params.plan.devices
    head = [f"All {done} jobs are done: nothing will run. Made anew, the whole would take:", ""] if anew else []
    lines = head + _table(params, stages) + [""] + _costs(params, stages, slots, known) + _disk(params, slots)
    if not anew:
        lines += ["", f"Done already: {done} of {len(everything)} jobs. Will run: {_will_run(everything)}."]
    return "\n".join(lines + _sources(stages))


def at_once(params: Params, cores: int = 0) -> int:
    """Return how many jobs this machine runs at once: by GPUs where jobs ask for them, else by cores."""
    by_cores, gpus = max(1, (cores or os.cpu_count() or 1) // params.grid.threads), len(visible())
    return max(1, min(by_cores, gpus // params.grid.gpus)) if params.grid.gpus and gpus else by_cores


def _table(params: Params, stages: list[Stage]) -> list[str]:
    sizes, all_runs = workload.pool_sizes(params), runs(params).values()
    models, seeds = len({run.name for run in all_runs}), len({run.seed for run in all_runs})
    per_run = sorted({workload.steps(params, run, sizes) for run in all_runs})
    steps = " to ".join(f"{count:,}" for count in dict.fromkeys((per_run[0], per_run[-1])))
    unit = "GPU-hours" if params.grid.gpus else "CPU-hours"
    lines = [
        f"{models} models x {seeds} seeds = {len(all_runs)} trainings of {steps} steps of {params.training.batch_size} "
        f"triplets; {len(all_runs) + 1} scorings",
        "",
        f"{'stage':<10} {'jobs':>5} {'to run':>6} {'tokens':>9} {'each':>9} {unit:>10}",
    ]
    for stage in stages:
        left, tokens = len(stage.seconds), _count(stage.tokens)
        each = duration(sum(stage.seconds) / left) if left else "done"
        lines.append(
            f"{stage.name:<10} {stage.jobs:>5} {left:>6} {tokens:>9} {each:>9} "
            f"{stage.hours:>10.{2 if stage.hours < 10 else 0}f}"
        )
    return lines


def _count(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return f"{number:.0f}" if number else "-"


def _costs(params: Params, stages: list[Stage], slots: int, known: bool) -> list[str]:
    """Return the lines on time and price. The first and the last stage are one job each; the rest shares the slots."""
    first, *shared, last = (sum(stage.seconds) for stage in stages)
    longest = max((seconds for stage in stages for seconds in stage.seconds), default=0.0)
    wall = first + max(sum(shared) / slots, longest if any(shared) else 0.0) + last
    where = f"this machine, {slots} jobs at once" if known else f"{slots} x {params.plan.device or 'device'}"
    lines = [f"Time: about {duration(wall)} on {where}"]
    if params.plan.price:
        hours = sum(stage.hours for stage in stages) if params.grid.gpus or not known else wall / 3600
        price = f"{hours * params.plan.price:,.2f} {params.generation.currency}"
        lines.append(f"Price: about {price} at {params.plan.price:g} per hour")
    return lines


def _disk(params: Params, slots: int) -> list[str]:
    parts = workload.disk(params, slots)
    total, free = sum(parts.values()), workload.free_disk(params)
    listed = ", ".join(f"{name} {_size(gb)}" for name, gb in parts.items() if gb >= 0.0005)
    place = shown(params.run_dir.parent)
    lines = [f"Disk: about {_size(total)} ({listed}); {free:.0f} GB are free in {place}"]
    return lines + (["      That does not fit: choose another paths.runs, or free some space."] if total > free else [])


def _size(gb: float) -> str:
    return f"{gb:,.1f} GB" if gb >= 1 else f"{1000 * gb:.0f} MB"


def _will_run(everything: list[Job]) -> str:
    parts = []
    for stage in NOTEBOOKS:
        names = [job.name for job in everything if job.stage == stage and job.state != DONE]
        named = f" ({', '.join(names)})" if len(names) <= 4 else ""
        parts += [stage] if names == [stage] else [f"{len(names)} x {stage}{named}"] if names else []
    return "; ".join(parts)


def _sources(stages: list[Stage]) -> list[str]:
    """Return one line per source of figures, with the stages it was used for."""
    by_source: dict[str, list[str]] = {}
    for stage in (stage for stage in stages if stage.seconds):
        start = stage.name in START_ONLY and stage.source != HERE
        source = f"only the start of the job is counted ({stage.source})" if start else stage.source
        by_source.setdefault(source, []).append(stage.name)
    return [f"{', '.join(names).capitalize()}: {source}." for source, names in by_source.items()]
