"""mteb made fast and quiet without changing a score: labels read once, no bars.

Since datasets 4 a label column is lazy, and scikit-learn reads it some 56 times per experiment, row by row: 6 to 7
ms per test row, 40 minutes for AmazonPolarity. Here columns are read into lists once.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import numpy as np
from datasets import Dataset, DatasetDict

_NUMBERS = ("int8", "int16", "int32", "int64", "bool")


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


def materialised(data):
    """Return a data set (or each one in a dictionary) as a view with list columns; the table itself is shared."""
    if isinstance(data, dict):
        made = {name: materialised(part) for name, part in data.items()}
        return DatasetDict(made) if isinstance(data, DatasetDict) else made
    if type(data) not in (Dataset, ListColumns):
        return data
    twin = copy.copy(data)
    twin.__class__ = ListColumns
    twin.__dict__.pop("_lists", None)
    return twin


@contextmanager
def quick_and_quiet() -> Iterator[None]:
    """Swallow the bars and chatter of mteb and datasets, and skip scikit-learn's repeated checks of its input.

    The checks are a third of a small task's time; embeddings are checked when they are made.
    """
    import sklearn

    checks = sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
    with checks, warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
