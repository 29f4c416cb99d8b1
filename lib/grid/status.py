"""How far a grid has come: what is done, what failed and why, where the time went, and when the rest will be finished.

Everything is read from files: a job is done when its small result file exists, it failed when its executed notebook
holds an error, and durations are those that papermill wrote into the finished notebooks.
"""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from lib.common.bundled import shown
from lib.grid.jobs import NOTEBOOKS, executed, notebook_of, stage_files
from lib.grid.results import sentences, stale
from lib.params.params import Params

DONE, RUNNING, FAILED, WAITING, STALE = "done", "running", "FAILED", "-", "stale"  # stale: of other parameters
MARK = "=== a run of the grid begins ==="  # written into snakemake.log, which all runs of a folder share
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
    try:
        with open(params.study_dir / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def said(params: Params) -> str:
    """Return what Snakemake has said since the last run of the grid began; "" where none ever did."""
    log = params.run_dir / "snakemake.log"
    return log.read_text(encoding="utf-8", errors="replace").rpartition(MARK)[2] if log.is_file() else ""


def jobs(params: Params) -> list[Job]:
    """Return every job of the design with its state, in the order of the stages."""
    busy, old, files, log, found = at_work(params), stale(params), stage_files(params), said(params), []
    for stage, name, result in ((stage, name, path) for stage, some in files.items() for name, path in some.items()):
        notebook, start, end = notebook_of(params, stage, name), None, None
        ran, untrained = executed(notebook), stage == "score" and not files["train"].get(name, notebook.parent).exists()
        if result.exists():
            state = STALE if result in old else DONE
        elif untrained or not notebook.exists():
            state = FAILED if f"{notebook} (check log file" in log else WAITING
        else:
            state = RUNNING if busy and not error_of(ran) else FAILED
        if state == DONE:
            noted = ran.get("metadata", {}).get("papermill", {})
            stamps = [noted.get(key) for key in ("start_time", "end_time")]
            start, end = (datetime.fromisoformat(stamp).timestamp() if stamp else None for stamp in stamps)
        found.append(
            Job(stage, name, result, state, start, end, end - start if start and end and end >= start else None)
        )
    return found


def failures(params: Params) -> list[str]:
    """Return one text per job that was begun and has no result: what happened, the fix, where to look, last lines."""
    failed = [job for job in jobs(params) if job.state == FAILED]
    log = shown(params.run_dir / "snakemake.log")
    return [message(f"{job.stage} {job.name}", notebook_of(params, job.stage, job.name), log) for job in failed]


def measured(everything: Iterable[Job], stage: str) -> list[Job]:
    """Return the finished jobs of a stage whose time is known."""
    return [job for job in everything if job.stage == stage and job.state == DONE and job.seconds]


def remaining(everything: list[Job]) -> tuple[float, list[str]]:
    """Return (seconds of wall time left, stages that cannot be judged because none of their jobs has finished).

    As many jobs run at once as did on average: job time over the time anything ran.
    """
    spans = sorted((job.start, job.end) for job in everything if "/seed" in job.name and job.seconds)
    total, unknown, busy, reached = 0.0, [], 0.0, float("-inf")
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    at_once = sum(end - start for start, end in spans) / busy if busy else 1.0
    for stage in dict.fromkeys(job.stage for job in everything):
        left = sum(job.stage == stage and job.state != DONE for job in everything)
        if left and (done := measured(everything, stage)):
            total += left * fmean(job.seconds for job in done) / min(left, at_once)
        elif left:
            unknown.append(stage)
    return total, unknown


def table(everything: list[Job]) -> str:
    """Return the done-mask: one row per run, one column per stage and seed."""
    rows: dict[str, dict[str, str]] = {}
    for job in (job for job in everything if "/seed" in job.name):  # trainings come first
        name, seed = job.name.rsplit("/seed", 1)
        rows.setdefault(name, {})[f"{job.stage} {seed}"] = job.state
    return pd.DataFrame.from_dict(rows, orient="index").fillna("").to_string()


def duration(seconds: float) -> str:
    """Return a duration as people say it: ``45 s``, ``2.5 min``, ``12 min``, ``3.5 h``, ``6.2 days``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.{1 if seconds < 600 else 0}f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def times(everything: list[Job]) -> list[str]:
    """Return a line per stage with finished jobs: what each took, and how many there are."""
    took = {stage: [job.seconds for job in measured(everything, stage)] for stage in NOTEBOOKS}
    return [f"  {name:<10} {duration(fmean(s)):>8} per job ({len(s)} measured)" for name, s in took.items() if s]


def report(params: Params) -> str:
    """Return the whole status as text: table, single jobs, failures with reasons, durations and time left."""
    everything = jobs(params)
    done, work = sum(job.state == DONE for job in everything), "a" if at_work(params) else "no"
    lines = [*filter(None, [params.note()]), table(everything), ""]
    lines += [f"{job.name:<10} {job.state}" for job in everything if "/seed" not in job.name]
    lines += ["", f"{done} of {len(everything)} jobs done; {work} grid is at work now"]
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
    outputs = (output for cell in ran.get("cells", []) for output in cell.get("outputs", []))
    return next((output for output in outputs if output.get("output_type") == "error"), None)


def failure(notebook: Path) -> str:
    """Return the error an executed notebook holds, in one line, or "" when it holds none."""
    return _line(error) if (error := error_of(executed(notebook))) else ""


def message(name: str, notebook: Path, log: str = "snakemake.log") -> str:
    """Return the text on one failed job: what happened, the fix, where to look, and the last lines it left."""
    ran, last = executed(notebook), []
    if not ran:
        return f"{name} failed: it was killed or broke before it had a notebook; {_AGAIN} (what it said is in {log})"
    if error := error_of(ran):
        reason = _line(error)
        if _MEMORY.search(reason):
            reason += f"; {_LESS}"
        elif not _ours(error):  # a KitError names its fix, and its whole traceback is its one sentence
            reason += f"; {_AGAIN}"
            lines = _filled(re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.get("traceback", []))))
            last = [*(line for line in lines if re.match(r"-+> *\d+ ", line)), *lines[-1:]]  # where IPython points, why
    else:
        cells = [cell for cell in ran.get("cells", []) if cell.get("cell_type") == "code"]
        begun = [n for n, cell in enumerate(cells, 1) if cell["metadata"].get("papermill", {}).get("start_time")]
        where = f", in code cell {begun[-1]} of {len(cells)}" if begun else ""
        fix = f"it goes on where it was when you run again; if memory was short, {_LESS}"
        if shutil.disk_usage(notebook.parent).free < FULL:
            fix = f"the disk of {shown(notebook.parent)} is full: free some space there and run again"
        reason = f"it was killed or ran out of memory before it could say why{where}; {fix}"
        last = _filled("".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", [])))
    return f"{name} failed: {reason} (see {shown(notebook)})" + "".join(f"\n    {line[:200]}" for line in last[-LINES:])


def _ours(error: dict[str, Any]) -> bool:
    """Is it a KitError, or of a class below it?"""
    return error["ename"] == "KitError" or "".join(error.get("traceback", [])).startswith("KitError: ")


def _line(error: dict[str, Any]) -> str:
    return f"{'KitError' if _ours(error) else error['ename']}: {error['evalue']}".replace("\n", " ")[:600]


def _filled(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]
