"""Do categories add up? Interaction matrices, half-normal plots of all contrasts, the subsets of a set as a lattice."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from lib.common.display import minus
from lib.figures import base, matrix
from lib.figures.base import INK, NEUTRAL, WIDTH, category_name, defined, order_factors, order_types, palette, style
from lib.figures.marks import line, mark, points
from lib.influence.interactions import lenth
from lib.influence.tables import OVERALL


def _shape(kinds: list[str]) -> tuple[int, int]:
    """Rows and columns of small panels, one per type."""
    columns = 5 if len(kinds) == 9 else min(4, len(kinds))
    return -(-len(kinds) // columns), columns


def _grid(figure, kinds: list[str], share: bool = False) -> dict:
    """The panels' axes: {type: axes}."""
    rows, columns = _shape(kinds)
    axes = figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False).ravel()
    for spare in axes[len(kinds) :]:
        spare.set_visible(False)
    return dict(zip(kinds, axes, strict=False))


def interaction_map(interactions, effects: pd.DataFrame, block: pd.DataFrame, alpha=0.05, corrected="p_bh"):
    """Main effects (diagonal) and two-way interactions (below it) per task type and over all tasks, in points.

    Takes the levels type and overall of `influence.interactions`, `effects`, `interaction_block`. A panel's title has
    the p of the F-test of all interactions together. A framed cell is below `alpha` after correction; what is not
    certain is pale. Returns (figure, table).
    """
    inter, main, block = (_typed(t) for t in (interactions, effects, block))
    table = pd.concat([main.rename(columns={"factor": "term"}), inter], ignore_index=True)
    table = table[["type", "term", "effect", "se", "t", "df", "p", "p_bh", "p_holm", "n"]]
    table = table.assign(certainty=matrix.certainty(table, corrected, alpha))
    kinds, factors = order_types({*inter["type"], OVERALL}, last=OVERALL), order_factors(main["factor"])
    limit = matrix.reach(table["effect"], table["certainty"])
    tests, pairs = block.set_index("type")["p"], inter["type"].value_counts()
    key = (
        "diagonal: effect of a category (points); below it: how the effect of one changes when the other is present\n"
        f"framed: certain, {matrix.correction(corrected)} p < {alpha:g} over all cells of a kind;  "
        f"in the titles: F-test of all pairs together\n{defined(factors)}"
    )
    with style():
        rows, columns = _shape(kinds)
        tall = (WIDTH / columns + 0.25) * rows
        fig = plt.figure(figsize=(WIDTH, tall + 1.25))
        above, below = fig.subfigures(2, 1, height_ratios=(tall + 0.45, 0.75))
        for kind, ax in _grid(above, kinds).items():
            _cells(ax, table[table["type"] == kind], factors, limit)
            p = tests.get(kind, np.nan)
            told = f"{pairs[kind]} pairs: p = {p:.2g}" if np.isfinite(p) else "no test of the pairs"
            ax.set_title(f"{base.type_name(kind)}\n{told}", fontsize=6.5)
        matrix.scale(below.subplots(), limit, "points", alpha)
        fig.suptitle(key.strip(), fontsize=6.4, x=0.005, ha="left")
    return fig, table


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    table = table[table["level"].isin(["type", "overall"])]
    return table.assign(type=table["type"].where(table["level"] == "type", OVERALL))


def _cells(ax, table: pd.DataFrame, factors: list[str], limit: float) -> None:
    """One type's matrix: main effects on the diagonal, the interaction of two categories below it."""
    ends = [sorted(factors.index(name) for name in term.split(":")) for term in table["term"]]
    table = table.assign(row=[end[-1] for end in ends], column=[end[0] for end in ends], sure=table["certainty"])
    above = np.triu(np.ones((len(factors), len(factors)), bool), 1)
    names = dict(enumerate("pub" if name == "public" else name for name in factors))
    look = {"size": 5.6 if len(factors) < 5 else 4.6, "linewidths": 0.6, "blank": above}
    matrix.effect_map(ax, table.assign(words=[minus(e, 1) for e in table["effect"]]), limit, names, names, **look)
    ax.tick_params(labelsize=6.3)
    ax.tick_params(axis="x", rotation=0 if max(map(len, names.values())) < 4 else 45)
    ax.set_box_aspect(1)


def half_normal(contrasts: pd.DataFrame, alpha: float = 0.05):
    """Half-normal plots of all contrasts, one panel per type and one over all tasks, in units of the panel's noise.

    `contrasts` stacks `influence.half_normal` tables with a column `type`. Contrasts that are noise lie on the line;
    the dotted margin is Lenth's simultaneous one for all points of the figure: noise alone puts a point above it, in
    any panel, with probability `alpha`. Returns (figure, table with `units` and `figure_margin`).
    """
    table = with_margin(contrasts, alpha)
    kinds = order_types(table["type"], last=OVERALL)
    margin = (table["figure_margin"] / table["pse"]).replace(np.inf, np.nan)
    top = 1.12 * float(np.nanmax([*table["units"], *margin, 0.0])) or 1.0
    factors = order_factors({part for term in table["term"] for part in term.split(":")})
    words = f"margin for all {len(table)} points at once (noise alone: {100 * alpha:g} %); beyond: named, in points"
    key = [
        mark("effect of one category", base.GAIN),
        mark("interaction of two or more", NEUTRAL),
        line("where pure noise lies", 0.7),
        line(words, 0.8, ":"),
        *([line(defined(factors), 0)] if defined(factors) else []),
    ]
    with style():
        fig = plt.figure(figsize=(WIDTH, 1.65 * _shape(kinds)[0] + 0.95))
        for kind, ax in _grid(fig, kinds, share=True).items():
            own = table[table["type"] == kind]
            shade = np.where(own["term"].str.contains(":"), NEUTRAL, base.GAIN)
            ax.axline((0, 0), slope=1, color=INK, linewidth=0.7)
            ax.axhline(float((own["figure_margin"] / own["pse"]).iloc[0]), color=INK, linewidth=0.8, linestyle=":")
            points(ax, own["quantile"], own["units"], shade, s=13, linewidth=0, zorder=3)
            for row in own[own["beyond"]].itertuples():
                words, place = f"{row.term.replace(':', '×')} {minus(row.contrast, 1)}", (row.quantile, row.units)
                ax.annotate(words, place, (-4, 0), textcoords="offset points", ha="right", va="center", fontsize=6)
            ax.set_ylim(0, top)
            ax.set_title(base.type_name(kind), fontsize=7)
            ax.tick_params(labelsize=6.3, labelbottom=True)
        fig.supxlabel("half-normal quantile (where pure noise would put the point)", fontsize=7)
        fig.supylabel("|contrast| / its noise (Lenth's error)", fontsize=7)
        fig.legend(handles=key, loc="outside upper left", ncols=2, fontsize=6.4)
    return fig, table


def with_margin(contrasts: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Add `figure_margin`, Lenth's simultaneous margin for the points of all panels together, `units`, and `beyond`."""
    panels = contrasts["type"].nunique()
    margins = {kind: lenth(own["contrast"], alpha / panels)[2] for kind, own in contrasts.groupby("type")}
    table = contrasts.assign(figure_margin=contrasts["type"].map(margins)).reset_index(drop=True)
    table["units"] = np.where(table["pse"] > 0, table["magnitude"] / table["pse"].replace(0, np.nan), 0.0)
    return table.assign(beyond=table["magnitude"] > table["figure_margin"])


def lattice(cells: pd.DataFrame, factor: str | None = None, title: str = "", effect=None):
    """Draw the subsets with their scores (points); the edges that add `factor` are drawn in its colour with the change.

    Bottom nothing added, top everything, one edge per added category. `cells`: `influence.cells` of one task (columns
    subset, 0/1 factors, score); `effect`: the row of `influence.effects` of this set and category, for the line that
    says what the edges add up to. Returns (figure, table).
    """
    names = [c for c in cells.columns if c not in ("subset", "score", "sd_seed", "n")]
    at, shade, scores, changes = _places(cells, names), palette(names).get(factor), cells["score"].to_numpy(), []
    light = LinearSegmentedColormap.from_list("light", ["#FFFFFF", "#B9C3D6"])  # black text is read on all of it
    tones = plt.cm.ScalarMappable(plt.Normalize(scores.min(), scores.max()), light)
    centre = {"ha": "center", "va": "center"}
    with style():
        fig, ax = plt.subplots(figsize=(WIDTH, 4.15))
        for low, high, added in _edges(cells, names):
            if added != factor:
                ax.plot(*at[[low, high]].T, color="#DDDDDD", linewidth=0.6, zorder=1)
                continue
            ax.plot(*at[[low, high]].T, color=shade, linewidth=1.8, zorder=2)
            changes.append(scores[high] - scores[low])
            look = {
                "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.6},
                "fontweight": "bold",
                "color": shade,
            }
            ax.text(*(0.64 * at[low] + 0.36 * at[high]), minus(changes[-1], 1), fontsize=7, zorder=5, **centre | look)
        for place, name, score in zip(at, cells["subset"], scores, strict=True):
            box = {"boxstyle": "round,pad=0.35", "edgecolor": "#8A93A6", "linewidth": 0.6}
            box["facecolor"] = tones.to_rgba(score)
            ax.text(*place, f"{name}\n{score:.1f}", fontsize=6.3, zorder=4, linespacing=1.15, bbox=box, **centre)
        bar = fig.colorbar(tones, ax=ax, fraction=0.03, pad=0.01)
        bar.set_label("score (points)")
        bar.outline.set_visible(False)
        ax.set_axis_off()
        wide, high = at.max(axis=0)
        ax.set(xlim=(-wide - 0.6, wide + 0.6), ylim=(-0.35, high + 0.35))
        ax.set_title(_told(cells, names, factor, title, changes, effect), fontsize=7.5)
    return fig, cells.reset_index(drop=True)


def _told(cells: pd.DataFrame, names: list[str], factor: str | None, title: str, changes: list[float], effect) -> str:
    """What the drawing shows, in words: the set, the seeds, the mean of the coloured changes with its error."""
    seeds = int(cells["n"].max()) if "n" in cells else 1
    lines = [f"{title}: score of each subset" + (f", mean of {seeds} seeds" if seeds > 1 else ", one run each")]
    if factor and changes:
        mean = f"mean of the {len(changes)} changes " if len(changes) > 1 else ""
        lines.append(f"coloured edges add {category_name(factor)}: {mean}{minus(float(np.mean(changes)), 2)} points")
        if effect is not None and np.isfinite(effect["se"]):
            lines[-1] += f" (by regression {minus(effect['effect'], 2)} ± {effect['se']:.2f})"
    return "\n".join([*lines, defined(names)]).strip()


def _places(cells: pd.DataFrame, names: list[str]) -> np.ndarray:
    """x, y (subsets, 2) of every subset: one row per size, centred, in the order of the table."""
    size = cells[names].sum(axis=1)
    row = cells.groupby(size.to_numpy()).cumcount()
    return np.column_stack([row - (size.map(size.value_counts()) - 1) / 2, size])


def _edges(cells: pd.DataFrame, names: list[str]) -> list[tuple[int, int, str]]:
    """(row without, row with, category) of every pair of subsets that differ in one category."""
    bits = 2 ** np.arange(len(names))
    rows = {code: row for row, code in enumerate(cells[names].to_numpy() @ bits)}
    steps = [(code, bit, name) for code in rows for bit, name in zip(bits, names, strict=True) if not code & bit]
    return [(rows[code], rows[code + bit], name) for code, bit, name in steps if code + bit in rows]
