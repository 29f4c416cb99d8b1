"""How far a grid has come: what is done, what failed and why, where the time went, and when the rest will be finished.

Everything is read from files: a job is done when its small result file exists, it failed when its executed notebook
holds an error, and durations are those that papermill wrote into the finished notebooks.
"""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from lib.common.bundled import shown
from lib.grid.jobs import NOTEBOOKS, executed, notebook_of, stage_files
from lib.grid.results import sentences, stale
from lib.params.params import Params

DONE, RUNNING, FAILED, WAITING, STALE = "done", "running", "FAILED", "-", "stale"  # stale: of other parameters
LINES = 3  # last lines shown of what a failed job left behind
FULL = 8 << 20  # bytes; with less left on a disk a notebook may not even be able to say so
_MEMORY = re.compile(r"MemoryError|out of memory|can.?t allocate memory|bad_alloc", re.I)
_AGAIN = "fix the cause and run again: only what has no result is run"
_LESS = (
    "run again with more memory: fewer jobs at once (CORES=1), a larger grid.mem_mb on a cluster, or smaller "
    "training.micro_batch_tokens and model.encode_tokens"
)


class Job(NamedTuple):
    """One cell of the grid: its state, and when it ran (UNIX seconds) and how long, if its notebook says so."""

    stage: str
    name: str
    result: Path
    state: str
    start: float | None = None
    end: float | None = None
    seconds: float | None = None  # None also where the clock was put back while it ran


def at_work(params: Params) -> bool:
    """Is a grid running on this run folder right now (does somebody hold its lock)?"""
    lock = params.study_dir / ".lock"
    if not lock.is_file():
        return False
    with open(lock) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def jobs(params: Params) -> list[Job]:
    """Return every job of the design with its state, in the order of the stages."""
    busy, old, files, found = at_work(params), stale(params), stage_files(params), []
    for stage, name, result in ((stage, name, path) for stage, some in files.items() for name, path in some.items()):
        notebook, there = notebook_of(params, stage, name), result.exists()
        untrained = stage == "score" and name in files["train"] and not files["train"][name].exists()
        if there and result in old or not there and (untrained or not notebook.exists()):
            found.append(Job(stage, name, result, STALE if there else WAITING))
            continue
        ran = executed(notebook)
        noted = ran.get("metadata", {}).get("papermill", {})
        stamps = [noted.get(key) for key in ("start_time", "end_time")]
        start, end = (datetime.fromisoformat(stamp).timestamp() if stamp else None for stamp in stamps)
        state = DONE if there else RUNNING if busy and not error_of(ran) else FAILED
        took = end - start if start and end and end >= start and there else None
        found.append(Job(stage, name, result, state, start, end, took))
    return found


def failures(params: Params) -> list[str]:
    """Return one text per job that was begun and has no result: what happened, the fix, where to look, last lines."""
    failed = [job for job in jobs(params) if job.state == FAILED]
    return [message(f"{job.stage} {job.name}", notebook_of(params, job.stage, job.name)) for job in failed]


def measured(everything: Iterable[Job], stage: str) -> list[Job]:
    """Return the finished jobs of a stage whose time is known."""
    return [job for job in everything if job.stage == stage and job.state == DONE and job.seconds]


def mean_seconds(some: Collection[Job]) -> float:
    """Return the mean time of finished jobs."""
    return sum(job.seconds for job in some) / len(some)


def concurrency(done: Iterable[Job]) -> float:
    """Return how many finished jobs ran at the same time on average: job time over the time anything ran."""
    spans = sorted((job.start, job.end) for job in done if job.seconds)
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
        if left and (done := measured(everything, stage)):
            total += left * mean_seconds(done) / min(left, at_once)
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


def times(everything: list[Job]) -> list[str]:
    """Return a line per stage with finished jobs: what each took, and how many there are."""
    done = {stage: some for stage in NOTEBOOKS if (some := measured(everything, stage))}
    return [f"  {stage:<10} {duration(mean_seconds(s)):>8} per job ({len(s)} measured)" for stage, s in done.items()]


def report(params: Params) -> str:
    """Return the whole status as text: table, single jobs, failures with reasons, durations and time left."""
    everything = jobs(params)
    done = sum(job.state == DONE for job in everything)
    work = "a grid is at work now" if at_work(params) else "no grid is at work now"
    lines = [*filter(None, [params.note()]), table(everything), ""]
    lines += [f"{job.name:<10} {job.state}" for job in everything if "/seed" not in job.name]
    lines += ["", f"{done} of {len(everything)} jobs done; {work}"]
    lines += times(everything)
    if done < len(everything):
        seconds, unknown = remaining(everything)
        lines += [f"about {duration(seconds)} left"] if seconds else []
        lines += [f"no job of {', '.join(unknown)} has finished yet, so that part is not counted"] if unknown else []
    old = [f"{line}; `make reproduce` makes it again" for line in sentences(params, stale(params))]
    broken = failures(params)
    return "\n".join(lines + ([""] + old if old else []) + ([""] + broken if broken else []))


# ── what went wrong ──────────────────────────────────────────────────────────────────────────────────────
def error_of(ran: dict[str, Any]) -> dict[str, Any] | None:
    """Return the error among the outputs of an executed notebook, or None."""
    return next((output for output in _outputs(ran) if output.get("output_type") == "error"), None)


def _outputs(ran: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in ran.get("cells", []) for output in cell.get("outputs", [])]


def failure(notebook: Path) -> str:
    """Return the error an executed notebook holds, in one line, or "" when it holds none."""
    error = error_of(executed(notebook))
    return _line(error) if error else ""


def message(name: str, notebook: Path) -> str:
    """Return the text on one failed job: what happened, the fix, where to look, and the last lines it left."""
    ran, last = executed(notebook), []
    if error := error_of(ran):
        reason = _line(error)
        if _MEMORY.search(reason):
            reason += f"; {_LESS}"
        elif not _ours(error):  # a KitError names its fix
            reason += f"; {_AGAIN}"
        if not _ours(error):  # the lines that IPython marks as where it happened, and the last one
            lines = _filled(re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.get("traceback", []))))
            last = [line for line in lines[:-1] if re.match(r"-+> *\d+ ", line)] or lines[:-1]
            last += lines[-1:]
    else:
        cells = [cell for cell in ran.get("cells", []) if cell.get("cell_type") == "code"]
        begun = [n for n, cell in enumerate(cells, 1) if cell["metadata"].get("papermill", {}).get("start_time")]
        where = f", in code cell {begun[-1]} of {len(cells)}" if begun else ""
        fix = f"it goes on where it was when you run again; if memory was short, {_LESS}"
        if shutil.disk_usage(notebook.parent).free < FULL:
            fix = f"the disk of {shown(notebook.parent)} is full: free some space there and run again"
        reason = f"it was killed or ran out of memory before it could say why{where}; {fix}"
        last = _filled("".join("".join(output.get("text", "")) for output in _outputs(ran)))
    return f"{name} failed: {reason} (see {shown(notebook)})" + "".join(f"\n    {line[:200]}" for line in last[-LINES:])


def _ours(error: dict[str, Any]) -> bool:
    """Is it a KitError, or of a class below it? Its whole traceback is its one sentence."""
    return error["ename"] == "KitError" or "".join(error.get("traceback", [])).startswith("KitError: ")


def _line(error: dict[str, Any]) -> str:
    return f"{'KitError' if _ours(error) else error['ename']}: {error['evalue']}".replace("\n", " ")[:600]


def _filled(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]
