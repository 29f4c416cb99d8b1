"""How far a grid has come: what is done, what failed, and when the rest will be finished.

Everything is read from files: a job is done when its small result file exists, it failed when its executed notebook
holds an error, and durations are those that papermill wrote into the finished notebooks.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lib.grid.failures import error_of, failures
from lib.grid.identity import sentences, stale
from lib.grid.jobs import executed, notebook_of, stage_files, work_seconds
from lib.params.params import Params

DONE, RUNNING, FAILED, WAITING, STALE = "done", "running", "FAILED", "-", "stale"  # stale: of other parameters


@dataclass(frozen=True)
class Job:
    """One cell of the grid: its state, and when it ran (UNIX seconds) if its notebook says so."""

    stage: str
    name: str
    state: str
    start: float | None = None
    end: float | None = None

    @property
    def seconds(self) -> float | None:
        """Wall time of the finished notebook, or None (also when the clock was put back while it ran)."""
        return None if self.start is None or self.end is None or self.end < self.start else self.end - self.start


def at_work(params: Params) -> bool:
    """Is a grid running on this run folder right now (does somebody hold its lock)?"""
    try:
        with open(params.study_dir / ".lock") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def jobs(params: Params) -> list[Job]:
    """Return every job of the design with its state, in the order of the stages."""
    busy, old = at_work(params), stale(params)
    return [
        _job(stage, name, path, notebook_of(params, stage, name), busy, path in old)
        for stage, files in stage_files(params).items()
        for name, path in files.items()
    ]


def _job(stage: str, name: str, result: Path, notebook: Path, busy: bool, old: bool) -> Job:
    if result.exists() and old:
        return Job(stage, name, STALE)
    if not result.exists() and not notebook.exists():
        return Job(stage, name, WAITING)
    ran = executed(notebook)
    times = ran.get("metadata", {}).get("papermill", {})
    start, end = (
        datetime.fromisoformat(t).timestamp() if (t := times.get(f"{k}_time")) else None for k in ("start", "end")
    )
    if result.exists():
        return Job(stage, name, DONE, start, end)
    return Job(stage, name, RUNNING if busy and not error_of(ran) else FAILED, start)


def measured(everything: Iterable[Job], stage: str) -> list[float]:
    """Return the seconds of the finished jobs of a stage."""
    return [job.seconds for job in everything if job.stage == stage and job.state == DONE and job.seconds]


def concurrency(done: Iterable[Job]) -> float:
    """Return how many finished jobs ran at the same time on average: job time over the time anything ran."""
    spans = sorted((job.start, job.end) for job in done if job.state == DONE and job.seconds)
    busy, reached = 0.0, float("-inf")
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return sum(end - start for start, end in spans) / busy if busy else 1.0


def remaining(everything: list[Job]) -> tuple[float, list[str]]:
    """Return (seconds of wall time left, stages that cannot be judged because none of their jobs has finished)."""
    total, unknown = 0.0, []
    at_once = concurrency(job for job in everything if "/seed" in job.name)
    for stage in dict.fromkeys(job.stage for job in everything):
        left = sum(job.stage == stage and job.state != DONE for job in everything)
        if left and (seconds := measured(everything, stage)):
            total += left * sum(seconds) / len(seconds) / min(left, at_once)
        elif left:
            unknown.append(stage)
    return total, unknown


def table(everything: list[Job]) -> str:
    """Return the done-mask: one row per run, one column per stage and seed."""
    import pandas as pd

    rows = [(*job.name.rsplit("/seed", 1), job.stage, job.state) for job in everything if "/seed" in job.name]
    frame = pd.DataFrame(rows, columns=["run", "seed", "stage", "state"]).astype({"seed": int})
    wide = frame.pivot(index="run", columns=["stage", "seed"], values="state").reindex(index=frame["run"].unique())
    wide = wide[sorted(wide.columns, key=lambda column: (column[0] != "train", column[1]))]
    wide.columns = [f"{stage} {seed}" for stage, seed in wide.columns]
    return wide.fillna("").rename_axis(None).to_string()


def duration(seconds: float) -> str:
    """Return a duration as people say it: ``45 s``, ``2.5 min``, ``12 min``, ``3.5 h``, ``6.2 days``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.{1 if seconds < 600 else 0}f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def report(params: Params) -> str:
    """Return the whole status as text: table, single jobs, failures with reasons, durations and time left."""
    everything = jobs(params)
    done = sum(job.state == DONE for job in everything)
    lines = [*filter(None, [params.note()]), table(everything), ""]
    lines += [f"{job.name:<10} {job.state}" for job in everything if "/seed" not in job.name]
    work = "a grid is at work now" if at_work(params) else "no grid is at work now"
    lines += ["", f"{done} of {len(everything)} jobs done; {work}"]
    for stage in dict.fromkeys(job.stage for job in everything):
        if times := measured(everything, stage):
            lines.append(f"  {stage:<10} {duration(sum(times) / len(times)):>8} per job ({len(times)} measured)")
    if done < len(everything):
        seconds, unknown = remaining(everything)
        lines += [f"about {duration(seconds)} left"] if seconds else []
        lines += [f"no job of {', '.join(unknown)} has finished yet, so that part is not counted"] if unknown else []
    old = [f"{line}; `make reproduce` makes it again" for line in sentences(params, stale(params))]
    failed = tuple(f"{job.stage} {job.name} failed: " for job in everything if job.state == FAILED)
    broken = [sentence for sentence in failures(params) if sentence.startswith(failed)]
    return "\n".join(lines + ([""] + old if old else []) + ([""] + broken if broken else []))


def time_table(params: Params, wall: float, cores: int) -> list[str]:
    """Return the lines that say where the time of a grid went; ``wall``: seconds of this call."""
    lines = [f"{'stage':<10} {'jobs':>5} {'notebooks':>11} {'work':>9} {'rest':>9}   (seconds of job time)"]
    for stage, files in stage_files(params).items():
        done = [(path, executed(notebook_of(params, stage, job))) for job, path in files.items() if path.exists()]
        noted = [(path, ran.get("metadata", {}).get("papermill", {}).get("duration")) for path, ran in done if ran]
        # a clock that was put back gives less than none
        seconds = [max(0.0, duration or 0.0) for _, duration in noted]
        work = [work_seconds(stage, path) for path, _ in noted]
        total, proper = (
            sum(seconds),
            sum(one if one is not None else whole for one, whole in zip(work, seconds, strict=True)),
        )
        if noted:
            lines.append(f"{stage:<10} {len(noted):>5} {total:>11.0f} {proper:>9.0f} {total - proper:>9.0f}")
    return [
        *lines,
        f"This call took {wall:.0f} s on {cores} cores; 'work' is training and scoring proper, 'rest' is kernel start, "
        "imports and drawing.",
    ]
