"""Predictions: how well each did, against what it cost.

The table is that of ``lib.predict.predict.predict``: one row per prediction with ``predictor, kind, seconds, lds,
cells, rmse`` and their ``_low, _high``.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.figures.base import INK, NEUTRAL, OWN_COLOURS, WIDTH, style
from lib.figures.marks import line, mark

PANELS = {
    "lds": "rank correlation over larger subsets\n(LDS, mean over sets)",
    "cells": "correlation with the effects\n(category × set)",
    "rmse": "error of a predicted score\n(RMSE, points; lower is better)",
}
# how the name of a prediction begins: its family's name, marker and colour
FAMILIES = {
    "size": ("number of categories alone", "x", NEUTRAL),
    "nothing": ("nothing changes", "+", NEUTRAL),
    "gradients": ("gradients of category and set (AdamW's)", "^", OWN_COLOURS[2]),
    "features": ("features, ridge from other sets", "D", OWN_COLOURS[3]),
    "additive": ("five trainings, scores added", "o", OWN_COLOURS[0]),
    "merged, mean": ("five trainings, adapters merged: mean", "s", OWN_COLOURS[1]),
    "merged, sum": ("five trainings, adapters merged: sum", "p", OWN_COLOURS[7]),
    "half": ("eight trainings, regressed", "P", OWN_COLOURS[4]),
    "all, regressed": ("sixteen other trainings, regressed", "v", OWN_COLOURS[5]),
    "all, as": ("sixteen other trainings, as they are", "*", INK),
}
LEFT_OUT = ("dot", "fisher", "chosen")  # other gradients, the better of two scalings: in the table, not in the picture
SPREAD = 1.13  # factor between points of the same cost


def family(name: str) -> str:
    """Return the key in FAMILIES of a prediction's name."""
    return next((key for key in FAMILIES if name.startswith(key)), "")


def accuracy_against_cost(table: pd.DataFrame):
    """Draw LDS, cell correlation and error against seconds of one core; dashed: a prediction without luck of its own.

    Returns (figure, table). Raises KitError for a table without costs.
    """
    shown = table[table["predictor"].map(family).ne("") & ~table["predictor"].str.endswith(LEFT_OUT)]
    if shown.empty or shown["seconds"].isna().all():
        raise KitError("no prediction with a cost; timing.csv beside the results says what trainings took")
    shown = shown.assign(at=_apart(shown["seconds"]))
    with style():
        fig, axes = plt.subplots(1, len(PANELS), figsize=(WIDTH, 3.9), sharex=True)
        for ax, (name, words) in zip(axes, PANELS.items(), strict=True):
            _panel(ax, shown, table[table["predictor"] == "noise-free"], name)
            ax.set_title(words, fontsize=7)
        axes[1].set_xlabel("cost (seconds of one core; 10 stands for 10 or less)")
        used = dict.fromkeys(shown["predictor"].map(family))
        handles = [mark(words, shade, shape) for key, (words, shape, shade) in FAMILIES.items() if key in used]
        if (table["predictor"] == "noise-free").any():
            handles.append(line("a prediction without luck of its own, about", 0.9, "--"))
        handles.append(line("bars: 95 % over sets (bootstrap)", 0.8))
        fig.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=6.5)
    return fig, table


def _apart(seconds: pd.Series) -> np.ndarray:
    """Costs for a logarithmic axis, from 10 seconds up, points that would hide each other moved apart a little."""
    at = np.maximum(seconds.fillna(0).to_numpy(float), 10)
    order = np.argsort(at, kind="stable")
    for before, here in zip(order, order[1:], strict=False):
        at[here] = max(at[here], at[before] * SPREAD)
    return at


def _panel(ax, shown: pd.DataFrame, free: pd.DataFrame, name: str) -> None:
    for row in shown.itertuples():
        value, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
        if not np.isfinite(value) or (name != "rmse" and row.kind == "baseline" and value == 0):
            continue  # a prediction that does not tell subsets apart has no correlation
        _, shape, shade = FAMILIES[family(row.predictor)]
        ax.plot([row.at, row.at], [low, high], color=shade, linewidth=0.8)
        ax.plot(row.at, value, shape, color=shade, markersize=6 if shape == "*" else 4.5)
    for value in free[name]:
        ax.axhline(value, color=INK, linewidth=0.9, linestyle="--")
    if name != "rmse":
        ax.axhline(0, color=INK, linewidth=0.6)
    else:
        ax.set_ylim(bottom=0)
    ax.set(xscale="log", xlim=(7, 2 * shown["at"].max()))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.grid(axis="y")
