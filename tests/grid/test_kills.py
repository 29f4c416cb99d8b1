"""SIGKILL at any moment of a whole grid: the clean run after it ends in the same bytes, and nothing finished is redone.

KILLS=30 is how many, KILL_SEED=0 draws the moments, and KILL_GRID=full takes the whole classroom study instead of a cut
(KILL_REFERENCE=folder: compare with the finished ``runs/classroom`` there instead of making one).
"""

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from grids import MARK, cut, gone, reproduce, start

from lib.grid import status
from lib.params.params import load

KILLS, SEED, WHOLE = (
    int(os.environ.get("KILLS", 30)),
    int(os.environ.get("KILL_SEED", 0)),
    os.environ.get("KILL_GRID") == "full",
)
STAGES = ("start", "generate", "inspect", "train", "score", "collect", "influence")
WEIGHTS = (2, 4, 2, 7, 8, 1, 4)
NOTEBOOKS = {"01": "generate", "02": "inspect", "03": "train", "04": "score", "05": "influence"}


def overrides(folder):
    if WHOLE:
        return {"paths.runs": str(folder / "runs"), "paths.figures": str(folder / "figures")}
    return cut(folder, **{"study.seeds": [0], "mixture.steps": 3})


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """An uninterrupted run: (its folder, mean seconds of a notebook of each stage)."""
    folder = Path(os.environ.get("KILL_REFERENCE") or tmp_path_factory.mktemp("reference"))
    if "KILL_REFERENCE" not in os.environ:
        process = start(overrides(folder))
        out, err = process.communicate(timeout=7200)
        assert process.returncode == 0, out + err
    spans = {"start": 5.0, "collect": 0.6}
    for stage in NOTEBOOKS.values():
        seconds = [
            job.seconds
            for job in status.jobs(load("classroom", overrides(folder)))
            if job.stage == stage and job.seconds
        ]
        spans[stage] = sum(seconds) / len(seconds)
    return folder, spans


def at_work(process: subprocess.Popen) -> dict[str, str]:
    """Return {executed notebook, or "collect": stage} of the jobs that run just now; {"": "start"} when none does."""
    found = {}
    try:
        for child in psutil.Process(process.pid).children(recursive=True):
            line = child.cmdline() if child.is_running() else []
            if "papermill" in line and (made := re.search(r"/notebooks/(0\d)_\w+[./]", line[-1])):
                found[line[-1]] = NOTEBOOKS[made[1]]
            elif line[1:4] == ["-m", "lib", "collect"]:
                found["collect"] = "collect"
    except psutil.Error:
        pass
    return found or {"": "start"}


def wait_for(process: subprocess.Popen, stage: str, run: Path) -> None:
    """Wait until a job of the stage, or of one that comes after it, is at work (the base's scoring waits for nothing).

    The inspection is waited for until it is over: trainings, which need only the same data, may begin before it.
    """
    while process.poll() is None:
        busy = [one for notebook, one in at_work(process).items() if "/base-seed" not in notebook]
        passed = stage != "inspect" or (run / "inspect.json").exists()
        if stage in busy or passed and max(map(STAGES.index, busy), default=0) >= STAGES.index(stage):
            return
        time.sleep(0.05)


def linger(process: subprocess.Popen, stage: str, seconds: float) -> None:
    """Let the stage work for some seconds, but not past its end: the stage after it is to be killed too."""
    end = time.time() + seconds
    while time.time() < end and stage in at_work(process).values():
        time.sleep(0.05)


def finished(run: Path, busy: dict[str, str], killed: float) -> dict[Path, int]:
    """Return {file: when it was written} of all that was finished when the grid was killed: adapters, scores, results.

    Results count three seconds after they were written: Snakemake has to have seen the end of their job.
    """
    adapters = [record.with_name("adapter_model.safetensors") for record in run.glob("models/*/*/.train.json")]
    results = [
        *run.glob("models/*/*/train.json"),
        *run.glob("scores/*/seed?.csv"),
        run / "data/manifest.json",
        run / "inspect.json",
    ]
    names = {Path(notebook).stem.removeprefix("01_").removeprefix("02_") for notebook in busy}
    resting = [
        path
        for path in results
        if path.exists()
        and killed - path.stat().st_mtime > 3
        and not names
        & {
            f"{path.parent.parent.name}-{path.parent.name}",
            f"{path.parent.name}-{path.stem}",
            path.stem,
            "generate" if path.stem == "manifest" else "",
        }
    ]
    return {path: path.stat().st_mtime_ns for path in [*adapters, *run.glob("scores/store/*.json"), *resting]}


@pytest.mark.long
def test_thirty_kills_and_then_the_same_bytes(reference, tmp_path):
    folder, spans = reference
    rng, hit, done = random.Random(SEED), Counter(), {}
    aims = sorted([*STAGES, *rng.choices(STAGES, WEIGHTS, k=KILLS)][: max(KILLS, len(STAGES))], key=STAGES.index)
    for aim in aims:
        process = start(overrides(tmp_path))
        wait_for(process, aim, tmp_path / "runs" / "classroom")
        linger(process, aim, rng.uniform(0, 0.9 * spans[aim]))
        busy = at_work(process)
        assert process.poll() is None, "the grid ended before the last kill: " + process.communicate()[0]
        killed = time.time()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert gone(MARK, str(tmp_path / "runs")) == []
        hit.update(set(busy.values()))
        print(f"aimed at {aim}, hit {', '.join(sorted(set(busy.values())))}", flush=True)
        run = tmp_path / "runs" / "classroom"
        again = [
            path.relative_to(run) for path, made in done.items() if not path.exists() or path.stat().st_mtime_ns != made
        ]
        assert not again, f"finished before the kill, and done again: {again}"
        done |= finished(run, busy, killed)
    assert set(hit) == set(STAGES), hit
    last = reproduce(overrides(tmp_path))
    assert last.returncode == 0, last.stdout + last.stderr
    assert [path for path, made in done.items() if path.stat().st_mtime_ns != made] == []
    assert same(tmp_path, folder) == []


def same(one: Path, other: Path) -> list[str]:
    """Return the names of results and adapters that differ."""
    names = [
        "results.csv",
        "draws.csv",
        *(
            str(path.relative_to(other / "runs/classroom"))
            for path in other.glob("runs/classroom/models/*/*/adapter_*")
        ),
    ]
    return [
        name
        for name in names
        if (one / "runs/classroom" / name).read_bytes() != (other / "runs/classroom" / name).read_bytes()
    ]
