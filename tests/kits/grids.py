"""A cut of the classroom grid that is small enough for tests, and a killer for it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
MARK = "SYNFLUENCE_TEST"  # in the environment of all processes of a test's grid
KEEP = ("SameQuestion", "EverydaySTS")
CUT = {
    "study.categories": ["short_short", "long_short"],
    "study.extra": [],
    "study.seeds": [0, 1],
    "generation.n": {"short_short": 40, "long_short": 40},
    "public.n": 120,
    "training.batch_size": 8,
    "mixture.steps": 4,
    "mixture.steps_per_category": 1,
    "training.checkpoint_every": 1,
}


def cut(folder: Path, **leaves: object) -> dict:
    """Return the overrides of the cut grid with its files under ``folder``."""
    sets = {path.name.split(".")[0] for path in (ROOT / "lib" / "data" / "classroom" / "suite").glob("*.jsonl")}
    places = {"paths.runs": str(folder / "runs"), "paths.figures": str(folder / "figures")}
    return {**CUT, **places, "scoring.exclude": sorted(sets - set(KEEP)), **leaves}


def start(overrides: dict, profile: str = "classroom") -> subprocess.Popen:
    """Start ``python -m lib reproduce`` on the cut, as the leader of a process group."""
    command = [sys.executable, "-m", "lib", "reproduce", "--profile", profile, "--overrides", json.dumps(overrides)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TQDM_DISABLE": "1", MARK: overrides["paths.runs"]},
        start_new_session=True,
    )


def reproduce(overrides: dict, profile: str = "classroom") -> subprocess.CompletedProcess:
    """Run the cut to its end."""
    process = start(overrides, profile)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def leftovers(name: str, value: str) -> list[psutil.Process]:
    """Return the processes whose environment holds a variable: what a killed grid has left running."""
    mark, found = f"{name}={value}".encode(), []
    for process in psutil.process_iter():
        try:
            held = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            found += [process] if mark in held and process.status() != psutil.STATUS_ZOMBIE else []
        except (OSError, psutil.Error):
            continue
    return found


def gone(name: str, value: str, seconds: float = 10) -> list[list[str]]:
    """Wait until no such process is left; return the command lines of those that still are."""
    deadline = time.monotonic() + seconds
    while (left := leftovers(name, value)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [process.cmdline() for process in left]


def kill_somewhere(process: subprocess.Popen, after: float, rng: random.Random) -> str:
    """Wait ``after`` seconds, then SIGKILL the driver or one of its descendants; return what was hit."""
    try:
        process.wait(after)
        return "it had ended"
    except subprocess.TimeoutExpired:
        pass
    victims = [psutil.Process(process.pid)]
    victims += victims[0].children(recursive=True) if rng.random() < 0.5 else []
    victim = rng.choice(victims)
    try:
        name = " ".join(victim.cmdline())[:80]
        victim.send_signal(signal.SIGKILL)
    except psutil.Error:
        name = "gone already"
    if victim.pid != process.pid:  # a job died; give the grid a moment to notice, then kill the driver too
        time.sleep(0.5)
        process.kill()
    process.communicate()
    return name
