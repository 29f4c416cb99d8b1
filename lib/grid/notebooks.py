"""The committed notebooks: executed again in place, with nothing in them that belongs to one run or one machine."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from lib.common.bundled import ROOT
from lib.common.files import KitError, digest_file, read_json, write_text
from lib.grid.failures import failure
from lib.grid.kernel_server import kernel_folder
from lib.params.params import Params

OF_ONE_RUN = ("papermill", "execution")  # metadata that hold times of execution


def refresh(params: Params, folder: Path = ROOT / "notebooks") -> Iterator[Path]:
    """Execute the notebooks of ``folder`` in order, each with the parameters it holds, and yield it when it is written.

    They read the finished run of ``params`` and do none of its work again. Raises KitError when that run is not
    finished, or for a notebook that stops or shows a folder of this machine; it is left as it was.
    """
    if not (params.run_dir / "influence.json").is_file():
        raise KitError(f"the notebooks read the finished run of {params.profile}; say `make reproduce` first")
    with kept_times(params.run_dir):
        for path in sorted(folder.glob("*.ipynb")):
            notebook = cleaned(execute(path))
            shown = next((place for place in (str(ROOT), f"{Path.home()}/") if place in _outputs(notebook)), "")
            if shown:
                raise KitError(
                    f"an output of {path.name} shows {shown}, a folder of this machine; print a name instead"
                )
            yield write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def execute(path: Path) -> dict:
    """Return the executed notebook. Raises KitError, with the error of the cell that stopped it."""
    from papermill.exceptions import PapermillExecutionError

    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / path.name
        try:
            _papermill(path, out)
        except PapermillExecutionError:
            raise KitError(f"{path.name} stopped ({failure(out)}) and is left as it was") from None
        return read_json(out)


def run_one(name: str, out: Path, given: Sequence[Sequence[str]], overrides: dict[str, Any]) -> None:
    """Execute a notebook of the kit into ``out`` with the parameters ``given`` as (name, value as YAML) and overrides.

    Raises KitError in one sentence: for a parameter the notebook does not have, or whatever stopped it.
    """
    import yaml
    from papermill.exceptions import PapermillExecutionError

    known = sorted((ROOT / "notebooks").glob("*.ipynb"))
    found = [path for path in known if path.stem.startswith(name)]
    if len(found) != 1:
        raise KitError(f"no notebook {name!r}; there are {', '.join(path.stem for path in known)}")
    parameters: dict[str, Any] = {"overrides": overrides} if overrides else {}
    for key, value in given:
        if "." in key:
            raise KitError(f"{key} is no parameter of the notebook itself; write --overrides '{{\"{key}\": {value}}}'")
        parameters[key] = yaml.safe_load(value)
    try:
        with (
            kernel_folder("-m", "ipykernel_launcher") as path,
            open(os.devnull, "w") as nowhere,
            redirect_stderr(nowhere),
        ):
            os.environ["JUPYTER_PATH"] = path  # of this process, whose only work it is
            _papermill(found[0], out, parameters)
    except PapermillExecutionError:
        reason = failure(out).removeprefix("KitError: ")
        raise KitError(f"{reason} (in {found[0].name}; as far as it came it is in {out})") from None


def _papermill(source: Path, out: Path, parameters: dict[str, Any] | None = None) -> None:
    import papermill

    where = {"cwd": str(source.parent), "kernel_name": "python3"}
    papermill.execute_notebook(str(source), str(out), parameters, progress_bar=False, **where)


def cleaned(notebook: dict) -> dict:
    """Return a notebook without what papermill and Jupyter note about one execution, and each bar in its last state."""
    import nbformat
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    cells = [{**cell, "metadata": _lasting(cell["metadata"])} for cell in notebook["cells"]]
    lasting = nbformat.reads(
        json.dumps({**notebook, "metadata": _lasting(notebook["metadata"]), "cells": cells}), as_version=4
    )
    return json.loads(nbformat.writes(CoalesceStreamsPreprocessor().preprocess(lasting, {})[0]))


def _lasting(metadata: dict) -> dict:
    return {key: value for key, value in metadata.items() if key not in OF_ONE_RUN and (key, value) != ("tags", [])}


def _outputs(notebook: dict) -> str:
    return json.dumps([cell.get("outputs") for cell in notebook["cells"]], ensure_ascii=False)


@contextmanager
def kept_times(folder: Path) -> Iterator[None]:
    """Give files that are written again with the same bytes their old time back.

    Otherwise the next ``make reproduce`` would take them for new and do all that follows from them again.
    """
    before = {path: (path.stat().st_mtime_ns, digest_file(path)) for path in folder.rglob("*") if path.is_file()}
    try:
        yield
    finally:
        for path, (time, content) in before.items():
            if path.is_file() and path.stat().st_mtime_ns != time and digest_file(path) == content:
                os.utime(path, ns=(time, time))
