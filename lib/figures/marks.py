"""One way to draw points, stacked bars, rows by type, and the key that explains them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D

from lib.figures.base import INK, order_types, type_name


def points(ax, x, y, shade, filled=True, edge=None, **look) -> None:
    """Draw points with seaborn. `shade`, `filled` (else white), `edge` (else the shade): one value or one each."""
    table = pd.DataFrame({"x": np.asarray(x, float), "y": np.asarray(y, float)})
    edge = shade if edge is None else edge
    table = table.assign(shade=np.asarray(shade), filled=np.asarray(filled), edge=np.asarray(edge)).dropna()
    if table.empty:
        return
    table["shade"] = table["shade"].where(table["filled"], "white")
    if look.get("marker") not in ("|", "x"):  # those have no inside
        look["edgecolor"] = table["edge"].array
    look |= {"hue": table["shade"].array, "palette": {shade: shade for shade in table["shade"]}, "legend": False}
    sns.scatterplot(x=table["x"].array, y=table["y"].array, ax=ax, **look)


def stacked(ax, y, parts: pd.DataFrame, looks: list[dict], words: list[str]) -> None:
    """Draw bars of `parts` (rows, parts) end to end at the heights `y`, one look per part, with words at their ends."""
    ends = parts.cumsum(axis=1)
    for name, look in zip(parts, looks, strict=True):
        ax.barh(y, parts[name].where(parts[name] > 0), 0.62, ends[name] - parts[name], **look)
    for at, end, text in zip(y, ends.iloc[:, -1], words, strict=True):
        ax.annotate(text, (end, at), (4, 0), textcoords="offset points", va="center", fontsize=7.5)


def mark(label: str, colour: str = INK, marker: str = "o", filled: bool = True, **look) -> Line2D:
    """Return an entry of a figure's key: a point and what it means."""
    face = colour if filled else "white"
    look = {"markersize": 4, "linestyle": "none"} | look
    return Line2D([], [], color=colour, marker=marker, markerfacecolor=face, label=label, **look)


def line(label: str, width: float = 1.0, dashes: Any = "-", colour: str = INK) -> Line2D:
    """Return an entry of a figure's key: a line and what it means."""
    return Line2D([], [], color=colour, linewidth=width, linestyle=dashes, label=label)


def heights(types: pd.Series) -> np.ndarray:
    """Heights (rows,) of rows sorted by type: one unit each, and room for a heading above every type."""
    return np.arange(len(types)) + 1.3 * types.map(order_types(types).index).to_numpy()


def rows(ax, y, labels: Iterable[str], size: float = 7.5, types: pd.Series | None = None, inside: bool = False) -> None:
    """Name the rows at the heights `y`, the first on top; with `types` write each type's name above its rows, bold."""
    y = np.asarray(y)
    ax.set_yticks(y, list(labels), fontsize=size)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_ylim(y.max() + 0.7, y.min() - (0.7 if types is None else 1.7))
    for kind in [] if types is None else order_types(types):
        place = (0, y[(types == kind).to_numpy()].min() - 0.95)
        look = {"ha": "left" if inside else "right", "va": "center", "fontsize": 6.5, "fontweight": "bold"}
        look |= {"textcoords": "offset points", "annotation_clip": False}
        ax.annotate(type_name(kind), place, (3 if inside else -4, 0), ("axes fraction", "data"), **look)
