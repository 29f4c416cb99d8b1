"""Run the grid: one Snakemake call, a progress bar, and what it must know beforehand about files that are not valid."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lib.common.bundled import ROOT, shown
from lib.common.design import FACTORIAL
from lib.common.files import KitError, writing
from lib.common.kernel_client import die_with_parent
from lib.grid.devices import grid_limit
from lib.grid.failures import MARK, message
from lib.grid.identity import date_back, sentences, to_redo
from lib.grid.jobs import NOTEBOOKS, notebook_of, stage_files
from lib.grid.kernel_server import kernel_server
from lib.params.params import Params

# glibc gives each large tensor fresh pages and takes them back, over and over; kept pages train and encode 10 to 20 %
# faster on a processor (other C libraries ignore these names)
KEEP_PAGES = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}


def run(
    params: Params, profile: str, overrides: dict, cores: int = 0, extra: Sequence[str] = (), cluster: str = ""
) -> int:
    """Run every job that is not done yet and return Snakemake's exit code; its log is ``snakemake.log``.

    ``cluster`` names a profile of ``params/cluster/``: then the jobs run there and only Snakemake runs here; ``extra``
    are arguments for Snakemake. Raises KitError when another grid is already running on the same run folder.
    """
    log, cores = params.run_dir / "snakemake.log", cores or os.cpu_count() or 1
    with _locked(params, log) as out:
        date_back(params)
        redo = to_redo(params)
        lines = [*filter(None, [params.note()]), *(f"{line}; it is made again" for line in sentences(params, redo))]
        print("".join(f"{line}\n" for line in lines), end="", flush=True)
        with writing(log):
            out.write(f"\n{MARK}\n".encode())
            out.flush()
        snakemake = command(profile, overrides, cores, extra, cluster, list(redo))
        snakemake += [] if cluster else grid_limit(params.grid.gpus)
        around = _environment(params.grid.threads if cluster else min(params.grid.threads, cores))
        with nullcontext(around) if cluster else kernel_server(around) as environment:
            process = subprocess.Popen(
                snakemake, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, preexec_fn=die_with_parent
            )
            _watch(process, params)
        return process.returncode


def command(
    profile: str, overrides: dict, cores: int, extra: Sequence[str] = (), cluster: str = "", forced: Sequence[Path] = ()
) -> list[str]:
    """Return the Snakemake command line of a grid, on this machine or through a profile of ``params/cluster/``.

    ``forced`` are result files whose jobs are run whatever Snakemake thinks of them.
    """
    clusters = sorted(path.parent.name for path in (ROOT / "params" / "cluster").glob("*/config.yaml"))
    if cluster and cluster not in clusters:
        raise KitError(f"there is no cluster profile {cluster!r} in params/cluster; it has {', '.join(clusters)}")
    words = [sys.executable, *f"-m snakemake --snakefile {ROOT}/Snakefile --directory {ROOT}".split(" ")]
    words += ["--profile", str(ROOT / "params" / "cluster" / cluster)] if cluster else ["--cores", str(cores)]
    words += ["--keep-going", "--nolock", "--rerun-incomplete", "--rerun-triggers", "mtime"]
    words += ["--forcerun", *map(str, forced)] if forced else []
    words += ["--config", f"profile={profile}", f"overrides={json.dumps(overrides).encode().hex()}"]
    return [*words, *extra]


def influence_anyway(params: Params, profile: str, overrides: dict) -> list[str]:
    """Run notebook 05 on an incomplete table, so that finished work shows; return what it could not do.

    Other designs than the factorial have no notebook: their figures are drawn here.
    """
    if params.study.design != FACTORIAL:
        from lib.figures.report import of_design

        try:
            return of_design(params)
        except KitError as error:
            return [f"No figures yet: {error}"]
    notebook, source = notebook_of(params, "influence", "influence"), f"notebooks/{NOTEBOOKS['influence']}.ipynb"
    with writing(notebook):
        notebook.parent.mkdir(parents=True, exist_ok=True)
    values = json.dumps({"params_file": profile, "overrides": overrides})
    words = [sys.executable, *"-m papermill --cwd notebooks --kernel python3 --no-progress-bar -y".split()]
    done = subprocess.run(
        [*words, values, source, str(notebook)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    return [message("influence", notebook)] if done.returncode else []


@contextmanager
def _locked(params: Params, log: Path) -> Iterator:
    """Yield the log, open for appending, while no other grid may run on this run folder."""
    with writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        params.study_dir.mkdir(parents=True, exist_ok=True)
        lock, out = open(params.study_dir / ".lock", "w"), open(log, "ab")
    with lock, out:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            where = shown(params.study_dir)
            raise KitError(f"another run is at work in {where}; wait for it or stop it first") from None
        yield out


def _environment(threads: int) -> dict[str, str]:
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    quiet = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
    return {**KEEP_PAGES, **os.environ, **quiet, **limits}


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
