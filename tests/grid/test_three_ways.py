"""A notebook gives the same result however it is run: by papermill, by "Run all" (nbclient), or cell by cell."""

import json
import subprocess
import sys

import nbformat
import pytest
from grids import ROOT, cut

STEPPER = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1])):
    result = shell.run_cell(cell)
    result.raise_error()
"""


def with_parameters(notebook, values):
    """Return the notebook as a person would edit it: other values in its parameters cell."""
    book = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", 4)
    cell = next(cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    return book


def by_papermill(notebook, values, folder):
    import papermill

    papermill.execute_notebook(
        str(ROOT / "notebooks" / f"{notebook}.ipynb"),
        str(folder / f"{notebook}.ipynb"),
        values,
        cwd=str(ROOT / "notebooks"),
        kernel_name="python3",
        progress_bar=False,
    )


def by_run_all(notebook, values, folder):
    from nbclient import NotebookClient

    NotebookClient(
        with_parameters(notebook, values),
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT / "notebooks")}},
    ).execute()


def by_stepping(notebook, values, folder):
    cells = [cell.source for cell in with_parameters(notebook, values).cells if cell.cell_type == "code"]
    (folder / "cells.json").write_text(json.dumps(cells))
    done = subprocess.run(
        [sys.executable, "-c", STEPPER, str(folder / "cells.json")],
        cwd=ROOT / "notebooks",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_papermill_run_all_and_stepping_give_the_same_data_and_the_same_adapter(tmp_path):
    found = {}
    for way in (by_papermill, by_run_all, by_stepping):
        folder = tmp_path / way.__name__
        folder.mkdir()
        overrides = cut(folder, **{"study.categories": ["short_short"], "mixture.steps": 3})
        shared = {"params_file": "params/classroom.yaml", "overrides": overrides}
        way("01_generate", shared, folder)
        way("03_train", {**shared, "subset": "ss", "seed": 1, "explain": False}, folder)
        run = folder / "runs/classroom"
        found[way.__name__] = [
            (run / "data/manifest.json").read_bytes(),
            (run / "models/ss/seed1/adapter_model.safetensors").read_bytes(),
        ]
    assert found["by_papermill"] == found["by_run_all"] == found["by_stepping"]
