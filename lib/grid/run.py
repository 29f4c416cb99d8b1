"""Run the grid: one Snakemake call, a progress bar, and at the end what failed, why, and how to mend it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from lib.common import warm
from lib.common.bundled import ROOT
from lib.common.files import KitError, read_json, writing
from lib.grid.devices import grid_limit
from lib.grid.failures import MARK, failure, failures, told
from lib.grid.identity import sentences
from lib.grid.jobs import executed, notebook_of, stage_files
from lib.grid.sound import date_back, unsound
from lib.grid.workload import shown
from lib.params.params import Params
from lib.tiny.prepare import prepare

__all__ = ["command", "failure", "failures", "influence_anyway", "notebook_of", "run", "stage_files", "time_table"]


def command(
    profile: str, overrides: dict, cores: int, extra: Sequence[str] = (), cluster: str = "", forced: Sequence[Path] = ()
) -> list[str]:
    """Return the Snakemake command line of a grid, on this machine or through a profile of ``params/cluster/``.

    ``forced`` are result files whose jobs are run whatever Snakemake thinks of them.
    """
    clusters = sorted(path.parent.name for path in (ROOT / "params" / "cluster").glob("*/config.yaml"))
    if cluster and cluster not in clusters:
        raise KitError(f"there is no cluster profile {cluster!r} in params/cluster; it has {', '.join(clusters)}")
    where = ["--profile", str(ROOT / "params" / "cluster" / cluster)] if cluster else ["--cores", str(cores)]
    return [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--directory",
        str(ROOT),
        *where,
        "--keep-going",
        "--nolock",
        "--rerun-incomplete",
        "--rerun-triggers",
        "mtime",
        *(["--forcerun", *map(str, forced)] if forced else []),
        "--config",
        f"profile={profile}",
        f"overrides={json.dumps(overrides).encode().hex()}",
        *extra,
    ]


def run(
    params: Params, profile: str, overrides: dict, cores: int = 0, extra: Sequence[str] = (), cluster: str = ""
) -> int:
    """Run every job that is not done yet and return Snakemake's exit code; its log is ``snakemake.log``.

    ``cluster`` names a profile of ``params/cluster/``: then the jobs run there and only Snakemake runs here.

    Raises KitError when another grid is already running on the same run folder.
    """
    log, cores = params.run_dir / "snakemake.log", cores or os.cpu_count() or 1
    with writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        params.study_dir.mkdir(parents=True, exist_ok=True)
        lock, out = open(params.study_dir / ".lock", "w"), open(log, "ab")
    with lock, out:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise KitError(
                f"another run is at work in {shown(params.study_dir)}; wait for it or stop it first"
            ) from None
        prepare(params)
        date_back(params)
        forced = unsound(params)
        said = [f"{line}; it is made again" for line in sentences(params, forced)]
        print(*filter(None, [params.note(), *said]), sep="\n", end="\n" if said or params.note() else "", flush=True)
        with writing(log):
            out.write(f"\n{MARK}\n".encode())
            out.flush()
        environment = _environment(params.grid.threads if cluster else min(params.grid.threads, cores))
        snakemake = command(profile, overrides, cores, extra, cluster, list(forced))
        snakemake += [] if cluster else grid_limit(params.grid.gpus)
        with nullcontext(environment) if cluster else warm.server(environment) as environment:
            process = subprocess.Popen(
                snakemake,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=ROOT,
                preexec_fn=warm.die_with_parent,
            )
            _watch(process, params)
        return process.returncode


# glibc gives each large tensor fresh pages and takes them back, over and over; kept pages train and encode 10 to 20 %
# faster on a processor (other C libraries ignore these names)
KEEP_PAGES = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}


def _environment(threads: int) -> dict[str, str]:
    count = str(threads)
    return {
        **KEEP_PAGES,
        **os.environ,
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",
    }


def influence_anyway(params: Params, profile: str, overrides: dict) -> list[str]:
    """Run notebook 05 on an incomplete table, so that finished work shows; return what it could not do."""
    notebook = notebook_of(params, "influence", "influence")
    with writing(notebook):
        notebook.parent.mkdir(parents=True, exist_ok=True)
    values = json.dumps({"params_file": profile, "overrides": overrides})
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            "--cwd",
            "notebooks",
            "--kernel",
            "python3",
            "--no-progress-bar",
            "-y",
            values,
            "notebooks/05_influence.ipynb",
            str(notebook),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=warm.die_with_parent,
    )
    return [told("influence", notebook)] if done.returncode else []


def _watch(process: subprocess.Popen, params: Params) -> None:
    """Show a bar of finished jobs until Snakemake ends; stop it when we are interrupted."""
    from tqdm import tqdm

    files = [path for jobs in stage_files(params).values() for path in jobs.values()]
    with tqdm(total=len(files), unit="job", desc=f"{params.profile} grid") as bar:
        try:
            while process.poll() is None:
                if done := sum(path.exists() for path in files) - bar.n:
                    bar.update(done)
                time.sleep(0.5)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        bar.update(sum(path.exists() for path in files) - bar.n)


def seconds_spent(params: Params) -> dict[str, tuple[int, float, float]]:
    """Return {stage: (jobs, notebook seconds, seconds of the work itself)} from the executed notebooks.

    The work is what 03 and 04 measure themselves (training, scoring); the rest of a notebook's time is its
    kernel's start, imports, loading and drawing.
    """
    measured = {"train": _training_seconds, "score": _scoring_seconds}
    spent: dict[str, tuple[int, float, float]] = {}
    for stage, jobs in stage_files(params).items():
        done = [(path, notebook_of(params, stage, job)) for job, path in jobs.items()]
        done = [(path, notebook) for path, notebook in done if path.exists() and notebook.exists()]
        noted = [executed(notebook).get("metadata", {}).get("papermill", {}) for _, notebook in done]
        walls = [
            max(0.0, one.get("duration") or 0.0) for one in noted
        ]  # a clock that was put back gives less than none
        work = sum(measured[stage](path) for path, _ in done) if stage in measured else sum(walls)
        if done:
            spent[stage] = (len(done), sum(walls), work)
    return spent


def _training_seconds(path: Path) -> float:
    return float(read_json(path)["seconds"])


def _scoring_seconds(path: Path) -> float:
    import pandas as pd

    return float(pd.read_csv(path)["score_seconds"].sum())


def time_table(params: Params, wall: float, cores: int) -> list[str]:
    """Return the lines that say where the time of a grid went."""
    lines = [f"{'stage':<10} {'jobs':>5} {'notebooks':>11} {'work':>9} {'rest':>9}   (seconds of job time)"]
    for stage, (jobs, notebooks, work) in seconds_spent(params).items():
        lines.append(f"{stage:<10} {jobs:>5} {notebooks:>11.0f} {work:>9.0f} {notebooks - work:>9.0f}")
    lines.append(
        f"This call took {wall:.0f} s on {cores} cores; 'work' is training and scoring proper, 'rest' is "
        "kernel start, imports and drawing."
    )
    return lines
