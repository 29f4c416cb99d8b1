"""Figures of notebook 08: how much each explanation explains, beside chance and ceiling, and all cells behind it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, defined, order_factors, palette, style
from lib.figures.marks import line, mark, points, rows

LOOKS = {"these runs": ("o", INK), "other seeds": ("s", GAIN), "second study": ("D", LOSS)}
WORDS = {
    "sets": "which sets of a type gain more?\n(a set left out)",
    "types": "which types gain more?\n(a type left out)",
}
LOWEST = -0.6  # R2 below it are drawn there


def explained(judged: pd.DataFrame, ruler: str = "score"):
    """Cross-validated R2 of each explanation at every level and truth, with its null band and the ceiling.

    `judged`: `lib.predict.explain.judge_all`. Grey: what chance gives 9 times in 10; filled: beyond chance after
    correction. Returns (figure, table).
    """
    own = judged[judged["explanation"] != ruler]
    order = [*own.groupby("explanation")["r2"].mean().sort_values(ascending=False).index, ruler]
    truths, levels = list(dict.fromkeys(judged["truth"])), list(dict.fromkeys(judged["level"]))
    with style():
        size = (WIDTH, 0.36 * len(order) + 1.4)
        fig, axes = plt.subplots(1, len(levels), figsize=size, sharey=True, squeeze=False)
        for ax, level in zip(axes[0], levels, strict=True):
            for at, truth in enumerate(truths):
                _truth(ax, judged[(judged["level"] == level) & (judged["truth"] == truth)], order, at, len(truths))
            ax.axvline(0, color=INK, linewidth=0.7)
            ax.set_title(WORDS[level])
            shown = judged.loc[judged["level"] == level, ["r2", "ceiling", "null", "null_low"]].clip(lower=LOWEST)
            ax.set(xlim=(shown.min().min() - 0.04, shown.max().max() + 0.06), xlabel="R² on what was left out")
            ax.tick_params(axis="y", length=0)
        names = [name if name != ruler else "(the change of score itself)" for name in order]
        rows(axes[0, 0], range(len(order)), names)
        axes[0, -1].grid(axis="x")
        key = [mark(f"effects: {truth}", LOOKS[truth][1], LOOKS[truth][0]) for truth in truths]
        key += [line("chance (9 in 10)", 4, colour="#DDDDDD")]
        key += [line("ceiling: reliability", 1, ":")] * bool(judged["ceiling"].notna().any())
        key += [mark("not beyond chance", filled=False)]
        fig.legend(handles=key, loc="outside upper center", ncols=3, fontsize=6.8)
    return fig, judged


def _truth(ax, part: pd.DataFrame, order: list[str], at: int, count: int) -> None:
    """One truth's marks, bands and ceiling, beside those of the others."""
    part = part.set_index("explanation").loc[order]
    y = np.arange(len(order)) + 0.24 * (at - (count - 1) / 2)
    marker, shade = LOOKS[part["truth"].iloc[0]]
    low, high = (part[name].clip(lower=LOWEST) for name in ("null_low", "null"))
    ax.hlines(y, low, high, color="#DDDDDD", linewidth=4.2, zorder=1)
    sure = (part["p_holm"].fillna(part["p"]) < 0.05).to_numpy()  # the ruler is one, not one of many
    points(ax, part["r2"].clip(lower=LOWEST), y, shade, sure, s=17, marker=marker, linewidth=0.9, zorder=3)
    if np.isfinite(part["ceiling"].iloc[0]):
        ax.axvline(part["ceiling"].iloc[0], color=shade, linewidth=0.9, linestyle=":")


def cells(table: pd.DataFrame, names: list[str]):
    """Every explanation against the effect, a point per cell, each without the mean of its category on its type.

    `table`: a row per cell with `task, type, factor, effect` (points) and a column per explanation. Cells of a type
    with one set have no place here. Returns (figure, table).
    """
    shown = table[table.groupby("type")["task"].transform("nunique") > 1]
    apart = shown[[*names, "effect"]] - shown.groupby(["type", "factor"])[[*names, "effect"]].transform("mean")
    shades = palette(table["factor"])
    with style():
        height = -(-len(names) // 3)
        fig, axes = plt.subplots(height, 3, figsize=(WIDTH, 1.75 * height + 0.5), sharey=True, squeeze=False)
        for ax, name in zip(axes.flat, names, strict=False):
            x, y = apart[name], apart["effect"]
            points(ax, x, y, shown["factor"].map(shades).to_numpy(), s=11, linewidth=0)
            if x.std() > 0:
                ends = np.array([x.min(), x.max()])
                ax.plot(ends, (x * y).sum() / (x**2).sum() * ends, color=INK, linewidth=0.9)
            ax.axhline(0, color=NEUTRAL, linewidth=0.5)
            ax.set_title(name)
            ax.tick_params(labelsize=6.5)
            ax.locator_params(axis="x", nbins=4)
        for ax in list(axes.flat)[len(names) :]:
            ax.set_axis_off()
        fig.supylabel("effect of the category on the set (points)", fontsize=8)
        fig.supxlabel("explanation; both axes without the mean of the category on the type", fontsize=8)
        codes = order_factors(table["factor"])
        fig.legend(handles=[mark(defined([c]) or c, shades[c]) for c in codes], loc="outside upper center", ncols=4)
    return fig, table
