"""The pictures of notebook 03: one batch as a matrix, what padding costs, and the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lib.embedder.packing import padding_table
from lib.figures.base import CATEGORY_COLOURS, GAIN, INK, LOSS, NEUTRAL, WIDTH, diverging, style


def matrix_picture(panels: Mapping[str, np.ndarray], count: int, size: int = 10):
    """Draw matrices of ``size`` queries with the positives (left) and hard negatives (right) of the same triplets.

    ``panels``: {title: (n, count + m) matrix}. Values from 0 to 1 in blue; a title with "change" gets a scale of its
    own, from orange through white to blue. Boxes are the right pairs.
    """
    import matplotlib.pyplot as plt

    size, tall = min(size, count), 0.45 + 1.75 * len(panels)
    with style():
        figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, tall), layout="constrained", squeeze=False)
        for axis, (title, matrix) in zip(axes[:, 0], panels.items(), strict=True):
            gap = np.full((size, 1), np.nan)
            shown = np.concatenate([matrix[:size, :size], gap, matrix[:size, count : count + size]], 1)
            _matrix(figure, axis, title, np.ma.masked_invalid(shown))
    return _done(figure)


def _matrix(figure, axis, title: str, shown: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    scale, edge, rows = {"vmin": 0, "vmax": 1, "cmap": "Blues"}, LOSS, len(shown)
    if "change" in title:
        top, edge = float(abs(shown).max()), INK
        scale = {"vmin": -top, "vmax": top, "cmap": diverging().with_extremes(bad="white")}
    image = axis.imshow(shown, aspect="auto", **scale)
    axis.set_title(title)
    columns = [*range(rows), *range(rows + 1, shown.shape[1])]
    names = [f"p{j + 1}" for j in range(rows)] + [f"n{j + 1}" for j in range(len(columns) - rows)]
    axis.set_xticks(columns, names, fontsize=6.5)
    axis.set_yticks(range(rows), [f"q{i + 1}" for i in range(rows)], fontsize=6.5)
    axis.tick_params(length=0)
    for place in range(rows):
        axis.add_patch(Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor=edge, linewidth=1.2))
    figure.colorbar(image, ax=axis, aspect=10, pad=0.01)


def token_counts(embedder, pools: Mapping[str, Sequence], max_length: int, count: int = 150) -> dict[str, list[int]]:
    """Return the lengths in tokens of the texts of each source's first ``count`` triplets."""
    found = {}
    for source, pool in pools.items():
        texts = [text for t in pool[:count] for text in (t.query, t.positive, t.negative) if text]
        found[source] = [len(row) for row in embedder.tokenize(texts, max_length)]
    return found


def padding_picture(lengths: Mapping[str, Sequence[int]], budget: int):
    """Draw tokens computed per real token for each source and way of batching (see ``padding_table``)."""
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


def loss_picture(log: Sequence[Mapping], before: Mapping[str, float], after: Mapping[str, float], unseen: Mapping):
    """Draw the loss of every step, points of one source in one colour, and that of the fixed batches before and after.

    ``before`` and ``after``: {source: loss}; ``unseen``: {source: triplets of its fixed batch not trained on}.
    """
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(1, 2, figsize=(WIDTH + 1, 2.9), layout="constrained", width_ratios=(1.15, 1))
        steps, fixed = axes
        for source in before:
            rows = [row for row in log if row["source"] == source]
            steps.scatter(
                [r["step"] for r in rows], [r["loss"] for r in rows], s=24, color=_shade(source), label=_name(source)
            )
        steps.set(xlabel="optimizer step", ylabel="loss of the batch", ylim=(0, None))
        steps.set_title("in training: every batch is another test")
        steps.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.24), columnspacing=1, handletextpad=0.2)
        _moves(fixed, before, after)
        fixed.set_yticks(range(len(before)), [f"{_name(source)}\n({unseen[source]} unseen)" for source in before])
    return _done(figure)


def _moves(axis, before: Mapping[str, float], after: Mapping[str, float]) -> None:
    for y, source in enumerate(before):
        one, two, shade = before[source], after[source], _shade(source)
        arrow = {"arrowstyle": "-|>", "color": shade, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", (two, y), (one, y), arrowprops=arrow)
        axis.plot(one, y, "o", color=shade, markerfacecolor="white", markersize=5)
        axis.text((one + two) / 2, y - 0.22, f"{one:.2f} to {two:.2f}", fontsize=7, ha="center")
    values = [*before.values(), *after.values()]
    axis.set(xlabel="loss", ylim=(len(before) - 0.5, -0.7), xlim=_margins(values))
    axis.set_title("the same fixed batch, before to after")
    axis.grid(axis="x")


def _margins(values: Sequence[float]) -> tuple[float, float]:
    """The limits of an axis that holds the values and the text beside them."""
    room = max(max(values) - min(values), 0.1)
    return max(0.0, min(values) - 0.15 * room), max(values) + 0.15 * room


def _name(source: str) -> str:
    return source.replace("_", "-")


def _shade(source: str) -> str:
    from lib.common.design import CODES

    return CATEGORY_COLOURS.get(CODES.get(source, source), NEUTRAL)


def _done(figure):
    """Close a figure, so that a notebook shows it once: where it is displayed."""
    import matplotlib.pyplot as plt

    plt.close(figure)
    return figure
