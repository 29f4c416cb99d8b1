"""A plan before spending: steps, tokens, hours, disk and price by stage; what is done, what will run.

Counts times rates. Counts come from the data where they exist already, else from the parameters. Rates come from jobs
that have finished in this run folder, else from a calibration on this machine if one was asked for, else from the
profile's reference figures (``plan.*``); the plan says from which.
"""

from __future__ import annotations

import os
import tempfile
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from lib.common.bundled import shown
from lib.common.files import KitError, read_json
from lib.grid.jobs import NOTEBOOKS, answers, disk, generated, pool_sizes, runs, steps_of, suite_tokens
from lib.grid.machine import visible
from lib.grid.run import last_words, run
from lib.grid.status import DONE, Job, duration, failures, jobs, measured
from lib.params.model import PlanParams
from lib.params.params import Params, load

HERE = "measured: finished jobs of this run folder"
STEPS = 16  # training steps of a calibration, at most
RATES = {"generate": "generate", "train": "train", "score": "encode"}  # stage -> plan.<name>_tokens_per_second


class Stage(NamedTuple):
    """One stage of the plan, with the seconds of each of its jobs that will run."""

    name: str
    jobs: int
    seconds: list[float]
    tokens: float
    source: str


def plan(params: Params, everything: list[Job], rates: PlanParams, source: str, anew: bool = False) -> list[Stage]:
    """Return the stages of the grid with the seconds each job will take; ``anew``: as if none were done.

    Finished jobs take their mean, trainings by their steps. Raises KitError when neither they nor ``rates`` know.
    """
    suite, stages, sizes = suite_tokens(params), [], pool_sizes(params)
    steps = {job: steps_of(params, run, sizes) for job, run in runs(params).items()}
    per_step = params.training.batch_size * rates.triplet_tokens
    for name in NOTEBOOKS:
        mine, done = [job for job in everything if job.stage == name], measured(everything, name)
        tokens = {job.name: suite if name == "score" else 0.0 for job in mine}
        if name == "generate":
            tokens = {job: generated(asked, pool_sizes(asked)) for job, asked in answers(params).items()}
        elif name == "train":
            tokens = {job: count * per_step for job, count in steps.items()}
        rate = f"{RATES.get(name)}_tokens_per_second"
        speed = getattr(rates, rate, 0.0)
        if done:
            seconds = dict.fromkeys(tokens, fmean(job.seconds for job in done))
        elif any(tokens.values()) and not speed:
            raise KitError(
                f"nothing is known about how long {name} takes: say `make plan CALIBRATE=1` on the machine "
                f"that will run it, or set plan.{rate}"
            )
        else:
            seconds = {job: rates.start_seconds + (count / speed if count else 0.0) for job, count in tokens.items()}
        if done and name == "train":
            work, count = (sum(read_json(job.result)[part] for job in done) for part in ("seconds", "steps"))
            seconds = {job: seconds[job] + work * (own / count - 1 / len(done)) for job, own in steps.items()}
        will_run = [seconds[job.name] for job in mine if anew or job.state != DONE]
        from_ = f"only the start of the job is counted ({source})" if name not in RATES else source
        stages.append(Stage(name, len(mine), will_run, sum(tokens.values()), HERE if done else from_))
    return stages


def calibrate(params: Params, profile: str, overrides: dict[str, Any], cores: int = 0) -> PlanParams:
    """Measure this machine's rates: run two short trainings and three scorings of bundled data, in a folder of its own.

    The model and the recipe are the profile's. Raises KitError when a job of it fails.
    """
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
            told = failures(small) or last_words(small)[1:] or ["the calibration failed"]  # the log goes now
            raise KitError(told[0].splitlines()[0].strip())
        return _rates(small, params)


def _rates(finished: Params, params: Params) -> PlanParams:
    """Return the reference figures of ``params`` with those that the jobs of a finished study show."""
    trains, scores = (measured(jobs(finished), stage) for stage in ("train", "score"))
    trained = pd.DataFrame([read_json(job.result) for job in trains])[["tokens", "steps", "seconds"]].sum()
    scoring = sum(pd.read_csv(job.result)["score_seconds"].sum() for job in scores)
    idle = sum(job.seconds for job in trains + scores) - trained["seconds"] - scoring
    found = {
        "train_tokens_per_second": trained["tokens"] / trained["seconds"],
        "encode_tokens_per_second": suite_tokens(finished) * len(scores) / scoring,
        "start_seconds": max(0.0, idle) / len(trains + scores),
    }
    if params.generation.backend == "replay":  # otherwise other texts than these will be trained on
        found["triplet_tokens"] = trained["tokens"] / trained["steps"] / finished.training.batch_size
    return params.plan.model_copy(update=found)


def report(params: Params, profile: str, overrides: dict, cores: int = 0, measure: bool = False) -> str:
    """Return the whole plan as text. ``measure``: calibrate on this machine first, where no job has finished yet."""
    everything, gpus = jobs(params), len(visible())
    done = sum(job.state == DONE for job in everything)
    rates, source = params.plan, f"reference figures for {params.plan.device or 'an unnamed device'}, not measured here"
    if measure and not all(measured(everything, stage) for stage in ("train", "score")):
        rates = calibrate(params, profile, overrides, cores)
        source = "measured: a short calibration on this machine, just now"
    anew = done == len(everything)
    stages = plan(params, everything, rates, source, anew)
    known = rates is not params.plan or all(stage.source != source for stage in stages)
    slots = max(1, (cores or os.cpu_count() or 1) // params.grid.threads) if known else params.plan.devices
    if known and params.grid.gpus and gpus:
        slots = max(1, min(slots, gpus // params.grid.gpus))
    lines = [f"All {done} jobs are done: nothing will run. Made anew, the whole would take:", ""] if anew else []
    lines += [*_table(params, stages), "", *_costs(params, stages, slots, known)]
    if not anew:
        left = [stage for stage in stages if stage.seconds]
        parts = [stage.name if stage.jobs == 1 else f"{len(stage.seconds)} x {stage.name}" for stage in left]
        lines += ["", f"Done already: {done} of {len(everything)} jobs. Will run: {'; '.join(parts)}."]
    for source in dict.fromkeys(stage.source for stage in stages if stage.seconds):
        names = ", ".join(stage.name for stage in stages if stage.seconds and stage.source == source)
        lines.append(f"{names.capitalize()}: {source}.")
    return "\n".join(lines)


def _table(params: Params, stages: list[Stage]) -> list[str]:
    sizes, some, batch = pool_sizes(params), runs(params).values(), params.training.batch_size
    models, seeds = len({run.name for run in some}), len({run.seed for run in some})
    counts = {steps_of(params, run, sizes) for run in some}
    steps = " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))
    trainings = f"{models} models x {seeds} seeds = {len(some)} trainings of {steps} steps of {batch} triplets"
    unit = "GPU-hours" if params.grid.gpus else "CPU-hours"
    lines = [f"{trainings}; {len(some) + 1} scorings", ""]
    lines.append(f"{'stage':<10} {'jobs':>5} {'to run':>6} {'tokens':>9} {'each':>9} {unit:>10}")
    for name, count, seconds, tokens, _ in stages:
        each, short = duration(fmean(seconds)) if seconds else "done", _short(tokens) if tokens else "-"
        hours = sum(seconds) / 3600
        lines.append(
            f"{name:<10} {count:>5} {len(seconds):>6} {short:>9} {each:>9} {hours:>10.{2 if hours < 10 else 0}f}"
        )
    return lines


def _costs(params: Params, stages: list[Stage], slots: int, known: bool) -> list[str]:
    """Return the lines on time, price and disk. First and last stage are one job each; the rest shares the slots."""
    first, *shared, last = (sum(stage.seconds) for stage in stages)
    longest = max((seconds for stage in stages for seconds in stage.seconds), default=0.0)
    wall = first + max(sum(shared) / slots, longest if any(shared) else 0.0) + last
    where = f"this machine, {slots} jobs at once" if known else f"{slots} x {params.plan.device or 'device'}"
    lines = [f"Time: about {duration(wall)} on {where}"]
    if params.plan.price:
        hours = (first + sum(shared) + last if params.grid.gpus or not known else wall) / 3600
        price = f"{hours * params.plan.price:,.2f} {params.generation.currency}"
        lines.append(f"Price: about {price} at {params.plan.price:g} per hour")
    parts, free = disk(params, slots)
    total, listed = sum(parts.values()), ", ".join(f"{name} {_short(n)}B" for name, n in parts.items() if n >= 5e5)
    place = shown(params.run_dir.parent)
    lines.append(f"Disk: about {_short(total)}B ({listed}); {free / 1e9:.0f} GB are free in {place}")
    return lines + (["      That does not fit: choose another paths.runs, or free some space."] if total > free else [])


def _short(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return f"{number:.0f} "
