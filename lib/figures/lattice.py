"""The 16 subsets of one task as a lattice: bottom nothing added, top everything, one edge per added category."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.numbers import minus
from lib.figures.base import INK, WIDTH, category_name, defined, palette, style


def lattice(cells: pd.DataFrame, factor: str | None = None, title: str = "", effect=None):
    """Draw the subsets with their scores (points); the edges that add `factor` are drawn in its colour with the change.

    `cells`: `influence.cells` of one task (columns subset, 0/1 factors, score); `effect`: the row of `influence.effects`
    of this set and category, for the line that says what the edges add up to. Returns (figure, table).
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    names = [c for c in cells.columns if c not in ("subset", "score", "sd_seed", "n")]
    at = _places(cells, names)
    with style():
        fig, ax = plt.subplots(figsize=(WIDTH, 4.15), layout="constrained")
        shades, changes = palette(names), []
        for low, high, added in _edges(cells, names):
            change = cells["score"].iloc[high] - cells["score"].iloc[low]
            changes += [change] if added == factor else []
            _edge(ax, at[low], at[high], shades[added] if added == factor else "", change)
        light = LinearSegmentedColormap.from_list("light", ["#FFFFFF", "#B9C3D6"])  # black text is read on all of it
        tones = plt.cm.ScalarMappable(plt.Normalize(cells["score"].min(), cells["score"].max()), light)
        _boxes(ax, cells, at, tones)
        bar = fig.colorbar(tones, ax=ax, fraction=0.03, pad=0.01)
        bar.set_label("score (points)")
        bar.outline.set_visible(False)
        ax.set_axis_off()
        wide, high = (max(place[i] for place in at) for i in (0, 1))
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


def _edge(ax, low: tuple[float, float], high: tuple[float, float], shade: str, change: float) -> None:
    """One edge; with a `shade` it is drawn in it, with the change (points) written on it."""
    xs, ys = zip(low, high, strict=True)
    if not shade:
        ax.plot(xs, ys, color="#DDDDDD", linewidth=0.6, zorder=1)
        return
    ax.plot(xs, ys, color=shade, linewidth=1.8, zorder=2)
    ax.text(
        0.64 * xs[0] + 0.36 * xs[1],
        0.64 * ys[0] + 0.36 * ys[1],
        minus(change, 1),
        ha="center",
        va="center",
        fontsize=7,
        color=shade,
        fontweight="bold",
        zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )


def _boxes(ax, cells: pd.DataFrame, at: list[tuple[float, float]], shades) -> None:
    """The subsets, each a box with its name and score, shaded by the score."""
    for (x, y), row in zip(at, cells.itertuples(), strict=True):
        ax.text(
            x,
            y,
            f"{row.subset}\n{row.score:.1f}",
            ha="center",
            va="center",
            fontsize=6.3,
            color=INK,
            zorder=4,
            linespacing=1.15,
            bbox={
                "boxstyle": "round,pad=0.35",
                "facecolor": shades.to_rgba(row.score),
                "edgecolor": "#8A93A6",
                "linewidth": 0.6,
            },
        )


def _places(cells: pd.DataFrame, names: list[str]) -> list[tuple[float, float]]:
    """x, y of every subset: one row per size, centred, in the order of the table."""
    size = cells[names].sum(axis=1).to_numpy()
    places = [(0.0, 0.0)] * len(cells)
    for count in np.unique(size):
        row = np.flatnonzero(size == count)
        for i, where in enumerate(row):
            places[where] = (float(i - (len(row) - 1) / 2), float(count))
    return places


def _edges(cells: pd.DataFrame, names: list[str]) -> list[tuple[int, int, str]]:
    """(row without, row with, category) of every pair of subsets that differ in one category."""
    rows = {tuple(levels): i for i, levels in enumerate(cells[names].to_numpy().tolist())}
    edges = []
    for levels, low in rows.items():
        for place, name in enumerate(names):
            higher = tuple(1 if i == place else v for i, v in enumerate(levels))
            if levels[place] == 0 and higher in rows:
                edges.append((low, rows[higher], name))
    return edges
