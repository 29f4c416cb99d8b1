"""The paper's profile from the first prompt to the last figure with the real vLLM, on stand-ins: ``make dry-run``."""

import json
import subprocess
import sys

import pytest
from grids import ROOT
from test_standins import whole


@pytest.mark.long
def test_the_dry_run_ends_with_figures(tmp_path):
    overrides = json.dumps({"paths.runs": str(tmp_path)})
    done = subprocess.run(
        [sys.executable, "tests/standins/dry_run.py", "--profile", "paper", "--overrides", overrides],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    whole(tmp_path)
