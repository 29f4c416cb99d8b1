"""What all figures share: size, colours, names, and one way to write a figure with its numbers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG

from lib.common.design import CODES, LABELS
from lib.common.files import KitError, write_bytes, write_text

# Text width of an A4 page with usual margins, inches: a figure set at this width keeps its 8 pt text.
WIDTH = 6.3

# Okabe and Ito's palette, told apart by readers with any of the common colour vision deficiencies.
CATEGORY_COLOURS = {"ss": "#E69F00", "sl": "#0072B2", "ls": "#009E73", "ll": "#CC79A7", "sts": "#56B4E9"}
CATEGORY_COLOURS |= {"bt": "#D55E00", "public": "#000000"}
CATEGORY_NAMES = {CODES[name]: label for name, label in LABELS.items()}
CATEGORY_NAMES |= {"sts": "STS data", "bt": "bitext data", "public": "public data"}
OWN_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#8A7500")
GAIN, LOSS, NEUTRAL, INK = "#0072B2", "#D55E00", "#8C8C8C", "#222222"

# MTEB's order of task types; a type that MTEB does not know comes after these, in alphabetical order.
TYPES = tuple("Classification Clustering PairClassification Reranking Retrieval STS Summarization BitextMining".split())
TYPE_NAMES = {"PairClassification": "Pair classif.", "BitextMining": "Bitext mining"}

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
    "grid.color": "#DDDDDD",
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
    """matplotlib's rc context with the kit's sizes and colours: `with style(): fig, ax = ...`."""
    return mpl.rc_context(RC)


def save(fig, table: pd.DataFrame | None, name: str, out_dir: str | Path) -> dict[str, Path]:
    """Write `out_dir/name.{svg,png,csv}` atomically and close the figure.

    `table` holds the numbers that `fig` shows (a figure without them is refused with KitError). Same figure, same
    bytes: no date, fixed ids. Returns {"svg", "png", "csv": path}.
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


def order_types(types: Iterable[str], last: str = "") -> list[str]:
    """Task types in MTEB's order, unknown ones after them by name; at the end the row of all sets, `last`, if there."""
    present = set(types) - {last}
    ordered = [t for t in TYPES if t in present] + sorted(present - set(TYPES))
    return ordered + [last] * (last in set(types))


def by_type(table: pd.DataFrame, then: str, ascending: bool = True) -> pd.DataFrame:
    """The rows sorted by type in MTEB's order, then by a column; rows that tie stay as they are."""
    order = order_types(table["type"])
    table = table.sort_values(then, ascending=ascending, kind="stable")
    return table.sort_values("type", key=lambda kinds: kinds.map(order.index), kind="stable", ignore_index=True)


def type_name(task_type: str) -> str:
    """Short label of a task type for an axis."""
    return TYPE_NAMES.get(task_type, task_type)


def category_name(code: str) -> str:
    """`sl` -> `short-long`; a term of two, `sl:ll` -> `short-long x long-long`; unknown codes as they are."""
    return " × ".join(CATEGORY_NAMES.get(part, part) for part in code.split(":"))


def colour(code: str) -> str:
    """Colour of a category; grey for one that the kit does not know."""
    return CATEGORY_COLOURS.get(code, NEUTRAL)


def palette(codes: Iterable[str]) -> dict[str, str]:
    """A colour per category: the kit's own for its categories, others the palette's remaining ones in their order."""
    codes = order_factors(codes)  # the same colours whatever order a figure has them in
    taken = {code: CATEGORY_COLOURS[code] for code in codes if code in CATEGORY_COLOURS}
    free = [shade for shade in OWN_COLOURS if shade not in taken.values()]
    others = [code for code in codes if code not in taken]
    if len(others) > len(free):
        free += sns.husl_palette(len(others) - len(free), l=0.5).as_hex()
    return taken | dict(zip(others, free, strict=False))


def defined(codes: Iterable[str]) -> str:
    """The abbreviations among the codes, spelled out: `ss short-short, sl short-long`."""
    return ", ".join(f"{code} {category_name(code)}" for code in codes if category_name(code) != code)


def order_factors(codes: Iterable[str]) -> list[str]:
    """Categories in the design's order (ss, sl, ls, ll, sts, bt), others after them by name."""
    present = set(codes)
    return [c for c in CODES.values() if c in present] + sorted(present - set(CODES.values()))


def diverging():
    """Orange (harm) through white to blue (help): safe for colour vision deficiencies; grey where there is no value."""
    shades = ["#8C3D00", LOSS, "#F7D6BF", "#FFFFFF", "#C3DDF0", GAIN, "#00375C"]
    return mpl.colors.LinearSegmentedColormap.from_list("harm_help", shades).with_extremes(bad="#EEEEEE")
