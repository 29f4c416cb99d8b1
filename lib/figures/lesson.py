"""The pictures of notebook 03: the similarity matrix, what padding costs, the loss, and a search before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lib.embedder.packing import padding_table
from lib.figures.base import CATEGORY_COLOURS, GAIN, INK, LOSS, NEUTRAL, WIDTH, style
from lib.mixture import Batch
from lib.triplets import Triplet

if TYPE_CHECKING:
    import pandas as pd

    from lib.embedder import Embedder


@dataclass(frozen=True, slots=True)
class Held:
    """Triplets of one source that no batch of the run contains."""

    source: str
    triplets: list[Triplet]


def held_out(pools: Mapping[str, Sequence[Triplet]], batches: Sequence[Batch], source: str, count: int = 48) -> Held:
    """Return the first ``count`` triplets of a source that the run does not train on (all of it, if none is left)."""
    trained = {row for batch in batches if batch.source == source for row in batch.rows}
    rows = [row for row in range(len(pools[source])) if row not in trained] or list(range(len(pools[source])))
    return Held(source, [pools[source][row] for row in rows[:count]])


def vectors(embedder: Embedder, held: Held) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings of the held-out queries and positives, each (n, d)."""
    queries = [embedder.text_of(t.query, t.instruction) for t in held.triplets]
    documents = [embedder.text_of(t.positive, document=True) for t in held.triplets]
    both = embedder.encode_written([*queries, *documents])
    return both[:len(queries)], both[len(queries):]


def similarity_picture(before: np.ndarray, after: np.ndarray | None = None, size: int = 12):
    """Draw cosine of query i and positive j for the first ``size`` triplets, before training and after.

    ``before`` and ``after`` are (n, n) matrices. The diagonal is what the loss pulls up, all else it pushes down.
    """
    import matplotlib.pyplot as plt

    shown = [("before training", before)] + ([("after training", after)] if after is not None else [])
    with style():
        figure, axes = plt.subplots(1, len(shown), figsize=(WIDTH * len(shown) / 2, 2.9), layout="constrained", squeeze=False)
        for axis, (title, matrix) in zip(axes[0], shown, strict=True):
            image = axis.imshow(matrix[:size, :size], vmin=0, vmax=1, cmap="Blues")
            right = (matrix.argmax(1) == np.arange(len(matrix))).mean()
            axis.set_title(f"{title}: {right:.0%} of {len(matrix)} queries\nhave their own positive nearest")
            ticks = range(0, min(size, len(matrix)), 2)
            axis.set_xticks(ticks, [str(i + 1) for i in ticks])
            axis.set_yticks(ticks, [str(i + 1) for i in ticks])
            axis.set_xlabel("positive of triplet j")
            axis.set_ylabel("query of triplet i")
            for place in range(min(size, len(matrix))):
                axis.add_patch(plt.Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor=LOSS, linewidth=1.2))
        figure.colorbar(image, ax=list(axes[0]), label="cosine", shrink=0.8)
    return _done(figure)


def padding_picture(lengths: Mapping[str, Sequence[int]], budget: int):
    """Draw tokens computed per real token for each source and way of batching (``lib.embedder.packing.padding_table``)."""
    import matplotlib.pyplot as plt

    tables = {source: padding_table(values, budget) for source, values in lengths.items()}
    ways = list(next(iter(tables.values())))
    wide = 0.8 / len(ways)
    with style():
        figure, axis = plt.subplots(figsize=(WIDTH, 2.4), layout="constrained")
        for number, (way, shade) in enumerate(zip(ways, (LOSS, "#E69F00", "#56B4E9", GAIN), strict=True)):
            places = np.arange(len(tables)) + (number - (len(ways) - 1) / 2) * wide
            bars = axis.bar(places, [table[way] for table in tables.values()], wide * 0.92, label=way, color=shade)
            axis.bar_label(bars, fmt="%.2f", fontsize=6.5)
        axis.axhline(1, color=INK, linewidth=0.7)
        axis.set_xticks(range(len(tables)), [source.replace("_", "-") for source in tables])
        axis.set_ylabel("tokens computed per real token")
        axis.legend(ncols=len(ways), loc="upper center", bbox_to_anchor=(0.5, 1.2))
    return _done(figure)


def loss_picture(log: Sequence[Mapping]):
    """Draw the loss of every step; the colour says which source its batch came from."""
    import matplotlib.pyplot as plt

    from lib.design import CODES

    with style():
        figure, axis = plt.subplots(figsize=(WIDTH, 2.2), layout="constrained")
        axis.plot([row["step"] for row in log], [row["loss"] for row in log], color=NEUTRAL, linewidth=0.8, zorder=1)
        for source in dict.fromkeys(row["source"] for row in log):
            rows = [row for row in log if row["source"] == source]
            shade = CATEGORY_COLOURS.get(CODES.get(source, source), NEUTRAL)
            axis.scatter([r["step"] for r in rows], [r["loss"] for r in rows], s=22, color=shade, label=source.replace("_", "-"))
        axis.set_xlabel("optimizer step")
        axis.set_ylabel("loss of the batch")
        axis.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.2))
    return _done(figure)


def search_example(held: Held, before: np.ndarray, after: np.ndarray, top: int = 3) -> tuple[str, pd.DataFrame]:
    """Return a sentence on one held-out query and its top results before and after, as a table.

    It is the query whose own positive moved most in rank, for better or worse, among those that have it in the
    top results at least once.
    """
    import pandas as pd

    ranks = [_rank_of_own(matrix) for matrix in (before, after)]
    moved = np.where(np.minimum(*ranks) < top, np.abs(ranks[0] - ranks[1]), -1)
    chosen = int(np.argmax(moved))
    rows = []
    for when, matrix in (("before", before), ("after", after)):
        for place, j in enumerate(np.argsort(-matrix[chosen], kind="stable")[:top], start=1):
            own = held.triplets[j].positive == held.triplets[chosen].positive
            rows.append({"": when, "rank": place, "cosine": round(float(matrix[chosen, j]), 3),
                         "its own": "yes" if own else "", "text": _short(held.triplets[j].positive)})
    sentence = (f"{held.triplets[chosen].query!r}: its own positive is number {ranks[0][chosen] + 1} of {len(before)} before "
                f"training and number {ranks[1][chosen] + 1} after")
    return sentence, pd.DataFrame(rows)


def source_of_choice(subset: Sequence[str]) -> str:
    """Return the source whose triplets the notebook shows: short-long reads most like a search."""
    return "short_long" if "short_long" in subset else subset[0] if subset else "public"


def _rank_of_own(matrix: np.ndarray) -> np.ndarray:
    return (matrix > np.diag(matrix)[:, None]).sum(1)


def _done(figure):
    """Close a figure, so that a notebook shows it once: where it is displayed."""
    import matplotlib.pyplot as plt

    plt.close(figure)
    return figure


def _short(text: str, width: int = 110) -> str:
    return text if len(text) <= width else text[:width].rsplit(" ", 1)[0] + " ..."
