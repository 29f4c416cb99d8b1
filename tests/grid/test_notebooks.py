"""The committed notebooks: refreshed in place, the same bytes each time, and nothing of the machine in them."""

import json
import os

import pytest
import refresh

from lib.common.bundled import ROOT
from lib.common.files import KitError
from lib.params.params import load


def cell(source, **metadata):
    return {"cell_type": "code", "execution_count": None, "metadata": metadata, "outputs": [], "source": source}


def write(path, *cells):
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({"cells": list(cells), "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4})
    )
    return path


@pytest.fixture
def params(tmp_path):
    """Parameters of a run that looks finished."""
    found = load("classroom", {"paths.runs": str(tmp_path / "runs")})
    found.run_dir.mkdir(parents=True)
    (found.run_dir / "influence.json").write_text("{}")
    return found


def test_the_committed_notebooks_are_clean():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert refresh.cleaned(notebook) == notebook, path.name
        tags = [tag for one in notebook["cells"] for tag in one["metadata"].get("tags", [])]
        assert tags.count("parameters") == 1 and "injected-parameters" not in tags, path.name
        assert all(one["execution_count"] for one in notebook["cells"] if one["cell_type"] == "code"), path.name
        assert str(ROOT) not in json.dumps([one.get("outputs") for one in notebook["cells"]]), path.name


def test_what_belongs_to_one_run_is_taken_out():
    kernel = {"display_name": "Python 3", "name": "python3"}
    streams = [
        {"output_type": "stream", "name": "stderr", "text": text} for text in ("a bar:  50%\r", "a bar: 100%", "\n")
    ]
    dirty = {
        "metadata": {"papermill": {"duration": 3}, "kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 4,
        "cells": [
            cell("1", papermill={}, execution={}, tags=["parameters"]),
            {**cell("2", tags=[]), "outputs": streams},
        ],
    }
    clean = refresh.cleaned(dirty)
    assert clean["metadata"] == {"kernelspec": kernel}
    assert [one["metadata"] for one in clean["cells"]] == [{"tags": ["parameters"]}, {}]
    assert [output["text"] for output in clean["cells"][1]["outputs"]] == [["a bar: 100%\n"]]
    assert refresh.cleaned(clean) == clean


def test_files_written_again_keep_their_time_unless_they_changed(tmp_path):
    same, changed = tmp_path / "a" / "same", tmp_path / "changed"
    same.parent.mkdir()
    for path in (same, changed):
        path.write_text("one")
        os.utime(path, ns=(10**18, 10**18))
    with refresh.kept_times(tmp_path):
        same.write_text("one")
        changed.write_text("two")
    assert same.stat().st_mtime_ns == 10**18 and changed.stat().st_mtime_ns > 10**18


def test_a_run_that_is_not_finished_is_said(tmp_path):
    with pytest.raises(KitError, match="say `make reproduce` first"):
        next(refresh.refresh(load("classroom", {"paths.runs": str(tmp_path)}), tmp_path))


@pytest.mark.slow
def test_notebooks_are_executed_as_they_stand_and_written_once_they_are_right(tmp_path, params):
    first = write(tmp_path / "books" / "1.ipynb", cell("number = 1", tags=["parameters"]), cell("print(number + 1)"))
    stops = write(tmp_path / "books" / "2.ipynb", cell("raise ValueError('no such luck')"))
    before = stops.read_bytes()
    with pytest.raises(KitError, match="2.ipynb stopped .ValueError: no such luck. and is left as it was"):
        list(refresh.refresh(params, tmp_path / "books"))
    done = json.loads(first.read_text())
    assert done["cells"][1]["outputs"][0]["text"] == ["2\n"] and len(done["cells"]) == 2
    assert "papermill" not in first.read_text() and stops.read_bytes() == before
    written = first.read_bytes()
    write(stops, cell(f"print({str(ROOT)!r})"))
    with pytest.raises(KitError, match="an output of 2.ipynb shows .*, a folder of this machine"):
        list(refresh.refresh(params, tmp_path / "books"))
    assert first.read_bytes() == written
