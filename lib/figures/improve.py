"""Figures of notebook 07: what a chosen mixture gains where it was not chosen, and what its choice pretends.

Their tables are those of `lib.predict.choose`; gains in points.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, style
from lib.figures.marks import line, mark, points, rows

NAMES = {
    "none": "none: public data alone",
    "all": "all categories",
    "uniform": "equal shares of the steps",
    "predicted": "best subset, predicted from singles",
    "measured": "best subset, measured",
    "routed": "routed: best subset per type",
    "merged": "singles' adapters merged",
    "oracle": "best subset in hindsight",
    "subset": "best subset, measured",
    "doses": "steps by influence",
}
JUDGES = {"study": "in the study's runs", "fresh": "in fresh runs"}


def name_of(strategy: str) -> str:
    """Return a strategy in words."""
    return NAMES.get(strategy, strategy)


def improve(table: pd.DataFrame):
    """Gain over all and over none of every strategy with both intervals, and the set that gains least.

    Each was chosen on one half of the sets (and, in the study's runs, on the other seed) and is judged on the other.

    `table`: rows of `choose.compare` (and `mixtures.judged`) with a column `judge`, study or fresh. Drawn are those
    of all sets. Returns (figure, table).
    """
    whole = table[table["type"] == ""]
    order = [judge for judge in JUDGES if (whole["judge"] == judge).any()]
    known = whole[["judge", "strategy"]].drop_duplicates().itertuples(index=False, name=None)
    lines = sorted(known, key=lambda key: (order.index(key[0]), list(NAMES).index(key[1])))
    place = {key: at + 1.2 * order.index(key[0]) for at, key in enumerate(lines)}
    at = np.array([place[row.judge, row.strategy] for row in whole.itertuples()])
    with style():
        fig, axes = plt.subplots(1, 3, figsize=(WIDTH, 0.21 * max(at) + 1.5), sharey=True, width_ratios=(1, 1, 0.8))
        for ax, other in zip(axes, ("all", "none"), strict=False):
            own = (whole["against"] == other).to_numpy()
            _gains(ax, whole[own], at[own])
            ax.set_xlabel(f"gain over {other} (points)")
        own = (whole["against"] == "all").to_numpy()
        points(axes[2], whole["worst_null"][own], at[own], NEUTRAL, marker="|", s=45, linewidth=1.4)
        points(axes[2], whole["worst"][own], at[own], LOSS, s=16, zorder=3)
        axes[2].set_xlabel("worst set, against all")
        for ax in axes:
            ax.axvline(0, color=INK, linewidth=0.7)
            rows(ax, list(place.values()), [name_of(strategy) for _, strategy in place], 6.6)
        for judge in order:
            top = min(y for key, y in place.items() if key[0] == judge)
            look = {"ha": "right", "va": "center", "fontsize": 6.6, "fontweight": "bold", "annotation_clip": False}
            look |= {"xytext": (-4, 0), "textcoords": "offset points", "xycoords": ("axes fraction", "data")}
            axes[0].annotate(JUDGES[judge], (0, top - 0.8), **look)
        axes[0].set_ylim(max(place.values()) + 0.7, -1.4)
        fig.legend(handles=_key(), loc="outside lower center", ncols=3, fontsize=6.3, handletextpad=0.4)
    return fig, table


def _gains(ax, own: pd.DataFrame, at: np.ndarray) -> None:
    """Points with the interval over runs (thick) and over runs and sets (thin); without one in hindsight."""
    sure = ((own["low"] > 0) | (own["high"] < 0)).to_numpy()
    shade = np.where(~sure, NEUTRAL, np.where(own["gain"] > 0, GAIN, LOSS))
    ax.hlines(at, own["low"], own["high"], color=shade, linewidth=0.9)
    ax.hlines(at, own["low_runs"], own["high_runs"], color=shade, linewidth=2.6)
    guess = own["se_runs"].isna().to_numpy()
    points(ax, own["gain"][~guess], at[~guess], shade[~guess], sure[~guess], s=20, linewidth=1, zorder=3)
    points(ax, own["gain"][guess], at[guess], INK, False, marker="D", s=16, linewidth=0.9, zorder=3)


def _key() -> list:
    return [
        mark("the crossed interval excludes zero", GAIN),
        mark("not told from zero", NEUTRAL, filled=False),
        mark("hindsight: no interval", INK, "D", filled=False),
        line("95 % over runs", 2.6, colour=NEUTRAL),
        line("95 % over runs and sets", 0.9, colour=NEUTRAL),
        mark("worst set;  |: if nothing acts", LOSS),
    ]


def winners_curse(table: pd.DataFrame, strategies: Sequence[str] = ()):
    """The same choices judged in four ways: where they were made, on other sets, on other runs, on both others.

    `table` is that of `choose.curse`. Only the filled circle is a gain; a study
    of one seed has none. Returns (figure, table).
    """
    names = list(strategies) or list(dict.fromkeys(table["strategy"]))
    looks = {
        ("same", "same"): (LOSS, "X", "where it was chosen"),
        ("other", "same"): (NEUTRAL, "s", "other sets, the same runs"),
        ("same", "other"): (NEUTRAL, "^", "the same sets, other runs"),
        ("other", "other"): (GAIN, "o", "other sets, other runs: the gain"),
    }
    there = set(zip(table["judged_sets"], table["judged_runs"], strict=True))  # a single seed has no other runs
    looks = {where: look for where, look in looks.items() if where in there}
    with style():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(names) + 1.25))
        for (sets, runs), (shade, marker, _) in looks.items():
            own = table[(table["judged_sets"] == sets) & (table["judged_runs"] == runs) & table["strategy"].isin(names)]
            at = own["strategy"].map(names.index) + {"X": -0.18, "s": -0.06, "^": 0.06, "o": 0.18}[marker]
            if (sets, runs) == ("other", "other") or marker == "X":
                ax.hlines(at, own["low"], own["high"], color=shade, linewidth=1.1)
            points(ax, own["gain"], at, shade, marker in "Xo", marker=marker, s=26, linewidth=1, zorder=3)
        ax.axvline(0, color=INK, linewidth=0.7)
        rows(ax, range(len(names)), [name_of(name) for name in names])
        ax.set_xlabel("gain over all categories (points; 95 % over runs and sets)")
        key = [mark(told, shade, marker, marker in "Xo", markersize=5) for shade, marker, told in looks.values()]
        fig.legend(handles=key, loc="outside upper center", ncols=2, fontsize=7)
    return fig, table
