"""A plan before spending: runs, steps, tokens, device-hours, disk and price by stage; what is done, what will run.

Every figure says where it comes from: jobs that have finished here, a rehearsal of a minute on this machine, or
the profile's reference figures, which are derived and not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.common.files import KitError
from lib.grid import rehearsal, status, workload
from lib.grid.rehearsal import Sample
from lib.grid.status import DONE, Job, duration
from lib.params.params import Params

STAGES = ("generate", "inspect", "train", "score", "influence")
UNCOUNTED = ("inspect", "influence")  # without a measurement only the start of these two is counted


@dataclass
class Stage:
    """One stage of the plan; seconds are per job."""

    name: str
    jobs: int
    left: int
    seconds: list[float]  # one per job that is left
    tokens: float
    source: str

    @property
    def hours(self) -> float:
        """Device-hours of the jobs that are left."""
        return sum(self.seconds) / 3600


def plan(params: Params, everything: list[Job], measured: list[Sample]) -> list[Stage]:
    """Return the stages of the grid with the seconds each remaining job will take.

    ``measured``: samples, the most trusted first. Raises KitError when neither they nor the profile know a stage.
    """
    sizes = workload.pool_sizes(params)
    runs = {f"{run.name}/seed{run.seed}": run for run in workload.runs(params)}
    suite = workload.suite_tokens(params)
    stages = []
    for name in STAGES:
        mine = [job for job in everything if job.stage == name]
        left = [job for job in mine if job.state != DONE]
        tokens = {
            "generate": workload.generated(params, sizes),
            "score": suite * len(mine),
            "train": sum(workload.train_tokens(params, run, sizes) for run in runs.values()),
        }.get(name, 0.0)
        sample = next((sample for sample in measured if name in sample.notebooks), None)
        if sample is not None:
            steps = [workload.steps(params, runs[job.name], sizes) for job in left] if name == "train" else []
            seconds = _measured(params, name, sample, steps or [0] * len(left), suite)
            if name == "train" and sample.step_tokens:
                all_steps = sum(workload.steps(params, run, sizes) for run in runs.values())
                tokens = sample.step_tokens * all_steps
        else:
            seconds = [_reference(params, name, runs.get(job.name), sizes, suite) for job in left]
        stages.append(Stage(name, len(mine), len(left), seconds, tokens, sample.source if sample else _said(params)))
    return stages


def _measured(params: Params, stage: str, sample: Sample, steps: list[int], suite: float) -> list[float]:
    """Return seconds per job from a sample, scaled to this profile's steps and suite."""
    if stage == "train":
        per_step = sample.step_seconds
        if sample.step_tokens and not rehearsal.small_enough(params) and "rehearsal" in sample.source:
            per_step *= params.training.batch_size * params.plan.triplet_tokens / sample.step_tokens
        return [sample.train_rest + per_step * n + sample.between for n in steps]
    seconds = sample.notebooks[stage]
    if stage == "score" and sample.score_tokens:
        seconds += sample.score_work * (suite / sample.score_tokens - 1)
    return [seconds + sample.between] * len(steps)


def _reference(params: Params, stage: str, run, sizes: dict[str, int], suite: float) -> float:
    """Return a job's seconds from the profile's reference figures."""
    if stage in UNCOUNTED:
        return params.plan.start_seconds
    tokens, leaf = {
        "generate": (workload.generated(params, sizes), "generate_tokens_per_second"),
        "train": (workload.train_tokens(params, run, sizes) if run else 0.0, "train_tokens_per_second"),
        "score": (suite, "encode_tokens_per_second"),
    }[stage]
    speed = getattr(params.plan, leaf)
    if tokens and not speed:
        raise KitError(
            f"nothing is known about how long {stage} takes: say `make plan CALIBRATE=1` on the machine "
            f"that will run it, or set plan.{leaf}"
        )
    return params.plan.start_seconds + (tokens / speed if tokens else 0.0)


def _said(params: Params) -> str:
    return f"reference figures for {params.plan.device or 'an unnamed device'}, derived or assumed, not measured"


def report(params: Params, profile: str, overrides: dict, cores: int = 0, calibrate: bool | None = None) -> str:
    """Return the whole plan as text. ``calibrate``: rehearse here (None: where that takes about a minute)."""
    everything = status.jobs(params)
    here = rehearsal.finished(params)
    unknown = [stage for stage in STAGES if stage not in here.notebooks]
    wanted = rehearsal.small_enough(params) if calibrate is None else calibrate
    samples = [here] + ([rehearsal.rehearse(profile, overrides, cores)] if wanted and unknown else [])
    stages = plan(params, everything, samples)
    measured = not any("reference" in stage.source for stage in stages)
    slots = rehearsal.slots_here(params, cores) if measured else params.plan.devices
    wall = _wall(stages, everything, slots) + max(sample.start for sample in samples)
    lines = _table(params, stages) + [""] + _time(params, stages, wall, slots, measured) + _disk(params, slots, samples)
    done = [job for job in everything if job.state == DONE]
    lines += ["", f"Done already: {len(done)} of {len(everything)} jobs. Will run: {_listed(everything)}."]
    lines += [f"{stage}: {source}." for stage, source in _sources(stages)]
    return "\n".join(lines)


def _wall(stages: list[Stage], everything: list[Job], slots: int) -> float:
    shape = []
    for stage in stages:
        left = [job for job in everything if job.stage == stage.name and job.state != DONE]
        shape += [(stage.name, job.name, seconds) for job, seconds in zip(left, stage.seconds, strict=True)]
    return rehearsal.simulate(shape, slots) if shape else 0.0


def _table(params: Params, stages: list[Stage]) -> list[str]:
    sizes = workload.pool_sizes(params)
    runs = workload.runs(params)
    per_run = sorted({workload.steps(params, run, sizes) for run in runs})
    steps = f"{per_run[0]:,}" if len(per_run) == 1 else f"{per_run[0]:,} to {per_run[-1]:,}"
    unit = "GPU-hours" if params.grid.gpus or params.plan.train_tokens_per_second else "CPU-hours"
    lines = [
        f"{len({run.name for run in runs})} models x {len(params.study.seeds)} seeds = {len(runs)} trainings of "
        f"{steps} steps of {params.training.batch_size} triplets; {len(runs) + 1} scorings",
        "",
        f"{'stage':<10} {'jobs':>5} {'left':>5} {'tokens':>9} {'each':>9} {unit:>10}",
    ]
    for stage in stages:
        each = duration(sum(stage.seconds) / len(stage.seconds)) if stage.seconds else "done"
        lines.append(
            f"{stage.name:<10} {stage.jobs:>5} {stage.left:>5} {_count(stage.tokens):>9} {each:>9} "
            f"{stage.hours:>10.{2 if stage.hours < 10 else 0}f}"
        )
    return lines


def _count(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return f"{number:.0f}" if number else "-"


def _time(params: Params, stages: list[Stage], wall: float, slots: int, measured: bool) -> list[str]:
    hours = sum(stage.hours for stage in stages)
    where = f"this machine, {slots} jobs at once" if measured else f"{slots} x {params.plan.device or 'device'}"
    lines = [f"Time: about {duration(wall)} on {where}"]
    if params.plan.price:
        devices = hours if params.grid.gpus or not measured else wall / 3600
        lines.append(
            f"Price: about {devices * params.plan.price:,.2f} {params.generation.currency} at "
            f"{params.plan.price:g} per hour"
        )
    return lines


def _disk(params: Params, slots: int, samples: list[Sample]) -> list[str]:
    """Return the lines about disk: measured sizes of finished jobs where there are any, else reference sizes."""
    sizes = workload.pool_sizes(params)
    parts = workload.disk(params, sizes, min(slots, len(workload.runs(params))))
    sizes_of = next((sample.megabytes for sample in samples if "adapter" in sample.megabytes), None)
    if sizes_of is not None and (rehearsal.small_enough(params) or sizes_of is samples[0].megabytes):
        count = len(workload.runs(params))
        parts |= {
            "data": sizes_of["data"] / 1000,
            "adapters": count * sizes_of["adapter"] / 1000,
            "scores": (count + 1) * sizes_of.get("scoring", 0.0) / 1000,
        }
    total, free = sum(parts.values()), workload.free_disk(params)
    listed = ", ".join(f"{name} {_size(gb)}" for name, gb in parts.items() if gb >= 0.0005)
    lines = [
        f"Disk: about {_size(total)} ({listed}); {free:.0f} GB are free in {workload.shown(params.run_dir.parent)}"
    ]
    return lines + (["      That does not fit: choose another paths.runs, or free some space."] if total > free else [])


def _size(gb: float) -> str:
    return f"{gb:,.1f} GB" if gb >= 1 else f"{1000 * gb:.0f} MB"


def _listed(everything: list[Job]) -> str:
    left = {stage: [job.name for job in everything if job.stage == stage and job.state != DONE] for stage in STAGES}
    parts = []
    for stage, names in left.items():
        named = f" ({', '.join(names)})" if len(names) <= 4 else ""
        parts += [stage] if names == [stage] else [f"{len(names)} x {stage}{named}"] if names else []
    return "; ".join(parts) or "nothing"


def _sources(stages: list[Stage]) -> list[tuple[str, str]]:
    """Return each source of figures with the stages it was used for."""
    by_source: dict[str, list[str]] = {}
    for stage in stages:
        if stage.left:
            only_start = stage.name in UNCOUNTED and "reference" in stage.source
            source = f"only the start of the job is counted ({stage.source})" if only_start else stage.source
            by_source.setdefault(source, []).append(stage.name)
    return [(", ".join(names).capitalize(), source) for source, names in by_source.items()]
