"""Two models on the same sets: how far each set moved, how sure that is, and which texts moved most.

A set's change is judged by a bootstrap over its items, the same resample for both models (and, for classification,
over the draws as well); for clustering, whose draws are bootstraps already, by the paired draws.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.score.items import Items, read_items
from lib.score.score import draws as draws_of


def interval(base: Items, adapter: Items, resamples: int = 400, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the set's change (adapter - base), both models on the same resamples."""
    rng = np.random.default_rng(seed)
    count = len(base.values)
    changes = []
    for _ in range(resamples):
        rows = rng.integers(0, count, count)
        changes.append(adapter.score(rows) - base.score(rows))
    low, high = np.nanpercentile(changes, [2.5, 97.5])
    return float(low), float(high)


def paired_draws(base: pd.Series, adapter: pd.Series) -> tuple[float, float]:
    """Return mean change +- 2 standard errors over draws, draw i of one model against draw i of the other."""
    change = np.asarray(adapter, float) - np.asarray(base, float)
    half = 2 * change.std(ddof=1) / np.sqrt(len(change))
    return float(change.mean() - half), float(change.mean() + half)


def changes(tasks, base: pd.DataFrame, adapter: pd.DataFrame) -> pd.DataFrame:
    """Return per set: task, type, base, adapter, change, low, high (all 0 to 1), noise (what the interval is of).

    ``base`` and ``adapter`` are tables of ``lib.score.score.score`` with ``predictions=True``.
    """
    rows = []
    draws = [draws_of(table).set_index("task")["score"] for table in (base, adapter)]
    first, second = (table.set_index("task")["score"] for table in (base, adapter))
    for task in tasks:
        name = task.metadata.name
        if name not in first or name not in second:
            continue
        task.load_data()
        one, two = (read_items(task, table.attrs["predictions"]) for table in (base, adapter))
        if one is not None:
            low, high = interval(one, two)
            noise = "items and draws" if task.metadata.type == "Classification" else "items"
        else:
            low, high = paired_draws(draws[0][name], draws[1][name])
            noise = "draws"
        rows.append(
            {
                "task": name,
                "type": task.metadata.type,
                "base": first[name],
                "adapter": second[name],
                "change": second[name] - first[name],
                "low": low,
                "high": high,
                "noise": noise,
            }
        )
    return pd.DataFrame(rows)


def examples(tasks, table: pd.DataFrame, base: pd.DataFrame, adapter: pd.DataFrame, count: int = 3) -> pd.DataFrame:
    """Return, from the table of ``changes``, the ``count`` worst and best sets, each with the item that moved most.

    Sets without items (clustering) are left out.
    """
    by_name = {task.metadata.name: task for task in tasks}
    judged = table[table["noise"] != "draws"].sort_values("change")
    rows = []
    for kind, chosen in (("worse", judged.head(count)), ("better", judged.tail(count).iloc[::-1])):
        for name, change in zip(chosen["task"], chosen["change"], strict=True):
            one, two = (read_items(by_name[name], t.attrs["predictions"]) for t in (base, adapter))
            moved = two.values - one.values
            i = _telling(moved if kind == "worse" else -moved, one.answers, two.answers)
            rows.append(
                {
                    "": kind,
                    "task": name,
                    "points": round(100 * change, 1),
                    "text": one.texts[i],
                    "base": one.answers[i],
                    "adapter": two.answers[i],
                }
            )
    return pd.DataFrame(rows)


def _telling(moved: np.ndarray, before: list[str], after: list[str]) -> int:
    """Return the item with the lowest ``moved`` whose answers can be told apart by reading (any item, if none can)."""
    order = np.argsort(moved, kind="stable")
    return int(next((i for i in order if before[i] != after[i]), order[0]))
