"""Exercises: solved answers pass, blank copies fail with a sentence, typical mistakes get their own."""

import json

import nbformat
import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from lib.common.bundled import ROOT
from lib.common.files import KitError
from lib.notebook import cells
from lib.notebook.cells import check, hints
from lib.notebook.exercises import EXERCISES

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def tagged(notebook, tag):
    return [cell for cell in notebook["cells"] if tag in cell["metadata"].get("tags", [])]


def cut(notebook):
    """The notebook's exercise and its check alone, which is all that a check needs."""
    cells = [cell for cell in notebook["cells"] if {"exercise", "check"} & {*cell["metadata"].get("tags", [])}]
    return {**notebook, "cells": [{**cell, "metadata": {}} for cell in cells]}


def run(notebook):
    """Run a cut notebook's cells in one namespace, as a kernel would."""
    space = {"explain": True}
    for cell in notebook["cells"]:
        exec("".join(cell["source"]), space)


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_right_passes_and_every_typical_mistake_gets_its_own_sentence(name):
    reference, _, mistakes = EXERCISES[name]
    assert check(name, reference).startswith("right: ")
    assert set(hints()[name]) == set(mistakes)
    for kind, mistake in mistakes.items():
        with pytest.raises(KitError) as told:
            check(name, mistake)
        assert str(told.value) == f"not yet: {hints()[name][kind]}"


def test_an_unknown_mistake_is_told_with_a_case_and_both_values():
    with pytest.raises(KitError, match="of 4 cases 0 are right; the one right document .* gives 0.0000, .* 0.5000"):
        check("ndcg", lambda gains, grades: 0.0)
    with pytest.raises(KitError, match="ndcg returns nothing"):
        check("ndcg", lambda gains, grades: None)
    with pytest.raises(KitError, match="ndcg stops with ZeroDivisionError: division by zero"):
        check("ndcg", lambda gains, grades: 1 / 0)
    with pytest.raises(KitError, match="there is no exercise 'dcg'; there are reading, overlap"):
        check("dcg", max)


def test_an_array_or_a_tensor_of_one_number_is_a_number(recwarn):
    effect, loss = EXERCISES["main_effect"][0], EXERCISES["infonce"][0]
    assert check("main_effect", lambda *given: np.array([effect(*given)])).startswith("right: ")
    assert check("infonce", lambda *given: loss(*given).reshape(1).requires_grad_()).startswith("right: ")
    assert not recwarn.list


def test_the_reference_of_ndcg_is_that_of_scikit_learn():
    found, missed = [0, 2, 0, 1, 0, 0, 1], [3, 1]
    truth, places = np.array([found + missed]), -np.arange(9.0)
    assert EXERCISES["ndcg"][0](found, found + missed) == pytest.approx(ndcg_score(truth, places[None], k=7))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_and_its_exercise_are_in_step(path):
    solved = json.loads(path.read_text(encoding="utf-8"))
    blank = cells.exercise(solved, path.name)
    if blank is None:
        assert path.name[:2] > "06", f"{path.name} has lost its exercise"
        return
    nbformat.validate(blank)
    run(cut(solved))
    with pytest.raises(KitError, match="is not written yet; put your code in place of the line"):
        run(cut(blank))
    (was,), (now,) = tagged(solved, "exercise"), tagged(blank, "exercise")
    kept = "".join(was["source"]).split(cells.BEGIN)[0]
    assert "".join(now["source"]).startswith(kept.rstrip(" ")) and cells.BEGIN not in json.dumps(blank)
    code = [cell for cell in blank["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


def book(tmp_path, *cells):
    kinds = {"cell_type": "code", "outputs": [], "execution_count": 1}
    made = [{"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# A\n![x](ideas/a.png)"}]
    made += [
        {**kinds, "id": f"c{i}", "metadata": {"tags": tags}, "source": text} for i, (tags, text) in enumerate(cells)
    ]
    path = tmp_path / "notebooks" / "09_mine.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


IDEA = "def f(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n\nf(1)"


def test_any_notebook_can_have_an_exercise_and_work_is_never_overwritten(tmp_path):
    path = book(tmp_path, (["exercise"], IDEA), (["check"], "f(1)"))
    out = tmp_path / "runs" / "exercises"
    (line,) = cells.write_all(out, path.parent)
    assert line.endswith("exercises/09_mine.ipynb")
    made = json.loads((out / path.name).read_text())
    assert "".join(made["cells"][0]["source"]) == "# A\n![x](../../notebooks/ideas/a.png)"
    assert "".join(made["cells"][2]["source"]) == f"def f(x):\n{cells.BLANK.format('    ')}\n\nf(1)"
    made["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "run, but not worked on"}]
    (out / path.name).write_text(json.dumps(made))
    assert "holds work" not in next(cells.write_all(out, path.parent))
    made["cells"][2]["source"] = "def f(x):\n    return x"
    (out / path.name).write_text(json.dumps(made))
    before = (out / path.name).read_bytes()
    assert "holds work and is left as it is" in next(cells.write_all(out, path.parent))
    assert (out / path.name).read_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([(["exercise"], IDEA)], "09_mine.ipynb has an exercise but no check after it"),
        ([(["exercise"], "f = 1"), (["check"], "f")], "09_mine.ipynb, cell 2: tag `exercise` and a pair"),
        ([(["exercise"], IDEA), (["check"], IDEA)], "09_mine.ipynb, cell 3: tag `exercise` and a pair"),
        ([(["exercise"], IDEA + "\n### END SOLUTION"), (["check"], "f")], "cell 2: tag `exercise` and a pair"),
    ],
)
def test_unclear_marks_are_told(tmp_path, wrong, told):
    with pytest.raises(KitError, match=told):
        list(cells.write_all(tmp_path / "out", book(tmp_path, *wrong).parent))


@pytest.mark.slow
def test_an_exercise_in_a_real_kernel_stops_at_its_check_with_one_sentence(tmp_path):
    import papermill

    path = ROOT / "notebooks" / "05_influence.ipynb"
    solved = json.loads(path.read_text(encoding="utf-8"))
    for name, notebook in (("solved", solved), ("blank", cells.exercise(solved, path.name))):
        nbformat.write(nbformat.from_dict(cut(notebook)), tmp_path / f"{name}.ipynb")
    quiet = {"progress_bar": False, "kernel_name": "python3", "cwd": str(ROOT / "notebooks")}
    papermill.execute_notebook(tmp_path / "solved.ipynb", tmp_path / "out.ipynb", **quiet)
    assert "right: main_effect gives what the reference gives" in (tmp_path / "out.ipynb").read_text()
    with pytest.raises(papermill.PapermillExecutionError, match="KitError: main_effect is not written yet"):
        papermill.execute_notebook(tmp_path / "blank.ipynb", tmp_path / "out.ipynb", **quiet)
