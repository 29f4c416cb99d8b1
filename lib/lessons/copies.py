"""Exercise copies: a solved notebook with the idea blanked out, made from the notebook itself so that the two agree.

A cell tagged ``exercise`` holds the idea between two markers, as in nbgrader; one tagged ``check`` compares it with the
reference (``lib.lessons.check``). A notebook without such cells has no exercise.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.common.bundled import ROOT, shown
from lib.common.files import KitError, digest, read_json, write_text

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
_REGION = re.compile(rf"^( *){BEGIN}\n.*?^ *{END}(?=\n|\Z)", re.MULTILINE | re.DOTALL)
BLANK = '{0}# YOUR CODE HERE\n{0}raise NotImplementedError("the idea is yours to write")'
INTRO = """> **An exercise.** The cell marked `# YOUR CODE HERE` has lost its idea. Its docstring says what it must do,
> the text above it says why. Write it, run it, then run the check below it: the check compares with the reference on
> small cases and says in words what is wrong. The rest of the notebook needs what you write. The solution is in
> `notebooks/{0}`."""


def write_all(out: Path, notebooks: Path = ROOT / "notebooks") -> Iterator[str]:
    """Write the exercise of every notebook that has one into ``out`` and yield a line about each.

    A copy that somebody has worked on is left as it is, which its line says. Raises KitError for unclear marks.
    """
    for path in sorted(notebooks.glob("*.ipynb")):
        made = exercise(read_json(path), path.name, os.path.relpath(notebooks, out))
        if made is None:
            continue
        target = out / path.name
        if target.is_file() and _worked_on(read_json(target)):
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


def _worked_on(notebook: dict[str, Any]) -> bool:
    return notebook["metadata"].get("exercise") != _sources(notebook)
