"""Suites by name: the bundled sets, a folder of your own, mteb's benchmarks, or any list of mteb's tasks.

Building a task makes mteb reseed the global random generators; here their state is kept.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from pathlib import Path

from lib.common.bundled import DATA
from lib.common.files import KitError
from lib.score.hub import leaves
from lib.score.rng import kept_random_state

BUNDLED = "classroom"
# mteb's own names differ from what people call them
ALIASES = {
    "MTEB": "MTEB(eng, v1)",
    "MTEB(eng, classic)": "MTEB(eng, v1)",
    "MTEB(medical)": "MTEB(Medical, v1)",
    "MTEB(law)": "MTEB(Law, v1)",
    "MTEB(multilingual)": "MTEB(Multilingual, v2)",
}
# its score averages a correlation with its p-value (mteb issue 1156)
DISTRUSTED = {"SummEval": "averages the correlation with its p-value; use SummEvalSummarization.v2"}


def suite_folder() -> Path:
    """Return the folder of the bundled suite."""
    return DATA / "classroom" / "suite"


def tasks(suite: str | Sequence[str] = BUNDLED) -> list:
    """Return the task objects of a suite, in a fixed order.

    ``suite`` is "classroom" (the bundled sets), a folder that holds one YAML per set (see ``lib.score.localsets``),
    a benchmark of mteb ("MTEB(eng, v1)", "MTEB(eng, v2)", "NanoBEIR", ...), a task of mteb or of the bundled
    suite, or a list of such names. Raises KitError, with the nearest names, for a name nobody knows.
    """
    names = [suite] if isinstance(suite, str) else list(suite)
    if not names:
        raise KitError("the suite names no tasks; say 'classroom', a benchmark, task names, or a folder")
    with kept_random_state():
        found = [task for name in names for task in _named(str(name))]
    twice = [n for i, n in enumerate([t.metadata.name for t in found]) if n in [t.metadata.name for t in found[:i]]]
    if twice:
        raise KitError(f"set {twice[0]!r} is in the suite twice; take one out, or give one another name in its YAML")
    return found


def _named(name: str) -> list:
    if name == BUNDLED:
        return from_folder(suite_folder())
    bundled = suite_folder() / f"{name}.yaml"
    if bundled.is_file():
        from lib.score.mtebsets import make_task

        return [make_task(bundled)]
    if Path(name).is_dir():
        return from_folder(Path(name))
    return _from_mteb(name)


def from_folder(folder: Path) -> list:
    """Return one task per YAML file in ``folder``, ordered by type and name."""
    from lib.score.localsets import MAIN_SCORES
    from lib.score.mtebsets import make_task

    specs = sorted(folder.glob("*.yaml")) + sorted(folder.glob("*.yml"))
    if not specs:
        raise KitError(f"{folder} holds no YAML file; a suite needs one per set (type, file, instruction)")
    order = list(MAIN_SCORES)
    return sorted(
        (make_task(path) for path in specs), key=lambda task: (order.index(task.metadata.type), task.metadata.name)
    )


def _from_mteb(name: str) -> list:
    import mteb

    name = ALIASES.get(name, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mteb warns once per near miss
        try:
            return [fresh(mteb.get_task(name))]
        except KeyError:
            pass
        try:
            return [fresh(task) for task in mteb.get_benchmark(name).tasks]
        except KeyError:
            raise KitError(_unknown(name)) from None


def _unknown(name: str) -> str:
    import mteb
    from mteb.get_tasks import TASK_LIST

    known = [
        *(benchmark.name for benchmark in mteb.get_benchmarks()),
        *ALIASES,
        BUNDLED,
        *(p.stem for p in suite_folder().glob("*.yaml")),
        *(cls.metadata.name for cls in TASK_LIST),
    ]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"unknown suite, task or folder {name!r}" + (
        f"; near: {', '.join(near)}"
        if near
        else "; say 'classroom', a benchmark such as 'MTEB(eng, v1)', a task, or a folder"
    )


def fresh(task):
    """Return a copy of a task whose random draws start anew, sharing only data already loaded.

    mteb hands out the same objects again and again, and a clustering task's ``rng_state`` advances with each use:
    the same model would get another score from the same object. Nothing global is reseeded.
    """
    import copy
    import random

    import numpy as np

    twin = copy.copy(task)
    twin.rng_state, twin.np_rng = random.Random(task.seed), np.random.default_rng(task.seed)
    if getattr(task, "is_aggregate", False):
        twin.tasks = [fresh(part) for part in task.tasks]
        twin.taskname_to_task = {part.metadata.name: part for part in twin.tasks}
    return twin


def describe(tasks: Sequence, rule=None):
    """Return one row per task: task, type, metric, splits, the query's instruction, parts, and a doubt if there is one.

    ``rule`` is a ``lib.score.encoder.Instructions``; default, E5's. Works offline.
    """
    import pandas as pd
    from mteb.types import PromptType

    from lib.score.encoder import Instructions

    rule = rule or Instructions()
    rows = []
    for task in tasks:
        meta, parts = task.metadata, leaves(task)
        side = PromptType.query if meta.type in ("Retrieval", "Reranking") else None
        rows.append(
            {
                "task": meta.name,
                "type": meta.type,
                "metric": meta.main_score,
                "splits": " ".join(parts[0].eval_splits),
                "instruction": rule.of(parts[0].metadata, side),
                "parts": len(parts),
                "doubt": DISTRUSTED.get(meta.name, ""),
            }
        )
    return pd.DataFrame(rows)
