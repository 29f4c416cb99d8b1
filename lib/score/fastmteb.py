"""Make mteb's own protocol fast and quiet without changing a score: labels read once, no bars, a time limit.

Since datasets 4 a label column is lazy, and scikit-learn reads it some 56 times per experiment, row by row: 6 to 7
ms per test row, 40 minutes for AmazonPolarity. Here columns are read into lists once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from datasets import Dataset, DatasetDict

_NUMBERS = ("int8", "int16", "int32", "int64", "bool")


class TimeLimit(BaseException):
    """A task took longer than allowed. Not an Exception, so that no library swallows it on the way up."""


class ListColumns(Dataset):
    """A data set whose columns come as lists (whole numbers as arrays), read once; all else as before."""

    def __getitem__(self, key):
        """Return a column as a list or array, or whatever ``Dataset`` returns for any other key."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        lists = self.__dict__.setdefault("_lists", {})
        if key not in lists:
            values = super().__getitem__(key)[:]
            lists[key] = np.asarray(values) if self.features[key].dtype in _NUMBERS else values
        return lists[key]

    def select(self, *args, **kwargs):
        """Return the chosen rows, again with columns as lists."""
        return materialised(super().select(*args, **kwargs))

    def select_columns(self, *args, **kwargs):
        """Return the chosen columns, again as lists."""
        return materialised(super().select_columns(*args, **kwargs))


def materialised(data: Dataset) -> Dataset:
    """Return a view of ``data`` with list columns (the table itself is shared)."""
    import copy

    if type(data) not in (Dataset, ListColumns):
        return data
    twin = copy.copy(data)
    twin.__class__ = ListColumns
    twin.__dict__.pop("_lists", None)
    return twin


def materialise_labels(task) -> None:
    """Give a loaded classification task list columns; other tasks are left alone."""
    from mteb.abstasks import AbsTaskClassification

    if not isinstance(task, AbsTaskClassification) or task.dataset is None:
        return
    task.dataset = _in(task.dataset)


def _in(data):
    if isinstance(data, Dataset):
        return materialised(data)
    if isinstance(data, DatasetDict):
        return DatasetDict({name: _in(part) for name, part in data.items()})
    return {name: _in(part) for name, part in data.items()} if isinstance(data, dict) else data


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit inside the block after ``seconds`` (0 for no limit; only the main thread can be limited)."""
    if seconds <= 0 or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_):
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def unchecked() -> Iterator[None]:
    """Skip scikit-learn's repeated input checks (a third of a small task's time); embeddings are checked when made."""
    import warnings

    import sklearn

    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Silence mteb's and datasets' own progress bars and mteb's chatter; the suite has one bar of its own."""
    import logging

    import datasets

    def silent(iterable=None, *args, **kwargs):
        return iterable

    names = ("summarization_evaluator", "bitext_mining_evaluator")
    modules = [sys.modules.get(f"mteb._evaluators.text.{name}") for name in names]
    bars = [(module, module.tqdm) for module in modules if hasattr(module, "tqdm")]
    logger = logging.getLogger("mteb")
    level, shown = logger.level, datasets.utils.logging.is_progress_bar_enabled()
    try:
        logger.setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        for module, _ in bars:
            module.tqdm = silent
        yield
    finally:
        logger.setLevel(level)
        if shown:
            datasets.enable_progress_bars()
        for module, bar in bars:
            module.tqdm = bar
