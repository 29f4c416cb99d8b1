"""Each job of a machine with several GPUs gets its own: claimed by lock, released however the job ends."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest

from lib.common.files import KitError
from lib.grid import machine as devices
from lib.grid import run
from lib.params.params import load

HOLD = """
import os, sys
from lib.grid import machine as devices
claimed = devices.claim(int(sys.argv[1]), patience=float(sys.argv[2]))
print(",".join(claimed), os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of three GPUs (their names only: no CUDA is needed to hand them out)."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    monkeypatch.setattr(devices, "_claimed", {})
    yield
    devices.release()


def hold(wanted: int = 1, patience: float = 30.0) -> subprocess.Popen:
    """Start a process that claims devices, tells which, and keeps them until its stdin closes."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(wanted), str(patience)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_jobs_get_different_devices_and_a_killed_job_gives_its_own_back(machine):
    jobs = [hold() for _ in range(3)]
    try:
        got = [job.stdout.readline().split() for job in jobs]
        assert sorted(claimed for claimed, _ in got) == ["0", "1", "2"]
        assert all(claimed == seen for claimed, seen in got)  # each sees its own device and no other

        with pytest.raises(KitError, match="1 of this machine's 3 GPUs are needed and only 0 are free"):
            devices.claim(1, patience=0.3)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2"

        os.kill(jobs[1].pid, signal.SIGKILL)
        jobs[1].wait()
        assert devices.claim(1, patience=5) == [got[1][0]]
    finally:
        for job in jobs:
            job.communicate()


def test_two_jobs_that_want_two_of_three_devices_never_wait_for_each_other(machine):
    first = hold(2)
    claimed = first.stdout.readline().split()[0].split(",")
    second = hold(2)  # one device is free: it must not be kept while waiting
    assert devices.claim(1, patience=20) == [next(iter({"0", "1", "2"} - set(claimed)))]
    devices.release()
    first.communicate()
    assert len(second.stdout.readline().split()[0].split(",")) == 2
    second.communicate()


def test_claiming_twice_keeps_the_device(machine):
    assert devices.claim(1) == ["0"]
    assert devices.claim(1) == ["0"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


@pytest.mark.parametrize("listed, wanted", [("", 1), ("-1", 1), ("GPU-5f", 1), ("0,1", 2), ("0,1", 0)])
def test_nothing_happens_without_a_choice(machine, monkeypatch, listed, wanted):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert devices.claim(wanted) == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == listed


def test_names_after_minus_one_do_not_count_and_a_name_may_hold_it(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1f3c-77, GPU-2a-1b,-1,GPU-9")
    assert devices.visible() == ["GPU-1f3c-77", "GPU-2a-1b"]


class Started(Exception):
    """Snakemake would have been started."""


@pytest.mark.parametrize(
    ("gpus", "listed", "cluster", "limit"),
    [(1, "0,1,2", "", "gpu=3"), (0, "0,1,2", "", None), (1, "", "", None), (1, "0,1,2", "slurm", None)],
)
def test_the_grid_starts_no_more_jobs_than_there_are_devices(tmp_path, monkeypatch, gpus, listed, cluster, limit):
    def start(command, **_):
        raise Started(*command)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    monkeypatch.setattr(run, "kernel_server", nullcontext)
    monkeypatch.setattr(run.subprocess, "Popen", start)
    params = load("classroom", {"paths.runs": str(tmp_path), "grid.gpus": gpus})
    with pytest.raises(Started) as started:
        run.run(params, "classroom", {}, cluster=cluster)
    words = list(started.value.args)
    assert (words[words.index("--resources") + 1] if "--resources" in words else None) == limit
