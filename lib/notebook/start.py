"""What every notebook does first: load its parameters, check what papermill injected, set the plot style."""

from __future__ import annotations

import ast
import difflib
import os
import warnings
from typing import Any

from IPython import get_ipython

from lib.common.bundled import shown
from lib.common.design import BASE, run_in_order
from lib.common.files import KitError
from lib.generate.dataset import share_out
from lib.grid.machine import claim
from lib.params.params import Params, answering, load, of_run

_OF_A_RUN = {"subset": str, "seed": int, "explain": bool}
_PARAMETERS = {  # of each notebook, between params_file and overrides
    "01_generate": {"generator": str},
    "02_inspect": {"compare": list},
    "03_train": _OF_A_RUN,
    "04_score": _OF_A_RUN,
    "05_influence": {"results": str},
    "06_predict": {"merge": list, "sample": int},
    "07_improve": {"fresh": bool, "splits": int},
    "08_why": {"sample": int},
}
_ON_GPU = ("01_generate", "03_train", "04_score", "08_why")


def start(notebook: dict[str, Any], stage: str) -> Params:
    """Return the checked parameters of a notebook, given its ``globals()`` after the parameters cell.

    papermill only warns about parameters a notebook does not know. Here a name that the stage does not have, a value of
    the wrong type, or a notebook whose data are not there yet, raises KitError with one sentence.
    """
    allowed = {"params_file": str, **_PARAMETERS[stage], "overrides": dict}
    for name in _given(notebook):
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            others = f"it has {', '.join(allowed)} (put other parameters into overrides)"
            raise KitError(f"{stage} has no parameter {name!r}; {f'did you mean {near[0]!r}?' if near else others}")
    for name, kind in allowed.items():
        if name in notebook and type(notebook[name]) is not kind:
            raise KitError(f"parameter {name!r} of {stage} is {notebook[name]!r}, but must be of type {kind.__name__}")
    params = load(notebook["params_file"], notebook.get("overrides"))
    if "subset" in allowed:
        notebook["subset"] = run_in_order(notebook["subset"], base=stage == "04_score")
        share_out(params)
        params = of_run(params, notebook["subset"])
        _data_first(params, stage, notebook["subset"])
    if notebook.get("generator"):
        params = answering(params, notebook["generator"])
    if stage in _ON_GPU:
        claim(params.grid.gpus)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", message="IProgress not found")  # plain progress bars are what we want
    if shell := get_ipython():
        shell.run_line_magic("config", "InlineBackend.figure_format = 'retina'")
    if note := params.note():
        print(note)
    return params


def _data_first(params: Params, stage: str, subset: str) -> None:
    """Raise KitError where there is nothing to train on, or nothing that an adapter to score could be made of."""
    if (params.data_dir / "manifest.json").is_file() or subset == BASE:
        return
    if stage == "04_score" and any(folder.is_dir() for folder in (params.models_dir, params.study_dir / "models")):
        return  # adapters that are there can be scored, whatever became of their data
    steps = "notebook 01_generate first" + (", then 03_train" if stage == "04_score" else "")
    raise KitError(f"there are no training data in {shown(params.data_dir)} yet; run {steps} (or `make reproduce`)")


def _given(notebook: dict[str, Any]) -> list[str]:
    """Return the names that the parameter cells set: those run just before this one, papermill's own among them.

    Everything else that a kernel holds by now, from an earlier run of the notebook, is none of our business.
    """
    cells = notebook.get("In")
    if not isinstance(cells, list):  # not in IPython
        return [name for name, value in notebook.items() if not name.startswith("_") and not callable(value)]
    names: list[str] = []
    for cell in reversed(cells[:-1]):
        found = _assigned(cell)
        names += found
        if not found or "params_file" in found:
            return names if found else []
    return []


def _assigned(cell: str) -> list[str]:
    """Return the names a cell sets if it does nothing but set names to literals, else []."""
    try:
        lines = ast.parse(cell).body
        targets = [target for line in lines for target in line.targets if ast.literal_eval(line.value) or True]
        return [target.id for target in targets]
    except (SyntaxError, ValueError, AttributeError):
        return []
