"""Figures of notebooks 06 to 08, of tables of `lib.predict`: what could be predicted, chosen, and explained."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures.base import (
    BAND,
    GAIN,
    INK,
    LOSS,
    NEUTRAL,
    TOLD,
    WIDTH,
    estimates,
    line,
    mark,
    need,
    points,
    rows,
    style,
)
from lib.figures.texts import defined, order_factors, palette

PANELS = {
    "lds": "rank correlation over larger subsets\n(LDS, mean over sets)",
    "cells": "correlation with the effects\n(category × set)",
    "rmse": "error of a predicted score\n(RMSE, points; lower is better)",
}
FAMILIES = {name: tuple(look) for name, look in TOLD["predictions"].items()}
STRATEGIES: dict[str, str] = TOLD["strategies"]
JUDGES = {"study": "in the study's runs", "fresh": "in fresh runs"}
JUDGED = {  # where a choice is judged, on which sets and runs: colour, marker, height, name
    ("same", "same"): (LOSS, "X", -0.18, "where it was chosen"),
    ("other", "same"): (NEUTRAL, "s", -0.06, "other sets, the same runs"),
    ("same", "other"): (NEUTRAL, "^", 0.06, "the same sets, other runs"),
    ("other", "other"): (GAIN, "o", 0.18, "other sets, other runs: the gain"),
}
TRUTHS = {"these runs": ("o", INK), "other seeds": ("s", GAIN), "second study": ("D", LOSS)}
LEVELS = {"sets": "which sets of a type gain more?\n(a set left out)",
          "types": "which types gain more?\n(a type left out)"}  # fmt: skip
RULER = "score"  # the change of score itself, beside which explanations are read
LOWEST = -0.6  # R2 below it are drawn there


@style()
def accuracy_against_cost(table: pd.DataFrame):
    """LDS, cell correlation and error of predictions against seconds of one core. KitError without any cost."""
    family = table["predictor"].map(lambda name: next((key for key in FAMILIES if name.startswith(key)), ""))
    # other gradients and the better of two scalings are in the table, not in the picture
    shown = table.assign(family=family)[family.ne("") & ~table["predictor"].str.endswith(("dot", "fisher", "chosen"))]
    told = "no prediction with a cost; timing.csv beside the results says what trainings took"
    need(shown["seconds"].notna().any(), told)
    shown, at = shown.assign(at=shown["seconds"].fillna(0).clip(lower=10)).sort_values("at", kind="stable"), 0.0
    shown["at"] = [at := max(cost, at * 1.13) for cost in shown["at"]]  # points that would hide each other, apart
    free = table[table["predictor"] == "noise-free"]
    fig, axes = plt.subplots(1, len(PANELS), figsize=(WIDTH, 3.9), sharex=True)
    for ax, (name, words) in zip(axes, PANELS.items(), strict=True):
        for row in shown.itertuples():
            value, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
            if not np.isfinite(value) or (name != "rmse" and row.kind == "baseline" and value == 0):
                continue  # a prediction that does not tell subsets apart has no correlation
            _, shape, shade = FAMILIES[row.family]
            ax.plot([row.at, row.at], [low, high], color=shade, linewidth=0.8)
            ax.plot(row.at, value, shape, color=shade, markersize=6 if shape == "*" else 4.5)
        for value in free[name]:
            ax.axhline(value, color=INK, linewidth=0.9, linestyle="--")
        ax.axhline(0, color=INK, linewidth=0.6)
        ax.set(xscale="log", xlim=(7, 2 * at), ylim=(0 if name == "rmse" else None, None), title=words)
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.grid(axis="y")
    axes[1].set_xlabel("cost (seconds of one core; 10 stands for 10 or less)")
    used = [look for name, look in FAMILIES.items() if name in set(shown["family"])]
    key = [mark(words, shade, shape) for words, shape, shade in used]
    key += [line("a prediction without luck of its own, about", 0.9, "--")] * bool(len(free))
    key.append(line("bars: 95 % over sets (bootstrap)", 0.8))
    fig.legend(handles=key, loc="outside lower center", ncols=2)
    return fig, table


@style()
def improve(table: pd.DataFrame):
    """Gain over all and over none of every strategy with both intervals, and the set that gains least."""
    whole = table[table["type"] == ""]
    order = [judge for judge in JUDGES if (whole["judge"] == judge).any()]
    known = whole[["judge", "strategy"]].drop_duplicates().itertuples(index=False, name=None)
    lines = sorted(known, key=lambda key: (order.index(key[0]), list(STRATEGIES).index(key[1])))
    place = {key: at + 1.2 * order.index(key[0]) for at, key in enumerate(lines)}
    whole = whole.assign(at=[place[row.judge, row.strategy] for row in whole.itertuples()])
    fig, axes = plt.subplots(
        1, 3, figsize=(WIDTH, 0.21 * whole["at"].max() + 1.5), sharey=True, width_ratios=(1, 1, 0.8)
    )
    for ax, other in zip(axes, ("all", "none"), strict=False):
        _gains(ax, whole[whole["against"] == other])
        ax.set_xlabel(f"gain over {other} (points)")
    worst = whole[whole["against"] == "all"]
    points(axes[2], worst["worst_null"], worst["at"], NEUTRAL, marker="|", s=45, linewidth=1.4)
    estimates(axes[2], worst["worst"], worst["worst"], worst["worst"], worst["at"], LOSS)
    axes[2].set_xlabel("worst set, against all")
    for ax in axes[1:]:
        rows(ax, list(place.values()), [""] * len(place))
    judges = pd.Series([JUDGES[judge] for judge, _ in place])
    rows(axes[0], list(place.values()), [STRATEGIES[strategy] for _, strategy in place], 6.6, judges)
    key = [
        mark("the crossed interval excludes zero", GAIN),
        mark("not told from zero", NEUTRAL, filled=False),
        mark("hindsight: no interval", INK, "D", filled=False),
        line("95 % over runs", 2.6, colour=NEUTRAL),
        line("95 % over runs and sets", 0.9, colour=NEUTRAL),
        mark("worst set;  |: if nothing acts", LOSS),
    ]
    fig.legend(handles=key, loc="outside lower center", ncols=3, handletextpad=0.4)
    return fig, table


def _gains(ax, own: pd.DataFrame) -> None:
    """Points with the interval over runs (thick) and over runs and sets (thin); without one in hindsight."""
    sure = ((own["low"] > 0) | (own["high"] < 0)).to_numpy()
    shade = np.where(~sure, NEUTRAL, np.where(own["gain"] > 0, GAIN, LOSS))
    ax.hlines(own["at"], own["low_runs"], own["high_runs"], color=shade, linewidth=2.6)
    known, guess = own["gain"].where(own["se_runs"].notna()), own["gain"].where(own["se_runs"].isna())
    estimates(ax, known, own["low"], own["high"], own["at"], shade, sure, 0.9, 20)
    points(ax, guess, own["at"], INK, False, marker="D", s=16, linewidth=0.9, zorder=3)


@style()
def winners_curse(table: pd.DataFrame):
    """The same choices judged where they were made, on other sets, on other runs, on both: only this is a gain."""
    names = list(dict.fromkeys(table["strategy"]))
    parts = dict(list(table.groupby(["judged_sets", "judged_runs"])))  # a single seed has no other runs
    fig, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(names) + 1.25))
    key = []
    for where, (shade, marker, height, told) in JUDGED.items():
        if where not in parts:
            continue
        own, filled = parts[where], marker in "Xo"
        at, ends = own["strategy"].map(names.index) + height, own[["low", "high"] if filled else ["gain", "gain"]]
        estimates(ax, own["gain"], *ends.to_numpy().T, at, shade, filled, 1.1, 26, marker=marker)
        key.append(mark(told, shade, marker, filled))
    rows(ax, range(len(names)), [STRATEGIES[name] for name in names])
    ax.set_xlabel("gain over all categories (points; 95 % over runs and sets)")
    fig.legend(handles=key, loc="outside upper center", ncols=2)
    return fig, table


@style()
def explained(judged: pd.DataFrame):
    """Cross-validated R2 of each explanation at every level and truth, with its null band and the ceiling."""
    own = judged[judged["explanation"] != RULER]
    order = [*own.groupby("explanation")["r2"].mean().sort_values(ascending=False).index, RULER]
    truths, levels = list(dict.fromkeys(judged["truth"])), list(dict.fromkeys(judged["level"]))
    size = (WIDTH, 0.36 * len(order) + 1.4)
    fig, axes = plt.subplots(1, len(levels), figsize=size, sharey=True, squeeze=False)
    for ax, level in zip(axes[0], levels, strict=True):
        own = judged[judged["level"] == level]
        for at, truth in enumerate(truths):
            y = np.arange(len(order)) + 0.24 * (at - (len(truths) - 1) / 2)
            part, (marker, shade) = own[own["truth"] == truth].set_index("explanation").loc[order], TRUTHS[truth]
            value, low, high = (part[name].clip(lower=LOWEST) for name in ("r2", "null_low", "null"))
            ax.hlines(y, low, high, color=BAND, linewidth=4.2, zorder=1)
            sure = (part["p_holm"].fillna(part["p"]) < 0.05).to_numpy()  # the ruler is one, not one of many
            estimates(ax, value, value, value, y, shade, sure, marker=marker)
            for ceiling in part["ceiling"].dropna().unique():
                ax.axvline(ceiling, color=shade, linewidth=0.9, linestyle=":")
        shown = own[["r2", "ceiling", "null", "null_low"]].clip(lower=LOWEST)
        ends = shown.min().min() - 0.04, shown.max().max() + 0.06
        ax.set(xlim=ends, xlabel="R² on what was left out", title=LEVELS[level])
        ax.tick_params(axis="y", length=0)
    rows(axes[0, 0], range(len(order)), [*order[:-1], "(the change of score itself)"])
    axes[0, -1].grid(axis="x")
    key = [mark(f"effects: {truth}", TRUTHS[truth][1], TRUTHS[truth][0]) for truth in truths]
    key.append(line("chance (9 in 10)", 4, colour=BAND))
    key += [line("ceiling: reliability", 1, ":")] * bool(judged["ceiling"].notna().any())
    key.append(mark("not beyond chance", filled=False))
    fig.legend(handles=key, loc="outside upper center", ncols=3)
    return fig, judged


@style()
def cells(table: pd.DataFrame, names: list[str]):
    """Every explanation (`names`) against the effect, a point per cell, both without the mean of type and category."""
    shown = table[table.groupby("type")["task"].transform("nunique") > 1]
    apart = shown[[*names, "effect"]] - shown.groupby(["type", "factor"])[[*names, "effect"]].transform("mean")
    shades, height = palette(table["factor"]), -(-len(names) // 3)
    fig, axes = plt.subplots(height, 3, figsize=(WIDTH, 1.75 * height + 0.5), sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        x, y = apart[name], apart["effect"]
        points(ax, x, y, shown["factor"].map(shades).to_numpy(), s=11, linewidth=0)
        if x.std() > 0:
            ends = np.array([x.min(), x.max()])
            ax.plot(ends, (x * y).sum() / (x**2).sum() * ends, color=INK, linewidth=0.9)
        ax.axhline(0, color=NEUTRAL, linewidth=0.5)
        ax.set_title(name)
        ax.locator_params(axis="x", nbins=4)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    fig.supylabel("effect of the category on the set (points)")
    fig.supxlabel("explanation; both axes without the mean of the category on the type")
    key = [mark(defined([code]) or code, shades[code]) for code in order_factors(table["factor"])]
    fig.legend(handles=key, loc="outside upper center", ncols=4)
    return fig, table
