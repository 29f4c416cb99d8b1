"""The jobs of a grid: which there are, the small file that says one is done, and its executed notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lib.common.design import BASE
from lib.params.params import Params


def stage_files(params: Params) -> dict[str, dict[str, Path]]:
    """Return the done-mask's files: stage -> {job: the small result file that is written last}."""
    from lib.common.design import design_runs

    runs = design_runs(params.study.design, params.study.seeds, params.study.categories)
    jobs = {f"{run.name}/seed{run.seed}": run for run in runs}
    return {
        "generate": {"generate": params.data_dir / "manifest.json"},
        "inspect": {"inspect": params.inspect_file},
        "train": {job: params.models_dir / job / "train.json" for job in jobs},
        "score": {job: params.scores_dir / f"{job}.csv" for job in [f"{BASE}/seed0", *jobs]},
        "influence": {"influence": params.run_dir / "influence.json"},
    }


def notebook_of(params: Params, stage: str, job: str) -> Path:
    """Return the executed notebook of a job, which a failure leaves behind."""
    number = {
        "generate": "01_generate",
        "inspect": "02_inspect",
        "train": "03_train",
        "score": "04_score",
        "influence": "05_influence",
    }[stage]
    folder = params.run_dir / "notebooks"
    return folder / f"{number}.ipynb" if stage == job else folder / number / f"{job.replace('/', '-')}.ipynb"


def executed(notebook: Path) -> dict[str, Any]:
    """Return an executed notebook, {} when there is none or it is half written (papermill does not write atomically)."""
    try:
        return json.loads(notebook.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
