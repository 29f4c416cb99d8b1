"""What every notebook does first: load its parameters, check what papermill injected, set the plot style."""

from __future__ import annotations

import difflib
import os
import warnings
from typing import Any

from lib.design import BASE, parse_run
from lib.files import KitError
from lib.grid.devices import claim
from lib.params import Params, load
from lib.tiny import prepare

_NAMES = {
    "01_generate": ("params_file", "overrides"),
    "02_inspect": ("params_file", "compare", "overrides"),
    "03_train": ("params_file", "subset", "seed", "explain", "overrides"),
    "04_score": ("params_file", "subset", "seed", "explain", "overrides"),
    "05_influence": ("params_file", "results", "overrides"),
}
_TYPES = {"params_file": str, "subset": str, "seed": int, "explain": bool, "results": str, "compare": list, "overrides": dict}
_ON_GPU = ("01_generate", "03_train", "04_score")
_JUPYTER = {"In", "Out", "get_ipython", "exit", "quit", "open", "start"}


def start(notebook: dict[str, Any], stage: str) -> Params:
    """Return the checked parameters of a notebook, given its ``globals()`` after the parameters cell.

    papermill only warns about parameters a notebook does not know. Here a name that the stage does not have,
    or a value of the wrong type, raises KitError with one sentence.
    """
    allowed = _NAMES[stage]
    for name, value in notebook.items():
        if name.startswith("_") or name in _JUPYTER or callable(value) or type(value).__name__ == "module":
            continue
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            raise KitError(f"{stage} has no parameter {name!r}" + (f"; did you mean {near[0]!r}?" if near else
                           f"; it has {', '.join(allowed)} (put other leaves into overrides)"))
    for name in allowed:
        wanted = _TYPES[name]
        if name in notebook and type(notebook[name]) is not wanted:
            raise KitError(f"parameter {name!r} of {stage} is {notebook[name]!r}, but must be of type {wanted.__name__}")
    params = load(notebook["params_file"], notebook.get("overrides"))
    if "subset" in allowed and not (stage == "04_score" and notebook["subset"] == BASE):
        parse_run(notebook["subset"])
    if stage in _ON_GPU:
        claim(params.grid.gpus)
    _settle()
    prepare(params)
    return params


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
