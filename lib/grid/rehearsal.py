"""How long the stages of a grid take here: read from finished jobs, or from a short rehearsal of the grid.

A rehearsal is the real grid, cut to two trainings and three scorings, in a folder of its own that is deleted again:
it runs the same notebooks through the same Snakemake call, so kernel starts, imports and two jobs that share a
processor are measured and not guessed. Notebook 05 gets a simulated table as long as the study's own.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.common.files import KitError, read_json
from lib.grid import run as grid
from lib.grid import status
from lib.params.params import Params, load

STEPS = 16  # training steps of a rehearsal, at most


@dataclass
class Sample:
    """Measured seconds: per stage the notebooks' mean wall time, and the work inside trainings and scorings."""

    source: str
    notebooks: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    step_seconds: float = 0.0  # per optimizer step
    step_tokens: float = 0.0  # real tokens per optimizer step
    train_rest: float = 0.0  # of a training notebook: kernel start, imports, drawing
    score_work: float = 0.0  # scoring proper, per model
    score_tokens: float = 0.0  # of the suite that was scored
    start: float = 0.0  # from the command to the first notebook
    between: float = 0.0  # per job, beside its notebook
    megabytes: dict[str, float] = field(default_factory=dict)  # on disk: data, an adapter, a scoring
    wall: float = 0.0


def finished(params: Params) -> Sample:
    """Return what the finished jobs of a run folder took; stages without a finished job are left out."""
    from lib.grid import workload

    sample = Sample("measured: finished jobs of this run folder")
    everything = [job for job in status.jobs(params) if job.state == status.DONE and job.seconds]
    for stage in dict.fromkeys(job.stage for job in everything):
        seconds = [job.seconds for job in everything if job.stage == stage]
        sample.notebooks[stage], sample.counts[stage] = sum(seconds) / len(seconds), len(seconds)
    files = grid.stage_files(params)
    trained = [job for job in everything if job.stage == "train"]
    if trained:
        summaries = [read_json(files["train"][job.name]) for job in trained]
        steps = sum(summary["steps"] for summary in summaries)
        sample.step_seconds = sum(summary["seconds"] for summary in summaries) / steps
        sample.step_tokens = sum(summary.get("tokens", 0) for summary in summaries) / steps
        sample.train_rest = sample.notebooks["train"] - sample.step_seconds * steps / len(trained)
        folders = [files["train"][job.name].parent for job in trained]
        sample.megabytes["adapter"] = 1000 * workload.folder_gb(folders) / len(folders)
    scored = [job for job in everything if job.stage == "score"]
    if scored:
        sample.score_work = sum(_scoring(files["score"][job.name]) for job in scored) / len(scored)
        sample.score_tokens = workload.suite_tokens(params)
        sample.megabytes["scoring"] = 1000 * workload.folder_gb([params.scores_dir]) / len(scored)
    sample.megabytes["data"] = 1000 * workload.folder_gb([params.data_dir])
    return sample


def _scoring(path: Path) -> float:
    import pandas as pd

    return float(pd.read_csv(path)["score_seconds"].sum())


def small_enough(params: Params) -> bool:
    """Can the whole chain be rehearsed in about a minute: bundled answers, bundled model, bundled suite?"""
    return (
        params.generation.backend == "replay"
        and params.model.name.startswith("bundled:")
        and params.scoring.suite == "classroom"
    )


def rehearse(profile: str, overrides: dict[str, Any], cores: int = 0) -> Sample:
    """Run the cut grid once and return what it took. Raises KitError when a job of it fails.

    A profile that is not ``small_enough`` keeps its model and recipe but trains on the bundled triplets and scores the
    bundled suite, so that its tokens per second are known without its data.
    """
    params = load(profile, overrides)
    with tempfile.TemporaryDirectory(prefix="synfluence-plan-") as folder:
        cut = {**overrides, **_cut(params), "paths.runs": folder, "paths.figures": f"{folder}/figures"}
        small = load(profile, cut)
        began = time.time()
        code = grid.run(small, profile, cut, cores, ["--until", "score", "inspect"])
        wall = time.time() - began
        if code or _influence(params, small, profile, cut, overrides):
            kept = Path(tempfile.gettempdir()) / "synfluence-plan-failed.log"
            shutil.copy(small.run_dir / "snakemake.log", kept)
            raise KitError(
                (grid.failures(small) or [f"the rehearsal of the grid failed (see {kept})"])[0].splitlines()[0]
            )
        sample = finished(small)
        jobs = [job for job in status.jobs(small) if job.state == status.DONE and job.start]
    sample.source = f"measured: rehearsal of {len(jobs)} jobs in {wall:.0f} s on this machine, just now"
    sample.wall, sample.start = wall, min(job.start for job in jobs) - began
    slots = slots_here(params, cores)
    shape = [(job.stage, job.name, job.seconds) for job in jobs if job.stage != "influence"]
    sample.between = _fit(lambda gap: simulate([(s, n, t + gap) for s, n, t in shape], slots), wall - sample.start)
    return sample


def _influence(
    params: Params, small: Params, profile: str, cut: dict[str, Any], overrides: dict[str, Any]
) -> list[str]:
    """Run notebook 05 on simulated scores of the study's size; return what went wrong."""
    from lib.common.files import write_text
    from lib.grid.results import read_scores
    from lib.influence.simulate import study

    base = read_scores(grid.stage_files(small)["score"]["base/seed0"])
    table = study(list(base["type"]), seeds=len(params.study.seeds))
    table["task"] = list(base["task"]) * (len(table) // len(base))
    write_text(small.run_dir / "results.csv", table.to_csv(index=False))
    cut = {name: value for name, value in cut.items() if not name.startswith("study.")}
    cut |= {name: value for name, value in overrides.items() if name.startswith("study.")}
    wrong = grid.influence_anyway(small, profile, cut)
    if not wrong:
        grid.stage_files(small)["influence"]["influence"].touch()
    return wrong


def _cut(params: Params) -> dict[str, Any]:
    steps = min(STEPS, params.mixture.steps)
    cut: dict[str, Any] = {
        "study.categories": [params.study.categories[0]],
        "study.seeds": [params.study.seeds[0]],
        "study.design": "factorial",
        "mixture.budget": "fixed_steps",
        "mixture.steps": steps,
        "mixture.steps_per_category": min(params.mixture.steps_per_category, steps // 2),
    }
    if not small_enough(params):
        cut |= {
            "generation.backend": "replay",
            "generation.n": {},
            "public.source": "docstrings",
            "public.n": 4000,
            "scoring.suite": "classroom",
            "negatives.encoder": "bundled:minilm",
        }
    return cut


def slots_here(params: Params, cores: int = 0) -> int:
    """Return how many jobs this machine runs at once: by GPUs where jobs ask for them, else by cores."""
    import os

    from lib.grid.devices import visible

    by_cores = max(1, (cores or os.cpu_count() or 1) // params.grid.threads)
    gpus = len(visible())
    return max(1, min(by_cores, gpus // params.grid.gpus)) if params.grid.gpus and gpus else by_cores


def _fit(wall_of: Callable[[float], float], wall: float) -> float:
    """Return the seconds beside each notebook with which the simulated wall time is the measured one (0 at least)."""
    low, high = 0.0, 60.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if wall_of(middle) < wall else (low, middle)
    return low


def simulate(jobs: Sequence[tuple[str, str, float]], slots: int) -> float:
    """Return the wall time of jobs (stage, name, seconds) on ``slots`` workers, in the grid's own order of stages.

    generate comes first, influence last; a scoring waits for its training, the base's scoring for nothing; a free
    worker takes the next job that may run.
    """
    waiting = [job for job in jobs if job[0] not in ("generate", "influence")]
    clock = start = sum(seconds for stage, _, seconds in jobs if stage == "generate")
    trains = {name for stage, name, _ in waiting if stage == "train"}
    ends: dict[tuple[str, str], float] = {}
    running: list[tuple[float, str, str]] = []
    while waiting or running:
        ready = [
            job
            for job in waiting
            if job[0] != "score" or job[1] not in trains or ends.get(("train", job[1]), clock + 1) <= clock
        ]
        while ready and len(running) < slots:
            stage, name, seconds = ready.pop(0)
            waiting.remove((stage, name, seconds))
            running.append((clock + seconds, stage, name))
        running.sort()
        clock, stage, name = running.pop(0)
        ends[stage, name] = clock
    return max(clock, start) + sum(seconds for stage, _, seconds in jobs if stage == "influence")
