"""Figures of plain scores: main results by type (Table 1), data counts (Table 2), the published table."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.common.display import POINTS, minus
from lib.figures import base
from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, by_type, category_name, order_types, palette, style
from lib.figures.marks import heights, mark, points, rows
from lib.influence.tables import LABEL_WITH, LABEL_WITHOUT, OVERALL, corner_names, corners
from lib.influence.tables import main_results as main_table

_MARK = {"untrained base": ("|", NEUTRAL), LABEL_WITHOUT: ("o", INK), LABEL_WITH: ("D", GAIN)}


def main_results(results: pd.DataFrame):
    """Scores by task type of the base, without and with synthetic data, one panel per generator (Table 1).

    Small marks are single seeds, the large one is their mean. Returns (figure, table); the table is
    `tables.main_results`, in points.
    """
    table, names = main_table(results), corner_names(results)
    generators = list(dict.fromkeys(table["generator"]))
    kinds = order_types({*table["type"], OVERALL}, last=OVERALL)
    sets, seeds = table.groupby("type")["tasks"].max(), table["seeds"].max()
    note = f"; large: mean of {seeds:.0f} seeds, small: one seed" if seeds > 1 else ", one run each"
    with style():
        size = (WIDTH, 0.28 * len(kinds) + 1.25)
        fig, axes = plt.subplots(1, len(generators), figsize=size, sharey=True, squeeze=False)
        for ax, generator in zip(axes[0], generators, strict=True):
            own = results[results["generator"] == generator] if "generator" in results else results
            _levels(ax, table[table["generator"] == generator], own, kinds)
            ax.set_title(generator)
            rows(ax, range(len(kinds)), [f"{base.type_name(kind)} ({sets[kind]})" for kind in kinds])
        shown = {name: _MARK[name] for name in _MARK if name in set(table["mixture"])}
        key = [mark(names.get(n, n), shade, m, markersize=9 if m == "|" else 5) for n, (m, shade) in shown.items()]
        fig.supxlabel(f"score (points){note}", fontsize=7)
        fig.legend(handles=key, loc="outside upper left", ncols=3, handletextpad=0.3)
    return fig, table.replace({"mixture": names})


def _levels(ax, table: pd.DataFrame, results: pd.DataFrame, kinds: list[str]) -> None:
    """The mean of each corner per type, single seeds, and at the right what the full mixture adds."""
    for mixture, runs in corners(results).items():
        marker, shade = _MARK[mixture]
        means = table[table["mixture"] == mixture]
        look = {"s": 80, "linewidth": 1.4} if marker == "|" else {"s": 26, "linewidth": 0.5}
        points(ax, means["points"], means["type"].map(kinds.index), shade, marker=marker, zorder=4, **look)
        if marker != "|" and runs["seed"].nunique() > 1:
            both = pd.concat([runs, runs.assign(type=OVERALL)])
            seeds = both.groupby(["type", "seed"], as_index=False)["score"].mean()
            look = {"s": 8, "linewidth": 0.6, "zorder": 3, "marker": marker}
            points(ax, POINTS * seeds["score"], seeds["type"].map(kinds.index), shade, False, **look)
    sides = table.pivot(index="type", columns="mixture", values="points")
    if {LABEL_WITHOUT, LABEL_WITH} <= set(sides):
        beside = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center", "fontsize": 7}
        for y, kind in enumerate(kinds):
            low, high = sides.loc[kind, [LABEL_WITHOUT, LABEL_WITH]]
            shade = GAIN if high >= low else LOSS
            ax.plot([low, high], [y, y], color=shade, linewidth=2.6, alpha=0.35, zorder=2)
            ax.annotate(minus(high - low, 1), (1.02, y), color=shade, **beside)
        ax.annotate("difference\n(points)", (1.02, -0.85), **beside | {"fontsize": 6})
    ax.axhline(len(kinds) - 1.5, color="#555555", linewidth=0.7)


def counts(table: pd.DataFrame):
    """Examples per category (Table 2), one marker per source. `table` has columns source, category (code), rows.

    The axis is logarithmic, so counts are drawn as points and not as bars. Returns (figure, table).
    """
    table = table.reset_index(drop=True)
    sources, codes = (list(dict.fromkeys(table[name])) for name in ("source", "category"))
    markers = dict(zip(sources, "osD^v" * len(sources), strict=False))
    with style():
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


def published(table: pd.DataFrame, source: str):
    """Every task's published score without and with synthetic data, grouped by type, in points.

    `table` is `tables.published_gains(reference)`. Returns (figure, table sorted as drawn).
    """
    table = by_type(table, "gain", ascending=False)
    y = heights(table["type"])
    shade = np.select([table["gain"] > 0, table["gain"] < 0], [GAIN, LOSS], NEUTRAL)
    with style():
        size = (WIDTH, 0.118 * (y.max() + 1) + 0.8)
        fig, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(3, 2))
        left.hlines(y, table["without"], table["with"], color=shade, linewidth=1.4)
        points(left, table["without"], y, INK, False, s=21, linewidth=1)  # a ring where both coincide
        points(left, table["with"], y, shade, s=7, marker="D", linewidth=0, zorder=3)
        right.barh(y, table["gain"], color=shade, height=0.75)
        right.axvline(0, color=INK, linewidth=0.7)
        rows(left, y, table["task"], 5.8, table["type"], inside=True)
        left.set(xlabel="score (points)", title=source)
        falling = f"{(table['gain'] < 0).sum()} of {len(table)} fall"
        right.set(xlabel="gain (points)", title=f"mean {minus(table['gain'].mean(), 2)}; {falling}")
        key = [
            mark("without synthetic data", filled=False),
            mark("with them: higher", GAIN, "D"),
            mark("with them: lower", LOSS, "D"),
        ]
        fig.legend(handles=key, loc="outside upper left", ncols=3, handletextpad=0.3, fontsize=6.8)
        right.grid(axis="x")
        right.tick_params(axis="y", length=0)
    return fig, table
