"""The pictures of notebook 03: one batch as a matrix, what padding costs, the loss, and a search before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lib.embedder.packing import padding_table
from lib.figures.base import CATEGORY_COLOURS, GAIN, INK, LOSS, NEUTRAL, WIDTH, diverging, style
from lib.mixture import Batch
from lib.triplets import Triplet

if TYPE_CHECKING:
    import pandas as pd

    from lib.embedder import Embedder

ENOUGH = 16  # held-out triplets that make a test of their own; with fewer, triplets that were trained on fill it up


@dataclass(frozen=True, slots=True)
class Held:
    """A fixed batch of one source, the first ``unseen`` of its triplets in no batch of the run."""

    source: str
    triplets: list[Triplet]
    unseen: int


@dataclass(frozen=True, slots=True)
class Vectors:
    """A fixed batch embedded: queries and positives (n, d), and the hard negatives there are (m, d)."""

    queries: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    @property
    def cosines(self) -> np.ndarray:
        """(n, n + m) cosines of every query with all positives and all hard negatives."""
        return self.queries @ np.concatenate([self.positives, self.negatives]).T


def held_out(pools: Mapping[str, Sequence[Triplet]], batches: Sequence[Batch], count: int = 48) -> dict[str, Held]:
    """Return one fixed batch per source, of triplets that the run does not train on where ``ENOUGH`` are left."""
    found = {}
    for source, pool in pools.items():
        trained = {row for batch in batches if batch.source == source for row in batch.rows}
        rows = [row for row in range(len(pool)) if row not in trained][:count]
        unseen = len(rows)
        if unseen < ENOUGH:
            rows += sorted(trained)[: count - unseen]
        found[source] = Held(source, [pool[row] for row in rows], unseen)
    return found


def vectors(embedder: Embedder, held: Held) -> Vectors:
    """Return the embeddings of a fixed batch."""
    queries = [embedder.text_of(t.query, t.instruction) for t in held.triplets]
    positives = [embedder.text_of(t.positive, document=True) for t in held.triplets]
    negatives = [embedder.text_of(t.negative, document=True) for t in held.triplets if t.negative]
    every = embedder.encode_written([*queries, *positives, *negatives])
    return Vectors(*np.split(every, [len(queries), 2 * len(queries)]))


def loss(found: Vectors, temperature: float) -> float:
    """Return the InfoNCE loss of a fixed batch."""
    import torch

    from lib.kernels import infonce

    texts = np.concatenate([found.positives, found.negatives])
    return float(infonce(torch.from_numpy(found.queries), torch.from_numpy(texts), temperature=temperature))


def softmax(cosines: np.ndarray, temperature: float) -> np.ndarray:
    """Return the softmax over each row: how the loss shares its surprise among the choices."""
    scores = np.exp((cosines - cosines.max(1, keepdims=True)) / temperature)
    return scores / scores.sum(1, keepdims=True)


def matrix_picture(panels: Mapping[str, np.ndarray], count: int, size: int = 10):
    """Draw matrices of ``size`` queries with the positives (left) and hard negatives (right) of the same triplets.

    ``panels``: {title: (n, count + m) matrix}. Values from 0 to 1 in blue; a title with "change" gets a scale of its own,
    from orange through white to blue. Boxes are the right pairs.
    """
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(WIDTH, 0.45 + 1.75 * len(panels)), layout="constrained", squeeze=False
        )
        for axis, (title, matrix) in zip(axes[:, 0], panels.items(), strict=True):
            rows = min(size, count)
            shown = np.concatenate(
                [matrix[:rows, :rows], np.full((rows, 1), np.nan), matrix[:rows, count : count + rows]], 1
            )
            top = float(np.nanmax(np.abs(shown))) if "change" in title else 1.0
            scale = (
                {"vmin": -top, "vmax": top, "cmap": diverging()}
                if "change" in title
                else {"vmin": 0, "vmax": 1, "cmap": "Blues"}
            )
            image = axis.imshow(np.ma.masked_invalid(shown), aspect="auto", **scale)
            axis.set_title(title)
            columns = [*range(rows), *range(rows + 1, shown.shape[1])]
            names = [f"p{j + 1}" for j in range(rows)] + [f"n{j + 1}" for j in range(len(columns) - rows)]
            axis.set_xticks(columns, names, fontsize=6.5)
            axis.set_yticks(range(rows), [f"q{i + 1}" for i in range(rows)], fontsize=6.5)
            axis.tick_params(length=0)
            for place in range(rows):
                axis.add_patch(
                    plt.Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor=LOSS, linewidth=1.2)
                )
            figure.colorbar(image, ax=axis, aspect=10, pad=0.01)
    return _done(figure)


def padding_picture(lengths: Mapping[str, Sequence[int]], budget: int):
    """Draw tokens computed per real token for each source and way of batching (``lib.embedder.packing.padding_table``)."""
    import matplotlib.pyplot as plt

    tables = {source: padding_table(values, budget) for source, values in lengths.items()}
    ways = list(next(iter(tables.values())))
    wide = 0.84 / len(ways)
    with style():
        figure, axis = plt.subplots(figsize=(WIDTH + 1, 2.6), layout="constrained")
        for number, (way, shade) in enumerate(zip(ways, (LOSS, "#E69F00", "#56B4E9", GAIN), strict=True)):
            places = np.arange(len(tables)) + (number - (len(ways) - 1) / 2) * wide
            bars = axis.bar(places, [table[way] for table in tables.values()], wide * 0.92, label=way, color=shade)
            axis.bar_label(bars, fmt="%.1f", fontsize=7)
        axis.axhline(1, color=INK, linewidth=0.7)
        axis.set_xticks(range(len(tables)), [source.replace("_", "-") for source in tables])
        axis.set_ylabel("tokens computed per real token")
        axis.legend(ncols=len(ways), loc="upper center", bbox_to_anchor=(0.5, 1.2))
    return _done(figure)


def loss_picture(
    log: Sequence[Mapping], before: Mapping[str, float], after: Mapping[str, float], unseen: Mapping[str, int]
):
    """Draw the loss of every step, points of one source in one colour, and that of the fixed batches before and after.

    ``before`` and ``after``: {source: loss}; ``unseen``: {source: triplets of its fixed batch that were not trained on}.
    """
    import matplotlib.pyplot as plt

    with style():
        figure, (steps, fixed) = plt.subplots(
            1, 2, figsize=(WIDTH + 1, 2.7), layout="constrained", width_ratios=(1.15, 1)
        )
        for source in before:
            rows = [row for row in log if row["source"] == source]
            steps.scatter(
                [r["step"] for r in rows], [r["loss"] for r in rows], s=24, color=_shade(source), label=_name(source)
            )
        steps.set(
            xlabel="optimizer step",
            ylabel="loss of the batch",
            title="in training: every batch another test",
            ylim=(0, None),
        )
        steps.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.24), columnspacing=1, handletextpad=0.2)
        for y, source in enumerate(before):
            fixed.annotate(
                "",
                (after[source], y),
                (before[source], y),
                arrowprops={"arrowstyle": "-|>", "color": _shade(source), "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0},
            )
            fixed.plot(before[source], y, "o", color=_shade(source), markerfacecolor="white", markersize=5)
            fixed.text(
                max(before[source], after[source]),
                y - 0.27,
                f"{before[source]:.2f} to {after[source]:.2f}",
                fontsize=7,
                ha="right",
            )
        fixed.set_yticks(range(len(before)), [f"{_name(source)}\n({unseen[source]} unseen)" for source in before])
        fixed.set(
            xlabel="loss",
            title="the same fixed batch, before to after",
            ylim=(len(before) - 0.4, -0.7),
            xlim=(0, 1.12 * max(*before.values(), *after.values())),
        )
        fixed.grid(axis="x")
    return _done(figure)


def search_example(held: Held, before: Vectors, after: Vectors, top: int = 3) -> tuple[str, pd.DataFrame]:
    """Return a sentence on one held-out query and its top results before and after, as a table.

    The search is among the positives of the fixed batch. The query is the one whose own positive moved most in rank,
    for better or worse, among those that have it in the top results at least once.
    """
    import pandas as pd

    both = [found.queries @ found.positives.T for found in (before, after)]
    ranks = [_rank_of_own(matrix) for matrix in both]
    moved = np.where(np.minimum(*ranks) < top, np.abs(ranks[0] - ranks[1]), -1)
    chosen = int(np.argmax(moved))
    rows = []
    for when, matrix in zip(("before", "after"), both, strict=True):
        for place, j in enumerate(np.argsort(-matrix[chosen], kind="stable")[:top], start=1):
            own = held.triplets[j].positive == held.triplets[chosen].positive
            rows.append(
                {
                    "": when,
                    "rank": place,
                    "cosine": float(matrix[chosen, j]),
                    "its own": "yes" if own else "",
                    "text": _short(held.triplets[j].positive),
                }
            )
    hits = [int((rank == 0).sum()) for rank in ranks]
    sentence = (
        f"{hits[0]} of {len(held.triplets)} queries have their own positive nearest before training, {hits[1]} after.\n"
        f"{held.triplets[chosen].query!r}: its own positive is number {ranks[0][chosen] + 1} before and number "
        f"{ranks[1][chosen] + 1} after"
    )
    return sentence, pd.DataFrame(rows)


def source_of_choice(subset: Sequence[str]) -> str:
    """Return the source whose triplets the notebook shows: short-long reads most like a search."""
    return "short_long" if "short_long" in subset else subset[0] if subset else "public"


def _rank_of_own(matrix: np.ndarray) -> np.ndarray:
    return (matrix > np.diag(matrix)[:, None]).sum(1)


def _name(source: str) -> str:
    return source.replace("_", "-")


def _shade(source: str) -> str:
    from lib.design import CODES

    return CATEGORY_COLOURS.get(CODES.get(source, source), NEUTRAL)


def _done(figure):
    """Close a figure, so that a notebook shows it once: where it is displayed."""
    import matplotlib.pyplot as plt

    plt.close(figure)
    return figure


def _short(text: str, width: int = 110) -> str:
    return text if len(text) <= width else text[:width].rsplit(" ", 1)[0] + " ..."
