"""Figures of plain scores: main results (Table 1), counts (Table 2), who carries the gain, the published table.

Every function of a figure returns (figure, table of its numbers).
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.common.design import POINTS, minus
from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, heights, mark, points, rows, style
from lib.figures.names import by_type, category_name, order_types, palette, type_name
from lib.influence import tables
from lib.influence.tables import LABEL_WITH, LABEL_WITHOUT, OVERALL

_MARK = {"untrained base": ("|", NEUTRAL), LABEL_WITHOUT: ("o", INK), LABEL_WITH: ("D", GAIN)}
SOURCES = {"Wang et al. (2024)": NEUTRAL, "this study": GAIN}
BEST = 1 / 7  # share of the sets whose part of the gain is told


@style()
def main_results(results: pd.DataFrame):
    """Scores by task type of the base, without and with synthetic data (Table 1); small marks are single seeds."""
    table, names = tables.main_results(results), tables.corner_names(results)
    kinds, seeds = order_types({*table["type"], OVERALL}), table["seeds"].max()
    sets, key = table.groupby("type")["tasks"].max(), []
    fig, ax = plt.subplots(figsize=(WIDTH, 0.28 * len(kinds) + 1.25))
    for mixture, means in table.groupby("mixture", sort=False):
        (marker, shade), runs = _MARK[mixture], tables.corners(results)[mixture]
        look = {"s": 80, "linewidth": 1.4} if marker == "|" else {"s": 26, "linewidth": 0.5}
        points(ax, means["points"], means["type"].map(kinds.index), shade, marker=marker, zorder=4, **look)
        if marker != "|" and runs["seed"].nunique() > 1:
            each = pd.concat([runs, runs.assign(type=OVERALL)])
            each = each.groupby(["type", "seed"], as_index=False)["score"].mean()
            look = {"s": 8, "linewidth": 0.6, "zorder": 3, "marker": marker}
            points(ax, POINTS * each["score"], each["type"].map(kinds.index), shade, False, **look)
        key.append(mark(names.get(mixture, mixture), shade, marker, markersize=9 if marker == "|" else 5))
    sides = table.pivot(index="type", columns="mixture", values="points")
    beside = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center", "fontsize": 7}
    both = {LABEL_WITHOUT, LABEL_WITH} <= set(sides)
    for y, kind in enumerate(kinds if both else []):
        low, high = sides.loc[kind, [LABEL_WITHOUT, LABEL_WITH]]
        shade = GAIN if high >= low else LOSS
        ax.plot([low, high], [y, y], color=shade, linewidth=2.6, alpha=0.35, zorder=2)
        ax.annotate(minus(high - low, 1), (1.02, y), color=shade, **beside)
    if both:
        ax.annotate("difference\n(points)", (1.02, -0.85), **beside | {"fontsize": 6})
    ax.axhline(len(kinds) - 1.5, color="#555555", linewidth=0.7)
    rows(ax, range(len(kinds)), [f"{type_name(kind)} ({sets[kind]})" for kind in kinds])
    note = f"; large: mean of {seeds:.0f} seeds, small: one seed" if seeds > 1 else ", one run each"
    fig.supxlabel(f"score (points){note}")
    fig.legend(handles=key, loc="outside upper left", ncols=3, handletextpad=0.3)
    return fig, table.replace({"mixture": names})


@style()
def counts(table: pd.DataFrame):
    """Examples per category (Table 2), a marker per source: columns source, category (code), rows.

    The axis is logarithmic, so counts are drawn as points and not as bars.
    """
    sources, codes = (list(dict.fromkeys(table[name])) for name in ("source", "category"))
    markers = dict(zip(sources, "osD^v" * len(sources), strict=False))
    fig, ax = plt.subplots(figsize=(WIDTH, 0.3 * len(codes) + 0.95))
    for source, own in table.groupby("source", sort=False):
        y, shades = own["category"].map(codes.index), own["category"].map(palette(codes))
        look = {"s": 34, "marker": markers[source], "linewidth": 1, "zorder": 3}
        points(ax, own["rows"], y, shades, source == sources[0], **look)
        for at, n in zip(y, own["rows"], strict=True):
            ax.annotate(f"{n:,.0f}", (n, at), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7)
    rows(ax, range(len(codes)), [category_name(code) for code in codes])
    ends = max(0.8, table["rows"].min() / 2), table["rows"].max() * 4
    ax.set(xscale="log", xlabel="examples (log scale)", xlim=ends)
    key = [mark(name, INK, markers[name], name == sources[0], markersize=6) for name in sources]
    fig.legend(handles=key, loc="outside upper center", ncols=3)
    return fig, table


@style()
def published(table: pd.DataFrame):
    """Every task's score in Wang et al. (2024) without and with synthetic data: a table of `tables.published_gains`."""
    table = by_type(table, "gain", ascending=False)
    y = heights(table["type"])
    shade = np.select([table["gain"] > 0, table["gain"] < 0], [GAIN, LOSS], NEUTRAL)
    size = (WIDTH, 0.118 * (y.max() + 1) + 0.8)
    fig, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(3, 2))
    left.hlines(y, table["without"], table["with"], color=shade, linewidth=1.4)
    points(left, table["without"], y, INK, False, s=21, linewidth=1)  # a ring where both coincide
    points(left, table["with"], y, shade, s=7, marker="D", linewidth=0, zorder=3)
    right.barh(y, table["gain"], color=shade, height=0.75)
    right.axvline(0, color=INK, linewidth=0.7)
    rows(left, y, table["task"], 5.8, table["type"], inside=True)
    left.set(xlabel="score (points)", title="Wang et al. (2024), Table 17")
    falling = f"{(table['gain'] < 0).sum()} of {len(table)} fall"
    right.set(xlabel="gain (points)", title=f"mean {minus(table['gain'].mean(), 2)}; {falling}")
    key = [mark("without synthetic data", filled=False), mark("with them: higher", GAIN, "D")]
    key.append(mark("with them: lower", LOSS, "D"))
    fig.legend(handles=key, loc="outside upper left", ncols=3, handletextpad=0.3)
    right.grid(axis="x")
    right.tick_params(axis="y", length=0)
    return fig, table


@style()
def sparsity(per_seed: pd.DataFrame | None, published: pd.DataFrame | None):
    """Gain of every task, sorted, and what the best tasks contribute to the mean gain, of this study and published.

    Right: the gains added up, divided by the number of tasks: a curve ends at the mean gain. Dashed: tasks ranked by
    other seeds than are counted, because sorting noise alone bends a curve.
    """
    gains, honest = {}, None
    if published is not None:
        gains["Wang et al. (2024)"] = published.set_index("task")["gain"]
    if per_seed is not None:
        gains["this study"] = per_seed.groupby("task", sort=False)["gain"].mean()
        honest = tables.honest_curve(per_seed)
    curves = [tables.curve(gain).assign(source=name, ranking="same seeds") for name, gain in gains.items()]
    curves += [honest.assign(source="this study", ranking="other seeds")] if honest is not None else []
    table = pd.concat(curves, ignore_index=True)
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3))
    for (name, ranking), own in table.groupby(["source", "ranking"], sort=False):
        same, n, shade = ranking == "same seeds", len(own), SOURCES[name]
        label = name if same else f"{name}, sets ranked by other seeds"
        x, y = np.r_[0, own["fraction"]], np.r_[0, own["cumulated"] / n]
        right.plot(x, y, "-" if same else "--", color=shade, label=label)
        if not same:
            continue
        left.plot(own["fraction"], own["gain"], "o-", color=shade, markersize=3, markeredgewidth=0, linewidth=0.8)
        best = own.iloc[max(1, round(BEST * n)) - 1]
        points(right, [best["fraction"]], [best["cumulated"] / n], shade, s=18, zorder=3)
        if 0 < best["share"] <= 1:
            words = f"● {best['k']} of {n} sets: {100 * best['share']:.0f} % of the net gain"
            look = {"transform": right.transAxes, "fontsize": 6.5, "color": shade, "ha": "right"}
            look["bbox"] = {"facecolor": "#FFFFFFCC", "edgecolor": "none", "pad": 1}
            right.text(0.97, 0.06 + 0.16 * list(gains).index(name), words, **look)
    for ax, label in ((left, "gain of each set (points)"), (right, "summed gain / all sets (points)")):
        ax.set(xlabel="fraction of sets, largest gain first", ylabel=label)
        ax.axhline(0, color=INK, linewidth=0.7)
        ax.grid(axis="y")
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    fig.suptitle("\n".join(_uneven(name, gain) for name, gain in gains.items()), fontsize=7, x=0.01, ha="left")
    return fig, table[["source", "ranking", "k", "fraction", "task", "gain", "cumulated", "share"]]


def _uneven(name: str, gain: pd.Series) -> str:
    """How uneven the gains are, in one line: mean, what the best seventh of the tasks adds to it, how many fall."""
    k = max(1, round(BEST * len(gain)))
    mean, best = gain.mean(), gain.nlargest(k).sum() / len(gain)
    told = f"{name}: mean gain {minus(mean, 2)}: {minus(best, 2)} from the top {k}, {minus(mean - best, 2)} from the "
    return f"{told}others; {(gain < 0).sum()} of {len(gain)} fall"
