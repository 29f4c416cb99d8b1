"""Exercises: solved notebooks with their ideas blanked out, and the check that says what is wrong with an answer.

A cell tagged ``exercise`` holds the idea between two markers, as in nbgrader; one tagged ``check`` compares it with the
reference on small cases (``lib.notebook.exercises``). A notebook without such cells has no exercise.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lib.common.bundled import ROOT, data_path, shown
from lib.common.files import KitError, digest, read_json, write_text

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
_REGION = re.compile(rf"^( *){BEGIN}\n.*?^ *{END}(?=\n|\Z)", re.MULTILINE | re.DOTALL)
BLANK = '{0}# YOUR CODE HERE\n{0}raise NotImplementedError("the idea is yours to write")'
INTRO = """> **An exercise.** The cell marked `# YOUR CODE HERE` has lost its idea. Its docstring says what it must do,
> the text above it says why. Write it, run it, then run the check below it: the check compares with the reference on
> small cases and says in words what is wrong. The rest of the notebook needs what you write. The solution is in
> `notebooks/{0}`."""


def check(name: str, answer: Callable) -> str:
    """Return a sentence when ``answer`` gives what the reference gives on every case of the exercise ``name``.

    Raises KitError otherwise, in words: not written yet, stops, returns nothing, a known mistake (one that gives the
    same values on every case), or the first case that differs with both values.
    """
    from lib.notebook.exercises import EXERCISES

    if name not in EXERCISES:
        raise KitError(f"there is no exercise {name!r}; there are {', '.join(EXERCISES)}")
    task = EXERCISES[name]
    right = _all(task.reference, task.cases)
    given: dict[str, Any] = {}
    for case, arguments in task.cases.items():
        try:
            given[case] = answer(*copy.deepcopy(arguments))
        except NotImplementedError:
            raise KitError(f"{name} is not written yet; put your code in place of the line `raise ...`") from None
        except Exception as error:
            raise KitError(f"{name} stops with {type(error).__name__}: {error} ({case})") from None
    lost = [case for case in given if not _same(given[case], right[case])]
    if not lost:
        return f"right: {answer.__name__} gives what the reference gives, in {len(given)} cases"
    if all(value is None for value in given.values()):
        raise KitError(f"{name} returns nothing; does it end with `return`?")
    for kind, mistake in task.mistakes.items():
        wrong = _all(mistake, task.cases)
        if all(_same(given[case], wrong[case]) for case in given):
            raise KitError(f"not yet: {hints()[name][kind]}")
    case, good = lost[0], len(given) - len(lost)
    both = f"yours gives {_shown(given[case])}, the reference {_shown(right[case])}"
    raise KitError(f"not yet: of {len(given)} cases {good} are right; {case}: {both}")


@cache
def hints() -> dict[str, dict[str, str]]:
    """Return what is said to the typical mistakes: {exercise: {mistake: sentence}}."""
    return yaml.safe_load(data_path("hints.yaml").read_text(encoding="utf-8"))


def _all(function: Callable, cases) -> dict[str, Any]:
    """Return {case: what a function gives}; NotImplemented, which equals no answer, where it stops."""
    found: dict[str, Any] = {}
    for case, arguments in cases.items():
        try:
            found[case] = function(*copy.deepcopy(arguments))
        except Exception:
            found[case] = NotImplemented
    return found


def _same(one: Any, other: Any) -> bool:
    """Say whether two results are the same, numbers to 1e-5; a tensor or array of one number is a number."""
    if any(value is None or isinstance(value, dict | str) or value is NotImplemented for value in (one, other)):
        return type(one) is type(other) and one == other
    try:
        a, b = (np.asarray(getattr(value, "detach", lambda v=value: v)(), dtype=float) for value in (one, other))
    except (TypeError, ValueError):
        return False
    return a.size == b.size == 1 and bool(np.isclose(a.item(), b.item(), rtol=1e-5, atol=1e-5))


def _shown(value: Any) -> str:
    if hasattr(value, "detach") or isinstance(value, float | np.floating):
        value = np.asarray(value.detach() if hasattr(value, "detach") else value)
        return f"{value.item():.4f}" if value.size == 1 else f"{value.size} numbers"
    return repr(value)[:160]


def write_all(out: Path, notebooks: Path = ROOT / "notebooks") -> Iterator[str]:
    """Write the exercise of every notebook that has one into ``out`` and yield a line about each.

    A copy that somebody has worked on is left as it is, which its line says. Raises KitError for unclear marks.
    """
    for path in sorted(notebooks.glob("*.ipynb")):
        made = exercise(read_json(path), path.name, os.path.relpath(notebooks, out))
        if made is None:
            continue
        target = out / path.name
        if target.is_file() and (there := read_json(target))["metadata"].get("exercise") != _sources(there):
            yield f"{shown(target)} holds work and is left as it is; delete it to have it blank again"
        else:
            yield shown(write_text(target, json.dumps(made, indent=1, ensure_ascii=False) + "\n"))


def exercise(notebook: dict[str, Any], name: str, home: str = "../../notebooks") -> dict[str, Any] | None:
    """Return the exercise of a notebook, None where no cell is tagged. ``home``: the way back to the notebooks.

    Nothing of the outputs is kept. Raises KitError, naming the notebook, for a tagged cell without a region between
    the markers, a marker outside one, or an exercise that no check follows.
    """
    made = copy.deepcopy(notebook)
    tags = [cell["metadata"].get("tags", []) for cell in made["cells"]]
    asked = [i for i, own in enumerate(tags) if "exercise" in own]
    if not asked:
        return None
    if not any("check" in own for own in tags[asked[-1] :]):
        raise KitError(f"{name} has an exercise but no check after it; tag the cell that checks it `check`")
    for i, cell in enumerate(made["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
            source, found = _REGION.subn(lambda region: BLANK.format(region[1]), source)
            if bool(found) != (i in asked) or BEGIN in source or END in source:
                raise KitError(f"{name}, cell {i + 1}: tag `exercise` and a pair `{BEGIN}`, `{END}` go together")
        cell["source"] = source.replace("](ideas/", f"]({home}/ideas/").splitlines(keepends=True)
    intro = {"cell_type": "markdown", "id": "exercise", "metadata": {}, "source": INTRO.format(name).splitlines(True)}
    made["cells"].insert(1, intro)
    made["metadata"]["exercise"] = _sources(made)
    return made


def _sources(notebook: dict[str, Any]) -> str:
    """Digest of what stands in the cells, whatever Jupyter or papermill adds by running them."""
    cells = (cell for cell in notebook["cells"] if "injected-parameters" not in cell["metadata"].get("tags", []))
    return digest(["".join(cell["source"]) for cell in cells])
