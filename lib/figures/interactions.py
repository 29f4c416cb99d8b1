"""Do categories add up? Interaction matrices per type and half-normal plots of all contrasts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.numbers import minus
from lib.figures import grid
from lib.figures.base import GAIN, INK, NEUTRAL, WIDTH, defined, order_factors, order_types, style, type_name
from lib.figures.heat import frame, names
from lib.influence.tables import OVERALL


def _panels(fig, places, count: int, columns: int, **keywords):
    """A grid of `count` small panels in a subplotspec grid."""
    axes = []
    for i in range(count):
        shared = {"sharey": axes[0], "sharex": axes[0]} if keywords.get("share") and axes else {}
        axes.append(fig.add_subplot(places[divmod(i, columns)], **shared))
    return axes


def matrix(
    interactions: pd.DataFrame, effects: pd.DataFrame, block: pd.DataFrame, alpha: float = 0.05, corrected: str = "p_bh"
):
    """Main effects (diagonal) and two-way interactions (below it) per task type and over all tasks, in points.

    Takes the levels type and overall of `influence.interactions`, `effects`, `interaction_block`. A panel's title has
    the p of the F-test of all interactions together. A framed cell is below `alpha` after correction; what is not
    certain is pale. Returns (figure, table).
    """
    import matplotlib.pyplot as plt

    inter, main, block = (_typed(t) for t in (interactions, effects, block))
    table = pd.concat([main.rename(columns={"factor": "term"}), inter], ignore_index=True)[
        ["type", "term", "effect", "se", "t", "df", "p", "p_bh", "p_holm", "n"]
    ]
    table["certainty"] = grid.certainty(table, corrected, alpha)
    kinds = order_types(set(inter["type"]) - {OVERALL}) + [OVERALL]
    factors = order_factors(main["factor"])
    limit = grid.reach(table["effect"], table["certainty"])
    columns = min(4, len(kinds)) if len(kinds) != 9 else 5
    rows = -(-len(kinds) // columns)
    with style():
        tall = (WIDTH / columns + 0.25) * rows
        fig = plt.figure(figsize=(WIDTH, tall + 1.25), layout="constrained")
        above, below = fig.subfigures(2, 1, height_ratios=(tall + 0.45, 0.75))
        places = above.add_gridspec(rows, columns)
        for ax, kind in zip(_panels(above, places, len(kinds), columns), kinds, strict=True):
            _matrix(ax, table[table["type"] == kind], factors, limit)
            p = block.loc[block["type"] == kind, "p"]
            count = int((inter["type"] == kind).sum())
            told = (
                f"{count} pairs: p = {p.iloc[0]:.2g}" if len(p) and np.isfinite(p.iloc[0]) else "no test of the pairs"
            )
            ax.set_title(f"{type_name(kind)}\n{told}", fontsize=6.5)
        grid.scale(below.subplots(), limit, "points", names(alpha))
        fig.suptitle(_key(factors, alpha, corrected), fontsize=6.4, x=0.005, ha="left")
    return fig, table


def _key(factors: list[str], alpha: float, corrected: str) -> str:
    """What the cells, the frames and the abbreviations are."""
    lines = [
        "diagonal: effect of a category (points); below it: how the effect of one changes when the other is present",
        f"framed: certain, {grid.correction(corrected)} p < {alpha:g} over all cells of a kind;  "
        "in the titles: F-test of all pairs together",
    ]
    return "\n".join([*lines, defined(factors)]).strip()


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    table = table[table["level"].isin(["type", "overall"])].copy()
    table["type"] = table["type"].where(table["level"] == "type", OVERALL)
    return table


def _matrix(ax, table: pd.DataFrame, factors: list[str], limit: float) -> None:
    empty = pd.DataFrame(np.nan, index=factors, columns=factors)
    values, strength, text = empty.copy(), empty.fillna(1.0), empty.astype(object).fillna("")
    framed = []
    for row in table.itertuples():
        parts = row.term.split(":")
        if not set(parts) <= set(factors):
            continue
        places = sorted(factors.index(part) for part in parts)
        i, j = places[-1], places[0]
        values.iat[i, j], strength.iat[i, j] = row.effect, grid.STRENGTH[row.certainty]
        text.iat[i, j] = minus(row.effect, 1) if np.isfinite(row.effect) else ""
        framed += [(j, i)] if row.certainty == 2 else []
    grid.heat(ax, values, limit, strength, text, size=5.6 if len(factors) < 5 else 4.6, gap=0.6)
    for j, i in framed:
        frame(ax, j, i)
    for i, j in zip(*np.triu_indices(len(factors), 1), strict=True):
        ax.fill_between([j, j + 1], i, i + 1, color="white", linewidth=0.5, zorder=2)
    codes = ["pub" if f == "public" else f for f in factors]
    ax.set_xticks(np.arange(len(factors)) + 0.5, codes, fontsize=6.3, rotation=0 if max(map(len, codes)) < 4 else 45)
    ax.set_yticks(np.arange(len(factors)) + 0.5, codes, fontsize=6.3, rotation=0)
    ax.set_box_aspect(1)


def half_normal(contrasts: pd.DataFrame, alpha: float = 0.05):
    """Half-normal plots of all contrasts, one panel per type and one over all tasks, in units of the panel's noise.

    `contrasts` stacks `influence.half_normal` tables with a column `type`. Contrasts that are noise lie on the line;
    the dotted margin is Lenth's simultaneous one for all points of the figure: noise alone puts a point above it, in
    any panel, with probability `alpha`. Returns (figure, table with `units` and `figure_margin`).
    """
    import matplotlib.pyplot as plt

    table = with_margin(contrasts, alpha)
    kinds = order_types(set(table["type"]) - {OVERALL}) + ([OVERALL] if OVERALL in set(table["type"]) else [])
    columns = min(4, len(kinds)) if len(kinds) != 9 else 5
    rows = -(-len(kinds) // columns)
    with style():
        fig = plt.figure(figsize=(WIDTH, 1.65 * rows + 0.95), layout="constrained")
        places = fig.add_gridspec(rows, columns)
        top = 1.12 * float(
            np.nanmax(np.r_[table["units"], (table["figure_margin"] / table["pse"]).replace(np.inf, np.nan)])
        )
        for i, (ax, kind) in enumerate(zip(_panels(fig, places, len(kinds), columns, share=True), kinds, strict=True)):
            _half(ax, table[table["type"] == kind], top if np.isfinite(top) else 1.0)
            ax.set_title(type_name(kind), fontsize=7)
            ax.tick_params(labelsize=6.3, labelleft=i % columns == 0)
        fig.supxlabel("half-normal quantile (where pure noise would put the point)", fontsize=7)
        fig.supylabel("|contrast| / its noise (Lenth's error)", fontsize=7)
        fig.legend(handles=_half_handles(alpha, table), loc="outside upper left", ncols=2, fontsize=6.4)
    return fig, table


def with_margin(contrasts: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Add `figure_margin`, Lenth's simultaneous margin for the points of all panels together, `units`, and `beyond`."""
    from lib.influence.interactions import lenth

    panels = contrasts["type"].nunique()
    margins = {kind: lenth(own["contrast"], alpha / panels)[2] for kind, own in contrasts.groupby("type")}
    table = contrasts.assign(figure_margin=contrasts["type"].map(margins)).reset_index(drop=True)
    table["units"] = np.where(table["pse"] > 0, table["magnitude"] / table["pse"].replace(0, np.nan), 0.0)
    return table.assign(beyond=table["magnitude"] > table["figure_margin"])


def _half_handles(alpha: float, table: pd.DataFrame) -> list:
    """Every sign of the half-normal plot."""
    from matplotlib.lines import Line2D

    dot = {"marker": "o", "linestyle": "none", "markersize": 4}
    share = f"{100 * alpha:g} %"
    words = defined(order_factors({part for term in table["term"] for part in term.split(":")}))
    return [
        Line2D([], [], color=GAIN, label="effect of one category", **dot),
        Line2D([], [], color=NEUTRAL, label="interaction of two or more", **dot),
        Line2D([], [], color=INK, linewidth=0.7, label="where pure noise lies"),
        Line2D(
            [],
            [],
            color=INK,
            linewidth=0.8,
            linestyle=":",
            label=f"margin for all {len(table)} points at once (noise alone: {share}); beyond: named, in points",
        ),  # fmt: skip
        *([Line2D([], [], linestyle="none", label=words)] if words else []),
    ]


def _half(ax, table: pd.DataFrame, top: float) -> None:
    main = ~table["term"].str.contains(":")
    for chosen, shade in ((main, GAIN), (~main, NEUTRAL)):
        ax.scatter(table.loc[chosen, "quantile"], table.loc[chosen, "units"], s=9, color=shade, zorder=3)
    right = float(table["quantile"].max())
    ax.plot([0, right], [0, right], color=INK, linewidth=0.7)
    ax.axhline(float((table["figure_margin"] / table["pse"]).iloc[0]), color=INK, linewidth=0.8, linestyle=":")
    for row in table[table["beyond"]].itertuples():
        words = f"{row.term.replace(':', '×')} {minus(row.contrast, 1)}"
        ax.annotate(words, (row.quantile, row.units), xytext=(-4, 0), textcoords="offset points", ha="right", va="center",
                    fontsize=6)  # fmt: skip
    ax.set_ylim(0, top)
