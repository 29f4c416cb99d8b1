"""A cut of the classroom grid through a real SLURM cluster of one node: sbatch, srun, queue, requests and all.

Needs root and Debian's packages (tests/slurm/install.sh); skipped, with the reason, without them.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from grids import KEEP, ROOT, cut
from slurm.cluster import Cluster, missing

# Only for the test's patience and for a cluster without an accounting database; a real one keeps the profile's values.
# Notebook 05 is left out: it needs more runs than two.
QUICK = [
    "--slurm-status-command",
    "squeue",
    "--slurm-init-seconds-before-status-checks",
    "12",
    "--latency-wait",
    "10",
    "--until",
    "collect",
    "inspect",
]


@pytest.mark.long
@pytest.mark.skipif(bool(missing()), reason=missing() or "SLURM is here")
def test_the_grid_runs_through_slurm():
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Cluster(Path(folder) / "cluster") as slurm:
        overrides = cut(Path(folder), **{"study.categories": ["short_short"], "study.seeds": [0]})
        command = [sys.executable, "-m", "lib", "reproduce", "--cluster", "slurm", "--overrides", json.dumps(overrides)]
        done = subprocess.run(
            [*command, "--snakemake", *QUICK],
            env=slurm.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=900,
        )
        log = Path(folder, "runs/classroom/snakemake.log").read_text()
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + log[-4000:]
        jobs = [
            dict(re.findall(r"(\w+)=(\S*)", line))
            for line in slurm.run("scontrol", "--oneliner", "show", "jobs").splitlines()
            if "JobId=" in line
        ]
        results = pd.read_csv(f"{folder}/runs/classroom/results.csv", keep_default_na=False)

    assert set(results["subset"]) == {"base", "none", "ss"}
    assert set(results["task"]) == set(KEEP) and len(results) == 3 * len(KEEP)
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    ran = [job["Comment"].removeprefix("rule_").split("_wildcards")[0] for job in jobs]
    assert {rule: ran.count(rule) for rule in ran} == {"generate": 1, "inspect": 1, "train": 2, "score": 3}

    asked = yaml.safe_load((ROOT / "params/cluster/slurm/config.yaml").read_text())
    for rule, job in zip(ran, jobs, strict=True):  # every job asked SLURM for what the profile says
        wanted = asked["set-resources"][rule]
        assert _megabytes(job["MinMemoryNode"]) == wanted["mem_mb"]
        assert f"cpu={asked['set-threads'][rule]}," in job["TRES"]
        assert _minutes(job["TimeLimit"]) == wanted["runtime"]
        assert job.get("TresPerJob", "") == ("gres:gpu:1" if wanted["gpu"] else "")


def _megabytes(memory: str) -> float:
    return float(memory[:-1]) * {"M": 1, "G": 1024}[memory[-1]]


def _minutes(limit: str) -> int:
    days, _, clock = limit.rpartition("-")
    hours, minutes, _ = map(int, clock.split(":"))
    return int(days or 0) * 1440 + hours * 60 + minutes
