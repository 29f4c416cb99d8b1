"""How far each set moved against the untrained base, with its interval (notebook 04)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import to_rgba

from lib.common.numbers import POINTS
from lib.figures.base import GAIN, LOSS, NEUTRAL, WIDTH, order_types, style, type_name


def bars(table: pd.DataFrame):
    """Return a figure of the changes in points per set, grouped by type, with their intervals."""

    order = {kind: i for i, kind in enumerate(order_types(table["type"]))}
    rows = table.assign(place=table["type"].map(order)).sort_values(["place", "task"], ascending=False)
    clear = (rows["low"] > 0) | (rows["high"] < 0)
    shade = [
        to_rgba(NEUTRAL, 0.45) if not sure else to_rgba(GAIN if change > 0 else LOSS, 0.75)
        for sure, change in zip(clear, rows["change"], strict=True)
    ]
    spread = [
        POINTS * (rows["change"] - rows["low"]).clip(lower=0),
        POINTS * (rows["high"] - rows["change"]).clip(lower=0),
    ]
    with style():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.6 + 0.22 * len(rows)), layout="constrained")
        ax.barh(rows["task"], POINTS * rows["change"], color=shade, height=0.65)
        ax.errorbar(
            POINTS * rows["change"], rows["task"], xerr=spread, fmt="none", ecolor="#222222", elinewidth=0.8, capsize=2
        )
        ax.axvline(0, color="#555555", linewidth=0.7)
        ax.set_xlabel("change against the untrained base, points (line: 95 % interval; pale grey bar: it holds 0)")
        ax.grid(axis="x")
        ax.set_ylim(-0.6, len(rows) - 0.4)
        kinds = list(rows["type"])
        for kind in dict.fromkeys(kinds):
            first, last = kinds.index(kind), len(kinds) - 1 - kinds[::-1].index(kind)
            ax.text(
                1.01, (first + last) / 2, type_name(kind), transform=ax.get_yaxis_transform(), va="center", fontsize=7.5
            )
            if first:
                ax.axhline(first - 0.5, color="#BBBBBB", linewidth=0.7)
    return fig
