"""The jobs of a grid: which there are, the small file that says one is done, its notebook, and what it took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.common.design import BASE, FACTORIAL, Run
from lib.common.files import read_json
from lib.params.params import Params, answering, generators

NOTEBOOKS = {
    "generate": "01_generate",
    "inspect": "02_inspect",
    "train": "03_train",
    "score": "04_score",
    "influence": "05_influence",
}


def runs(params: Params) -> dict[str, Run]:
    """Return the runs of the study's design by the name of their jobs, such as ``ss+ll/seed0``."""
    return {f"{run.name}/seed{run.seed}": run for run in params.study.runs()}


def answers(params: Params) -> dict[str, Params]:
    """Return {job: parameters of notebook 01}: of the study's own data, and of each generator that is compared."""
    asked = {name: answering(params, name) for name in generators(params)}
    own = params.data_dir
    return {"generate": params} | {name: one for name, one in asked.items() if one.data_dir != own}


def stage_files(params: Params) -> dict[str, dict[str, Path]]:
    """Return stage -> {job: the small result file that is written last, and says that the job is done}."""
    trained = list(runs(params))
    return {
        "generate": {job: asked.data_dir / "manifest.json" for job, asked in answers(params).items()},
        "inspect": {"inspect": params.inspect_file},
        "train": {job: params.models_dir / job / "train.json" for job in trained},
        "score": {job: params.scores_dir / f"{job}.csv" for job in [*trained, f"{BASE}/seed0"]},
        "influence": {"influence": params.influence_file},
    }


def spoken(job: str) -> str:
    """Return a job as people say it: ``ss+ll seed 0``."""
    return job.replace("/seed", " seed ")


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return names in a row, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def notebook_of(params: Params, stage: str, job: str) -> Path:
    """Return the executed notebook of a job, which a failure leaves behind.

    The influence of another design than the factorial has none, and the name says whose is missing.
    """
    folder, name, design = params.run_dir / "notebooks", NOTEBOOKS[stage], params.study.design
    if stage == "influence" and design != FACTORIAL:
        name += f"-{design}"
    return folder / f"{name}.ipynb" if stage == job else folder / name / f"{job.replace('/', '-')}.ipynb"


def executed(notebook: Path) -> dict[str, Any]:
    """Return an executed notebook, {} where there is none or it is half written (papermill is not atomic)."""
    try:
        return json.loads(notebook.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def work_seconds(stage: str, result: Path) -> float | None:
    """Return the seconds of training or scoring proper, as they measured them; None for the other stages.

    The rest of a notebook's time is its kernel's start, imports, loading and drawing.
    """
    if stage == "train":
        return float(read_json(result)["seconds"])
    if stage == "score":
        import pandas as pd

        return float(pd.read_csv(result)["score_seconds"].sum())
    return None
