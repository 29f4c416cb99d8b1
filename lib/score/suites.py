"""Suites by name: the bundled sets, a folder of your own, mteb's benchmarks, or any list of mteb's tasks."""

from __future__ import annotations

import copy
import difflib
import random
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.bundled import DATA
from lib.common.files import KitError
from lib.score.localsets import MAIN_SCORES, make_task

BUNDLED = "classroom"
DISTRUSTED = {"SummEval": "averages the correlation with its p-value (mteb issue 1156); use SummEvalSummarization.v2"}


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Restore the state of ``random``, NumPy and torch on leaving: mteb seeds all with 42 whenever it makes a task."""
    import torch

    python, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)


def suite_folder(suite: str | Sequence[str] = BUNDLED) -> Path | None:
    """Return the folder of a suite that is one (by default the bundled one), None for names of mteb's."""
    if suite == BUNDLED:
        return DATA / "classroom" / "suite"
    return Path(suite) if isinstance(suite, str) and Path(suite).is_dir() else None


def tasks(suite: str | Sequence[str] = BUNDLED) -> list:
    """Return the task objects of a suite, in a fixed order. Raises KitError, with the nearest names, for unknown ones.

    ``suite``: "classroom" (the bundled sets), a folder with one YAML per set (see ``lib.score.localsets``), a benchmark
    of mteb ("MTEB(eng, v1)", "NanoBEIR", ...), a task of mteb or of the bundled suite, or a list of such names.
    """
    names = [suite] if isinstance(suite, str) else list(suite)
    if not names:
        raise KitError("the suite names no tasks; say 'classroom', a benchmark, task names, or a folder")
    with kept_random_state():
        found = [task for name in names for task in _named(str(name))]
    for name, count in Counter(task.metadata.name for task in found).items():
        if count > 1:
            raise KitError(f"set {name!r} is in the suite twice; take one out, or give one another name in its YAML")
    return found


def _named(name: str) -> list:
    """Return the tasks of one name; those of a folder by type and name."""
    if folder := suite_folder(name):
        found = [make_task(path) for path in sorted(folder.glob("*.y*ml"))]
        if not found:
            raise KitError(f"{folder} holds no YAML file; a suite needs one per set (type, file, instruction)")
        return sorted(found, key=lambda task: (list(MAIN_SCORES).index(task.metadata.type), task.metadata.name))
    bundled = suite_folder() / f"{name}.yaml"
    if bundled.is_file():
        return [make_task(bundled)]
    import mteb
    from mteb.get_tasks import TASK_LIST

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mteb warns once per near miss
        with suppress(KeyError):
            return [fresh(mteb.get_task(name))]
        with suppress(KeyError):
            return [fresh(task) for task in mteb.get_benchmark(name).tasks]
    known = [BUNDLED, *(path.stem for path in suite_folder().glob("*.yaml"))]
    known += [benchmark.name for benchmark in mteb.get_benchmarks()] + [task.metadata.name for task in TASK_LIST]
    near = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.5))
    mend = f"near: {near}" if near else "say 'classroom', a benchmark such as 'MTEB(eng, v1)', a task, or a folder"
    raise KitError(f"unknown suite, task or folder {name!r}; {mend}")


def leaves(task) -> list:
    """Return the tasks that are really run: an aggregate's parts (CQADupstackRetrieval has twelve), or the task."""
    return list(task.tasks) if getattr(task, "is_aggregate", False) else [task]


def fresh(task):
    """Return a copy of a task whose random draws start anew, sharing only data already loaded.

    mteb hands out the same objects again and again, and a clustering task's ``rng_state`` advances with each use: the
    same model would get another score.
    """
    twin = copy.copy(task)
    twin.rng_state, twin.np_rng = random.Random(task.seed), np.random.default_rng(task.seed)
    if getattr(task, "is_aggregate", False):
        twin.tasks = [fresh(part) for part in task.tasks]
        twin.taskname_to_task = {part.metadata.name: part for part in twin.tasks}
    return twin


def describe(tasks: Sequence) -> pd.DataFrame:
    """Return one row per task: task, type, metric, instruction (E5's, of a query; the first part's of an aggregate)."""
    from mteb.types import PromptType

    from lib.score.encoder import instruction_of

    rows = []
    for meta, first in ((task.metadata, leaves(task)[0].metadata) for task in tasks):
        side = PromptType.query if meta.type in ("Retrieval", "Reranking") else None
        rows.append([meta.name, meta.type, meta.main_score, instruction_of(first, side)])
    return pd.DataFrame(rows, columns=["task", "type", "metric", "instruction"])
