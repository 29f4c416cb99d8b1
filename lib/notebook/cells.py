"""What cells of the notebooks call: ``start`` in the first, ``check`` after an exercise; and notebooks made exercises.

A cell tagged ``exercise`` holds the idea between two markers, as in nbgrader; one tagged ``check`` compares it with the
reference on small cases (``lib.notebook.exercises``). A notebook without such cells has no exercise.
"""

from __future__ import annotations

import ast
import copy
import difflib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from IPython import get_ipython

from lib.common.bundled import ROOT, data_path, shown
from lib.common.design import BASE, run_in_order
from lib.common.files import KitError, digest, read_json, write_text
from lib.generate.dataset import share_out
from lib.grid.machine import claim
from lib.params.params import Params, answering, load, of_run

_PARAMETERS = {  # of each notebook, between params_file and overrides
    "01_generate": {"generator": str},
    "02_inspect": {"compare": list},
    "03_train": {"subset": str, "seed": int, "explain": bool},
    "04_score": {"subset": str, "seed": int, "explain": bool},
    "05_influence": {"results": str},
    "06_predict": {"merge": list, "sample": int},
    "07_improve": {"fresh": bool, "splits": int},
    "08_why": {"sample": int},
}
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
_REGION = re.compile(rf"^( *){BEGIN}\n.*?^ *{END}(?=\n|\Z)", re.MULTILINE | re.DOTALL)
BLANK = '{0}# YOUR CODE HERE\n{0}raise NotImplementedError("the idea is yours to write")'
INTRO = """> **An exercise.** The cell marked `# YOUR CODE HERE` has lost its idea. Its docstring says what it must do,
> the text above it says why. Write it, run it, then run the check below it: the check compares with the reference on
> small cases and says in words what is wrong. The rest of the notebook needs what you write. The solution is in
> `notebooks/{0}`."""


def start(notebook: dict[str, Any], stage: str) -> Params:
    """Return the checked parameters of a notebook, given its ``globals()`` after the parameters cell.

    Raises KitError for a name that the stage does not have (papermill only warns), a value of the wrong type, and where
    the data are not there yet.
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
        # Adapters that are there can be scored, whatever became of their data; the untrained base needs none
        needed = [params.data_dir / "manifest.json"]
        needed += [params.models_dir, params.study_dir / "models"] if stage == "04_score" else []
        if notebook["subset"] != BASE and not any(path.exists() for path in needed):
            steps = "notebook 01_generate first" + (", then 03_train" if stage == "04_score" else "")
            raise KitError(f"there are no training data in {shown(params.data_dir)} yet; run {steps}")
    if notebook.get("generator"):
        params = answering(params, notebook["generator"])
    if stage in ("01_generate", "03_train", "04_score", "08_why"):  # on a GPU
        claim(params.grid.gpus)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", message="IProgress not found")  # plain progress bars are what we want
    if shell := get_ipython():
        shell.run_line_magic("config", "InlineBackend.figure_format = 'retina'")
    if note := params.note():
        print(note)
    return params


def _given(notebook: dict[str, Any]) -> list[str]:
    """Return the names that the parameter cells set, run just before this one; what else a kernel holds is old."""
    names: list[str] = []
    for cell in reversed(notebook.get("In", [])[:-1]):
        found = _assigned(cell)
        names += found
        if not found or "params_file" in found:
            return names if found else []
    return []


def _assigned(cell: str) -> list[str]:
    """Return the names a cell sets if it does nothing but set names to literals, else []."""
    try:
        lines = ast.parse(cell).body
        return [target.id for line in lines for target in line.targets if ast.literal_eval(line.value) or True]
    except (SyntaxError, ValueError, AttributeError):
        return []


def check(name: str, answer: Callable) -> str:
    """Return a sentence when ``answer`` gives what the reference gives on every case of the exercise ``name``.

    Raises KitError otherwise: not written yet, stops, returns nothing, a known mistake (the same values on every case),
    or the first case that differs with both values.
    """
    from lib.notebook.exercises import EXERCISES

    if name not in EXERCISES:
        raise KitError(f"there is no exercise {name!r}; there are {', '.join(EXERCISES)}")
    reference, cases, mistakes = EXERCISES[name]
    right, given = _all(reference, cases), _all(answer, cases)
    for case, value in given.items():
        if isinstance(value, NotImplementedError):
            raise KitError(f"{name} is not written yet; put your code in place of the line `raise ...`")
        if isinstance(value, Exception):
            raise KitError(f"{name} stops with {type(value).__name__}: {value} ({case})")
    lost = [case for case in cases if not _same(given[case], right[case])]
    if not lost:
        return f"right: {answer.__name__} gives what the reference gives, in {len(cases)} cases"
    if all(value is None for value in given.values()):
        raise KitError(f"{name} returns nothing; does it end with `return`?")
    for kind, mistake in mistakes.items():
        wrong = _all(mistake, cases)
        if all(_same(given[case], wrong[case]) for case in cases):
            raise KitError(f"not yet: {hints()[name][kind]}")
    both = f"yours gives {_shown(given[lost[0]])}, the reference {_shown(right[lost[0]])}"
    raise KitError(f"not yet: of {len(cases)} cases {len(cases) - len(lost)} are right; {lost[0]}: {both}")


def hints() -> dict[str, dict[str, str]]:
    """Return what is said to the typical mistakes: {exercise: {mistake: sentence}}."""
    return yaml.safe_load(data_path("hints.yaml").read_text(encoding="utf-8"))


def _all(function: Callable, cases: dict[str, tuple]) -> dict[str, Any]:
    """Return {case: what a function gives, or the error with which it stops}."""
    found: dict[str, Any] = {}
    for case, arguments in cases.items():
        try:
            found[case] = function(*copy.deepcopy(arguments))
        except Exception as error:
            found[case] = error
    return found


def _number(value: Any) -> Any:  # a float where a tensor or an array holds one number
    try:
        return value if isinstance(value, str) else float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        return value


def _same(one: Any, other: Any) -> bool:
    one, other = _number(one), _number(other)
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=1e-5, atol=1e-5))
    return type(one) is type(other) and one == other


def _shown(value: Any) -> str:
    value = _number(value)
    return f"{value:.4f}" if isinstance(value, float) else repr(value)[:160]


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
    """Return the exercise of a notebook, without outputs; None where no cell is tagged. ``home``: the way back.

    Raises KitError for a tagged cell without a region between the markers, a marker outside one, or a missing check.
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
