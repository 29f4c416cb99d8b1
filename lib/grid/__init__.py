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

from lib.design import BASE
from lib.files import KitError, read_json
from lib.grid import warm
from lib.grid.devices import grid_limit
from lib.params import ROOT, Params


def stage_files(params: Params) -> dict[str, dict[str, Path]]:
    """Return the done-mask's files: stage -> {job: the small result file that is written last}."""
    from lib.designs import design_runs

    runs = design_runs(params.study.design, params.study.seeds, params.study.categories)
    jobs = {f"{run.name}/seed{run.seed}": run for run in runs}
    folder = params.run_dir
    return {
        "generate": {"generate": folder / "data" / "manifest.json"},
        "inspect": {"inspect": folder / "inspect.json"},
        "train": {job: folder / "models" / job / "train.json" for job in jobs},
        "score": {job: folder / "scores" / f"{job}.csv" for job in [f"{BASE}/seed0", *jobs]},
        "influence": {"influence": folder / "influence.json"},
    }


def notebook_of(params: Params, stage: str, job: str) -> Path:
    """Return the executed notebook of a job, which a failure leaves behind."""
    number = {"generate": "01_generate", "inspect": "02_inspect", "train": "03_train", "score": "04_score",
              "influence": "05_influence"}[stage]
    folder = params.run_dir / "notebooks"
    return folder / f"{number}.ipynb" if stage == job else folder / number / f"{job.replace('/', '-')}.ipynb"


def failure(notebook: Path) -> str | None:
    """Return the error an executed notebook holds, in one line, or None when it holds none."""
    if not notebook.exists():
        return None
    for cell in read_json(notebook).get("cells", []):
        for output in cell.get("outputs", []):
            if output.get("output_type") == "error":
                return f"{output['ename']}: {output['evalue']}".replace("\n", " ")[:400]
    return None


def failures(params: Params) -> list[str]:
    """Return one sentence per job that has no result but an executed notebook: what happened and where to look."""
    sentences = []
    for stage, jobs in stage_files(params).items():
        for job, path in jobs.items():
            notebook = notebook_of(params, stage, job)
            if not path.exists() and notebook.exists():
                reason = failure(notebook) or "it was killed or ran out of memory before it could say why"
                sentences.append(f"{stage} {job} failed: {reason} (see {_short(notebook)})")
    return sentences


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def command(profile: str, overrides: dict, cores: int, extra: Sequence[str] = (), cluster: str = "") -> list[str]:
    """Return the Snakemake command line of a grid, on this machine or through a profile of ``params/cluster/``."""
    clusters = sorted(path.parent.name for path in (ROOT / "params" / "cluster").glob("*/config.yaml"))
    if cluster and cluster not in clusters:
        raise KitError(f"there is no cluster profile {cluster!r} in params/cluster; it has {', '.join(clusters)}")
    where = ["--profile", str(ROOT / "params" / "cluster" / cluster)] if cluster else ["--cores", str(cores)]
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(ROOT),
        *where, "--keep-going", "--nolock", "--rerun-incomplete", "--rerun-triggers", "mtime", "params",
        "--config", f"profile={profile}", f"overrides={json.dumps(overrides).encode().hex()}", *extra,
    ]


def run(params: Params, profile: str, overrides: dict, cores: int = 0, extra: Sequence[str] = (),
        cluster: str = "") -> int:
    """Run every job that is not done yet and return Snakemake's exit code; its log is ``snakemake.log``.

    ``cluster`` names a profile of ``params/cluster/``: then the jobs run there and only Snakemake runs here.

    Raises KitError when another grid is already running on the same run folder.
    """
    log = params.run_dir / "snakemake.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        lock = open(params.run_dir / ".lock", "w")
    except OSError as error:
        raise KitError(f"cannot write to {_short(params.run_dir)} ({error.strerror}); "
                       "choose another paths.runs") from None
    with lock, open(log, "ab") as out:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise KitError(f"another run is at work in {_short(params.run_dir)}; "
                           "wait for it or stop it first") from None
        threads = str(params.grid.threads if cluster else min(params.grid.threads, cores or os.cpu_count() or 1))
        environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": threads,
                       "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
        snakemake = command(profile, overrides, cores or os.cpu_count() or 1, extra, cluster)
        snakemake += [] if cluster else grid_limit(params.grid.gpus)
        with nullcontext(environment) if cluster else warm.server(environment) as environment:
            process = subprocess.Popen(snakemake, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=ROOT,
                                       preexec_fn=warm.die_with_parent)
            _watch(process, params)
        return process.returncode


def influence_anyway(params: Params, profile: str, overrides: dict) -> list[str]:
    """Run notebook 05 on an incomplete table, so that finished work shows; return what it could not do."""
    notebook = notebook_of(params, "influence", "influence")
    notebook.parent.mkdir(parents=True, exist_ok=True)
    values = json.dumps({"params_file": profile, "overrides": overrides})
    done = subprocess.run([sys.executable, "-m", "papermill", "--cwd", "notebooks", "--kernel", "python3",
                           "--no-progress-bar", "-y", values, "notebooks/05_influence.ipynb", str(notebook)],
                          cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return [f"influence failed: {failure(notebook)} (see {_short(notebook)})"] if done.returncode else []


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
        walls = [read_json(notebook)["metadata"].get("papermill", {}).get("duration") or 0.0 for _, notebook in done]
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
    lines.append(f"This call took {wall:.0f} s on {cores} cores; 'work' is training and scoring proper, 'rest' is "
                 "kernel start, imports and drawing.")
    return lines
