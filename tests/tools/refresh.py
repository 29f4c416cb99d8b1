"""Execute the committed notebooks again, in place, with nothing in them of one run or one machine: `make notebooks`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from lib.common.bundled import ROOT
from lib.common.files import KitError, digest_file, read_json, write_text
from lib.grid.run import execute
from lib.params.params import Params, load


def refresh(params: Params, folder: Path = ROOT / "notebooks") -> Iterator[Path]:
    """Execute the notebooks of ``folder`` in order, each with the parameters it holds, and yield it when it is written.

    They read the finished run of ``params`` and do none of its work again. Raises KitError when that run is not
    finished, or for a notebook that stops or shows a folder of this machine; it is left as it was.
    """
    if not (params.run_dir / "influence.json").is_file():
        raise KitError(f"the notebooks read the finished run of {params.profile}; say `make reproduce` first")
    with kept_times(params.run_dir), tempfile.TemporaryDirectory() as scratch:
        for path in sorted(folder.glob("*.ipynb")):
            out = Path(scratch) / path.name
            if why := execute(path, out):
                raise KitError(f"{path.name} stopped ({why}) and is left as it was")
            notebook = cleaned(read_json(out))
            told = json.dumps([cell.get("outputs") for cell in notebook["cells"]], ensure_ascii=False)
            if place := next((place for place in (str(ROOT), f"{Path.home()}/") if place in told), ""):
                raise KitError(
                    f"an output of {path.name} shows {place}, a folder of this machine; print a name instead"
                )
            yield write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def cleaned(notebook: dict) -> dict:
    """Return a notebook without what papermill and Jupyter note about one execution, and each bar in its last state."""
    import nbformat
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    def lasting(part: dict) -> dict:
        kept = {
            k: v for k, v in part["metadata"].items() if k not in ("papermill", "execution") and (k, v) != ("tags", [])
        }
        return {**part, "metadata": kept}

    text = json.dumps({**lasting(notebook), "cells": [lasting(cell) for cell in notebook["cells"]]})
    done, _ = CoalesceStreamsPreprocessor().preprocess(nbformat.reads(text, as_version=4), {})
    return json.loads(nbformat.writes(done))


@contextmanager
def kept_times(folder: Path) -> Iterator[None]:
    """Give files that are written again with the same bytes their old time back.

    Otherwise the next ``make reproduce`` would take them for new and do all that follows from them again.
    """
    before = {path: (path.stat().st_mtime_ns, digest_file(path)) for path in folder.rglob("*") if path.is_file()}
    try:
        yield
    finally:
        for path, (time_then, content) in before.items():
            if path.is_file() and path.stat().st_mtime_ns != time_then and digest_file(path) == content:
                os.utime(path, ns=(time_then, time_then))


if __name__ == "__main__":
    try:
        for done in refresh(load("classroom")):
            print(done, flush=True)
    except KitError as error:
        sys.exit(f"KitError: {error}")
