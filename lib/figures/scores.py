"""Figures of plain scores: main results by type (Table 1), data counts (Table 2), the published table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.numbers import minus
from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, category_name, order_types, palette, style, type_name
from lib.influence.tables import LABEL_WITH, LABEL_WITHOUT, OVERALL, corner_names, corners
from lib.influence.tables import main_results as main_table

_MARK = {"untrained base": ("|", NEUTRAL), LABEL_WITHOUT: ("o", INK), LABEL_WITH: ("D", GAIN)}


def main_results(results: pd.DataFrame):
    """Scores by task type of the base, without and with synthetic data, one panel per generator (Table 1).

    Small marks are single seeds, the large one is their mean. Returns (figure, table); the table is
    `tables.main_results`, in points.
    """
    import matplotlib.pyplot as plt

    table, names = main_table(results), corner_names(results)
    generators = list(dict.fromkeys(table["generator"]))
    kinds = order_types(set(table["type"]) - {OVERALL}) + [OVERALL]
    seeds = int(table["seeds"].max())
    with style():
        size = (WIDTH, 0.28 * len(kinds) + 1.25)
        fig, axes = plt.subplots(1, len(generators), figsize=size, sharey=True, squeeze=False, layout="constrained")
        for ax, generator in zip(axes[0], generators, strict=True):
            _levels(ax, table[table["generator"] == generator], kinds, names)
            _seeds(ax, results, generator, kinds)
            words = (
                f"score (points); large: mean of {seeds} seeds, small: one seed"
                if seeds > 1
                else "score (points), one run each"
            )
            ax.set_xlabel(words, fontsize=7)
            ax.set_title(generator)
        axes[0, 0].set_yticks(range(len(kinds)), [_counted(kind, table) for kind in kinds])
        axes[0, 0].invert_yaxis()
        handles, labels = axes[0, -1].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper left", ncols=3, handletextpad=0.3)
        table = table.replace({"mixture": names})
    return fig, table


def _counted(kind: str, table: pd.DataFrame) -> str:
    return f"{type_name(kind)} ({table.loc[table['type'] == kind, 'tasks'].max()})"


def _levels(ax, table: pd.DataFrame, kinds: list[str], names: dict[str, str]) -> None:
    """The mean of each corner per type, and at the right what the full mixture adds."""
    at = {kind: i for i, kind in enumerate(kinds)}
    for mixture, (marker, shade) in _MARK.items():
        rows = table[table["mixture"] == mixture]
        size = 9 if marker == "|" else 5
        edge = 1.4 if marker == "|" else 0.5
        if len(rows):
            ax.plot(rows["points"], rows["type"].map(at), marker, color=shade, markersize=size, markeredgewidth=edge,
                    label=names.get(mixture, mixture), zorder=4)  # fmt: skip
    sides = table.pivot(index="type", columns="mixture", values="points")
    if {LABEL_WITHOUT, LABEL_WITH} <= set(sides):
        beside = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center", "fontsize": 7}
        for kind, row in sides.iterrows():
            gain = row[LABEL_WITH] - row[LABEL_WITHOUT]
            shade = GAIN if gain >= 0 else LOSS
            ax.plot(
                [row[LABEL_WITHOUT], row[LABEL_WITH]], [at[kind]] * 2, color=shade, linewidth=2.6, alpha=0.35, zorder=2
            )
            ax.annotate(minus(gain, 1), (1.02, at[kind]), color=shade, **beside)
        ax.annotate("difference\n(points)", (1.02, -0.85), color=INK, **beside | {"fontsize": 6})
    ax.axhline(len(kinds) - 1.5, color="#555555", linewidth=0.7)
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)


def _seeds(ax, results: pd.DataFrame, generator: str, kinds: list[str]) -> None:
    """Every seed's own mean, small, where there are several."""
    own = results[results["generator"] == generator] if "generator" in results else results
    for mixture, rows in corners(own).items():
        marker, shade = _MARK[mixture]
        if marker == "|" or rows["seed"].nunique() < 2:
            continue
        both = pd.concat([rows, rows.assign(type=OVERALL)])
        each = 100 * both.groupby(["type", "seed"])["score"].mean().reset_index()[["score"]]
        kind = both.groupby(["type", "seed"])["score"].mean().reset_index()["type"]
        ax.scatter(each["score"], kind.map(kinds.index), s=8, marker=marker, facecolor="white", edgecolor=shade, linewidth=0.6,
                   zorder=3)  # fmt: skip


def counts(table: pd.DataFrame):
    """Examples per category (Table 2), one marker per source. `table` has columns source, category (code), rows.

    The axis is logarithmic, so counts are drawn as points and not as bars. Returns (figure, table).
    """
    import matplotlib.pyplot as plt

    table = table.reset_index(drop=True)
    sources, codes = (list(dict.fromkeys(table[name])) for name in ("source", "category"))
    tones = palette(codes)
    with style():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.3 * len(codes) + 0.95), layout="constrained")
        for i, source in enumerate(sources):
            rows = table[table["source"] == source]
            y = rows["category"].map({code: j for j, code in enumerate(codes)})
            shades = [tones[code] for code in rows["category"]]
            ax.scatter(
                rows["rows"],
                y,
                s=34,
                marker="osD^v"[i % 5],
                c=shades if i == 0 else "white",
                edgecolor=shades,
                zorder=3,
            )
            ax.scatter([], [], s=34, marker="osD^v"[i % 5], c=INK if i == 0 else "white", edgecolor=INK, label=source)
            for where, n in zip(y, rows["rows"], strict=True):
                ax.annotate(f"{n:,.0f}", (n, where), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7)
        ax.set_yticks(range(len(codes)), [category_name(code) for code in codes])
        ax.set(xscale="log", xlabel="examples (log scale)", ylim=(len(codes) - 0.5, -0.5))
        ax.set_xlim(max(0.8, table["rows"].min() / 2), table["rows"].max() * 4)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        fig.legend(loc="outside upper center", ncols=3)
    return fig, table


def published(table: pd.DataFrame, source: str):
    """Every task's published score without and with synthetic data, grouped by type, in points.

    `table` is `tables.published_gains(reference)`. Returns (figure, table sorted as drawn).
    """
    import matplotlib.pyplot as plt

    order = {kind: i for i, kind in enumerate(order_types(table["type"]))}
    table = table.assign(_o=table["type"].map(order)).sort_values(
        ["_o", "gain"], ascending=[True, False], kind="stable"
    )
    table = table.drop(columns="_o").reset_index(drop=True)
    y = np.arange(len(table)) + table["type"].map(order) * 1.3
    shade = np.where(table["gain"] > 0, GAIN, np.where(table["gain"] < 0, LOSS, NEUTRAL))
    with style():
        size = (WIDTH, 0.118 * (y.max() + 1) + 0.8)
        fig, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(3, 2), layout="constrained")
        _shifts(left, table, y, shade)
        right.barh(y, table["gain"], color=shade, height=0.75)
        right.axvline(0, color=INK, linewidth=0.7)
        left.set_yticks(y, table["task"], fontsize=5.8)
        left.set(xlabel="score (points)", ylim=(y.max() + 1, -2.2))
        falling = f"{(table['gain'] < 0).sum()} of {len(table)} fall"
        right.set(xlabel="gain (points)", title=f"mean {minus(table['gain'].mean(), 2)}; {falling}")
        _type_headings(left, {kind: y[table["type"] == kind].min() - 0.95 for kind in order})
        left.set_title(source)
        fig.legend(handles=_published_handles(), loc="outside upper left", ncols=3, handletextpad=0.3, fontsize=6.8)
        for ax in (left, right):
            ax.grid(axis="x")
            ax.tick_params(axis="y", length=0)
    return fig, table


def _published_handles() -> list:
    """Every sign of the published scores."""
    from matplotlib.lines import Line2D

    dot = {"linestyle": "none", "markersize": 4}
    return [
        Line2D([], [], marker="o", color="white", markeredgecolor=INK, label="without synthetic data", **dot),
        Line2D([], [], marker="D", color=GAIN, label="with them: higher", **dot),
        Line2D([], [], marker="D", color=LOSS, label="with them: lower", **dot),
    ]


def _shifts(ax, table: pd.DataFrame, y: pd.Series, shade: np.ndarray) -> None:
    """A line per task from its score without synthetic data to that with them."""
    ax.hlines(y, table["without"], table["with"], color=shade, linewidth=1.4)
    ax.plot(table["without"], y, "o", color="white", markeredgecolor=INK, markersize=4.6)  # a ring where both coincide
    ax.scatter(table["with"], y, marker="D", c=shade, s=7, zorder=3)


def _type_headings(ax, places: dict[str, float]) -> None:
    """The types' names above their tasks, inside the panel."""
    for kind, y in places.items():
        ax.annotate(
            type_name(kind),
            (0, y),
            xycoords=("axes fraction", "data"),
            fontsize=6.5,
            fontweight="bold",
            va="center",
            xytext=(3, 0),
            textcoords="offset points",
        )
