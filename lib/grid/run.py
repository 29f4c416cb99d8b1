"""Run notebooks: the whole grid with Snakemake, or one alone."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

from lib.common.bundled import ROOT, shown
from lib.common.design import FACTORIAL
from lib.common.files import KitError, writing
from lib.grid.jobs import NOTEBOOKS, notebook_of, stage_files
from lib.grid.kernel_server import die_with_parent, kernel_folder, kernel_server
from lib.grid.machine import visible
from lib.grid.results import sentences, to_redo
from lib.grid.status import MARK, failure, message, said
from lib.params.params import Params

# glibc gives each large tensor fresh pages and takes them back, over and over; kept pages train and encode 10 to 20 %
# faster on a processor (other C libraries ignore these names)
KEEP_PAGES = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}
QUIET = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}


def run(
    params: Params, profile: str, overrides: dict, cores: int = 0, extra: Sequence[str] = (), cluster: str = ""
) -> int:
    """Run every job that is not done yet and return Snakemake's exit code; its log is ``snakemake.log``.

    ``cluster`` names a profile of ``params/cluster/``: then the jobs run there and only Snakemake runs here; ``extra``
    are arguments for Snakemake. Raises KitError when another grid is already running on the same run folder.
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
            where = shown(params.study_dir)
            raise KitError(f"another run is at work in {where}; wait for it or stop it first") from None
        files = [path for jobs in stage_files(params).values() for path in jobs.values()]
        for path in (*files, params.results_file):
            # Snakemake deletes a new result that is older than what it is made of, as one from before the clock was set
            if path.exists() and path.stat().st_mtime > time.time():
                os.utime(path)
        redo = to_redo(params)
        for line in [*filter(None, [params.note()]), *(f"{one}; it is made again" for one in sentences(params, redo))]:
            print(line, flush=True)
        with writing(log):
            out.write(f"\n{MARK}\n".encode())
            out.flush()
        snakemake = command(profile, overrides, cores, extra, cluster, list(redo))
        if params.grid.gpus and visible() and not cluster:
            snakemake += ["--resources", f"gpu={len(visible())}"]  # no more jobs than there are devices for
        threads = str(params.grid.threads if cluster else min(params.grid.threads, cores))
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        around = {**KEEP_PAGES, **os.environ, **QUIET, **limits}
        with nullcontext(around) if cluster else kernel_server(around) as environment:
            process = subprocess.Popen(
                snakemake, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, preexec_fn=die_with_parent
            )
            _watch(process, files, f"{params.profile} grid")
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


def _watch(process: subprocess.Popen, files: Sequence[Path], title: str) -> None:
    """Show a bar of finished jobs until Snakemake ends; stop it when we are interrupted."""
    from tqdm import tqdm

    ended = False
    with tqdm(total=len(files), unit="job", desc=title) as bar:
        while not ended:
            try:
                ended = process.poll() is not None
                bar.update(sum(path.exists() for path in files) - bar.n)
                time.sleep(0 if ended else 0.5)
            except KeyboardInterrupt:
                process.terminate()
                process.wait()
                raise


def last_words(params: Params) -> list[str]:
    """Return what Snakemake itself said of errors, for a grid that stopped although no job failed."""
    lines = [line for line in said(params).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("KitError: ")] or [line for line in lines if "Error" in line]
    told, log = told or lines, shown(params.run_dir / "snakemake.log")
    first = f"Snakemake stopped; run again and it goes on where it was (all it said is in {log})"
    return [first, *(f"    {line[:200]}" for line in told[-3:])]


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
    notebook = notebook_of(params, "influence", "influence")
    with writing(notebook):
        notebook.parent.mkdir(parents=True, exist_ok=True)
    source = ROOT / "notebooks" / f"{NOTEBOOKS['influence']}.ipynb"
    failed = execute(source, notebook, {"params_file": profile, "overrides": overrides})
    return [message("influence", notebook)] if failed else []


def execute(source: Path, out: Path, parameters: dict[str, Any] | None = None) -> str:
    """Execute a notebook into ``out``; return the error of the cell that stopped it, in one line, or ""."""
    import papermill

    where = {"cwd": str(source.parent), "kernel_name": "python3", "progress_bar": False}
    with kernel_folder("-m", "ipykernel_launcher") as jupyter_path, open(os.devnull, "w") as nowhere:
        os.environ["JUPYTER_PATH"] = jupyter_path
        try:
            with redirect_stderr(nowhere):
                papermill.execute_notebook(str(source), str(out), parameters, **where)
        except (papermill.PapermillExecutionError, RuntimeError, OSError) as error:  # a dead kernel, a full disk
            return failure(out) or str(error)
    return ""
