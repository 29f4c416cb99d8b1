"""One way to draw points, stacked bars, rows by type, and the key that explains them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D

from lib.figures.base import INK, order_types, type_name


def points(ax, x, y, shade, filled=True, edge=None, **look) -> None:
    """Draw points with seaborn. `shade`, `filled` (else white inside) and `edge` (else the shade): one value or one each."""
    table = pd.DataFrame({"x": np.asarray(x, float), "y": np.asarray(y, float)})
    table = table.assign(
        shade=np.asarray(shade), filled=np.asarray(filled), edge=np.asarray(shade if edge is None else edge)
    ).dropna()
    if table.empty:
        return
    faces = np.where(table["filled"], table["shade"], "white")
    if look.get("marker") not in ("|", "x"):  # those have no inside
        look["edgecolor"] = table["edge"].array
    sns.scatterplot(x=table["x"].array, y=table["y"].array, hue=faces, palette={face: face for face in faces},
                    legend=False, ax=ax, **look)  # fmt: skip


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


def heights(types: pd.Series, extra: float = 1.3) -> np.ndarray:
    """Return the heights (rows,) of rows sorted by type: one unit each, with `extra` room for a heading above a type."""
    order = {kind: i for i, kind in enumerate(order_types(types))}
    return np.arange(len(types)) + extra * types.map(order).to_numpy()


def headings(ax, types: pd.Series, y: np.ndarray, inside: bool = False) -> None:
    """Write the types' names, bold, above their rows: among the labels of the y axis, or inside the panel."""
    look = {"fontsize": 6.5, "fontweight": "bold", "va": "center", "annotation_clip": False}
    for kind in order_types(types):
        place = (0, y[(types == kind).to_numpy()].min() - 0.95)
        ax.annotate(type_name(kind), place, xycoords=("axes fraction", "data"), textcoords="offset points",
                    xytext=(3 if inside else -4, 0), ha="left" if inside else "right", **look)  # fmt: skip
