"""What all figures share: size, colours, names, points, keys, and one way to write a figure with its numbers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.lines import Line2D

from lib.common.files import KitError, write_bytes, write_text
from lib.figures.names import order_types, type_name

# Text width of an A4 page with usual margins, inches: a figure set at this width keeps its 8 pt text.
WIDTH = 6.3

GAIN, LOSS, NEUTRAL, INK, BAND = "#0072B2", "#D55E00", "#8C8C8C", "#222222", "#DDDDDD"

RC: dict[str, Any] = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.7,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # else matplotlib measures all ticks at every draw to place a title
    "axes.axisbelow": True,
    "grid.color": BAND,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "lines.linewidth": 1.2,
    # Text stays text in the SVG, and the ids in it come from a fixed salt: same numbers, same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "lib.figures",
    "hatch.linewidth": 0.5,
}


def style():
    """matplotlib's rc context with the kit's sizes and colours: `with style(): ...`, or `@style()` on a function."""
    return mpl.rc_context(RC)


def save(fig, table: pd.DataFrame | None, name: str, out_dir: str | Path) -> dict[str, Path]:
    """Write `out_dir/name.{svg,png,csv}` atomically, the same bytes each time, and close the figure.

    `table` holds the numbers that `fig` shows (KitError without them). Returns {"svg", "png", "csv": path}.
    """
    if table is None or len(table) == 0:
        raise KitError(f"figure {name!r} has no table of numbers; pass the DataFrame it shows to save()")
    paths = {kind: Path(out_dir) / f"{name}.{kind}" for kind in ("svg", "png", "csv")}
    png, svg = io.BytesIO(), io.StringIO()
    with style():
        fig.set_dpi(RC["savefig.dpi"])
        fig.draw_without_rendering()  # solve the layout once; savefig would do it twice more for each file
        fig.set_layout_engine("none")
        FigureCanvasAgg(fig).print_png(png, metadata={"Software": None})
        FigureCanvasSVG(fig).print_svg(svg, metadata={"Date": None})
    write_bytes(paths["png"], png.getvalue())
    write_text(paths["svg"], svg.getvalue())
    write_text(paths["csv"], table.to_csv(index=False, float_format="%.10g", lineterminator="\n"))
    plt.close(fig)
    return paths


def need(given: bool, otherwise: str) -> None:
    """Refuse a figure that these results cannot give, with the reason."""
    if not given:
        raise KitError(otherwise)


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


def mark(label: str, colour: str = INK, marker: str = "o", filled: bool = True, **look) -> Line2D:
    """An entry of a figure's key: a point and what it means."""
    face = colour if filled else "white"
    look = {"markersize": 4, "linestyle": "none"} | look
    return Line2D([], [], color=colour, marker=marker, markerfacecolor=face, label=label, **look)


def line(label: str, width: float = 1.0, dashes: Any = "-", colour: str = INK) -> Line2D:
    """An entry of a figure's key: a line and what it means."""
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
