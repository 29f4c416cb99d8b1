"""What all figures share: their look, points with intervals, rows, keys, and one way to write them with numbers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.lines import Line2D

from lib.common.bundled import data_path
from lib.common.files import KitError, write_bytes, write_text
from lib.figures.texts import order_types, type_name

# Text width of an A4 page with usual margins, inches: a figure set at this width keeps its 8 pt text.
WIDTH = 6.3

GAIN, LOSS, NEUTRAL, INK, BAND = "#0072B2", "#D55E00", "#8C8C8C", "#222222", "#DDDDDD"

TOLD = yaml.safe_load(data_path("figures.yaml").read_text(encoding="utf-8"))  # questions, notes, names
RC = mpl.rc_params_from_file(data_path("figures.mplstyle"), use_default_template=False)


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
        fig.set_dpi(mpl.rcParams["savefig.dpi"])
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
    """Draw points. `shade`, `filled` (else white), `edge` (else the shade): one value or one each."""
    shade, filled, edge = np.broadcast_arrays(shade, filled, shade if edge is None else edge, np.empty(len(x)))[:3]
    if look.get("marker") not in ("|", "x"):  # those have no inside
        look["edgecolors"] = list(edge)
    ax.scatter(np.asarray(x, float), np.asarray(y, float), c=list(np.where(filled, shade, "white")), **look)


def estimates(ax, value, low, high, y, shade, sure=True, width: float = 1.2, s: float = 16, edge=None, **look) -> None:
    """Draw points with horizontal intervals, filled where they are `sure`, and the line of no effect."""
    ax.axvline(0, color=INK, linewidth=0.7)
    ax.hlines(y, low, high, color=shade, linewidth=width)
    points(ax, value, y, shade, sure, edge, **{"s": s, "linewidth": 0.8, "zorder": 3} | look)


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
