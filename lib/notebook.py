"""What every notebook does first: load its parameters, check what papermill injected, set the plot style."""

from __future__ import annotations

import ast
import difflib
import os
import warnings
from typing import Any

from lib.common.design import run_in_order
from lib.common.files import KitError
from lib.grid.devices import claim
from lib.params.params import Params, load
from lib.tiny.prepare import prepare

_NAMES = {
    "01_generate": ("params_file", "overrides"),
    "02_inspect": ("params_file", "compare", "overrides"),
    "03_train": ("params_file", "subset", "seed", "explain", "overrides"),
    "04_score": ("params_file", "subset", "seed", "explain", "overrides"),
    "05_influence": ("params_file", "results", "overrides"),
}
_TYPES = {
    "params_file": str,
    "subset": str,
    "seed": int,
    "explain": bool,
    "results": str,
    "compare": list,
    "overrides": dict,
}
_ON_GPU = ("01_generate", "03_train", "04_score")


def start(notebook: dict[str, Any], stage: str) -> Params:
    """Return the checked parameters of a notebook, given its ``globals()`` after the parameters cell.

    papermill only warns about parameters a notebook does not know. Here a name that the stage does not have,
    or a value of the wrong type, raises KitError with one sentence.
    """
    allowed = _NAMES[stage]
    for name in _given(notebook):
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            raise KitError(
                f"{stage} has no parameter {name!r}"
                + (
                    f"; did you mean {near[0]!r}?"
                    if near
                    else f"; it has {', '.join(allowed)} (put other parameters into overrides)"
                )
            )
    for name in allowed:
        wanted = _TYPES[name]
        if name in notebook and type(notebook[name]) is not wanted:
            raise KitError(
                f"parameter {name!r} of {stage} is {notebook[name]!r}, but must be of type {wanted.__name__}"
            )
    params = load(notebook["params_file"], notebook.get("overrides"))
    if "subset" in allowed:
        notebook["subset"] = run_in_order(notebook["subset"], base=stage == "04_score")
    if stage in _ON_GPU:
        claim(params.grid.gpus)
    _settle()
    prepare(params)
    if note := params.note():
        print(note)
    return params


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


def _settle() -> None:
    """Quiet, offline-friendly and legible: no telemetry, no forked tokenizers, sharp inline pictures."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", message="IProgress not found")  # plain progress bars are what we want
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None:
        shell.run_line_magic("config", "InlineBackend.figure_format = 'retina'")
