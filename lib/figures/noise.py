"""What can be seen at all: the noise floor per set, and what the design can detect."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import LogLocator, NullLocator

from lib.common.display import minus
from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, by_type, category_name, order_types, style, type_name
from lib.figures.marks import heights, line, mark, points, rows
from lib.influence.power import detectable_ratio

BAND = "#DDDDDD"


def floor(noise: pd.DataFrame, effects: pd.DataFrame, replication=None, limit: int = 70, power: float = 0.8):
    """How large an effect on each set must be to be seen, beside the largest effect of any category on it.

    `noise`: `influence.noise`; `effects`: level "task". Grey band: effects that this design misses more often than
    1 - `power`; tick: standard error; diamond: the largest effect, filled where it leaves the band; square: the same
    category and set in a second study (`replication`). Returns (figure, table).
    """
    table = floor_table(noise, effects, replication)
    drawn = table if len(table) <= limit else table[table["task"].isin(table.nlargest(limit, "detectable")["task"])]
    y, size = heights(drawn["type"]), drawn["effect"].abs()
    with style():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.13 * (y.max() + 2) + 1.2))
        ax.barh(y, drawn["detectable"], height=0.78, color=BAND, zorder=1)
        points(ax, drawn["se_effect"], y, INK, s=45, marker="|", linewidth=1.1, zorder=2)
        right = [size.max(), drawn["detectable"].quantile(0.95)]
        if "second" in drawn:  # along the first effect's direction: a negative size is a change of sign
            again = (drawn["second"] * np.sign(drawn["effect"])).clip(lower=0)
            right.append(again.max())
            ax.hlines(y, again, size, color=LOSS, linewidth=0.8, zorder=3)
            points(ax, again, y, LOSS, s=13, marker="s", linewidth=0, zorder=4, clip_on=False)
        seen = size > drawn["detectable"]
        points(ax, size, y, np.where(seen, GAIN, NEUTRAL), seen, s=20, marker="D", linewidth=0.9, zorder=5)
        rows(ax, y, drawn["task"], 6 if len(drawn) < 30 else 5.6, drawn["type"])
        ax.set(xlabel="size of an effect (points)", xlim=(0, 1.06 * np.nanmax(right)))
        for row in drawn.assign(y=y).dropna(subset="effect").itertuples():
            words = f"{category_name(row.factor)} {minus(row.effect, 1)}"
            ax.annotate(words, (1.01, row.y), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=5.6)
        fig.legend(handles=_floor_key(power, "second" in drawn), loc="outside upper center", ncols=2, fontsize=6.5)
    return fig, table


def _floor_key(power: float, second: bool) -> list:
    return [
        line(f"too small for this design: found less than {100 * power:g} % of the time", 6, colour=BAND),
        mark("standard error of an effect", marker="|", markersize=7),
        *([mark("the same effect in a second study (at 0: other sign)", LOSS, "s")] if second else []),
        mark("largest effect on the set (named at the right), above the band", GAIN, "D"),
        mark("largest effect on the set, inside the band", NEUTRAL, "D", filled=False),
    ]


def floor_table(noise: pd.DataFrame, effects: pd.DataFrame, replication: pd.DataFrame | None = None) -> pd.DataFrame:
    """The noise of every set, its largest effect (`factor, effect`) and that effect in a second study, by type."""
    largest = effects.assign(size=effects["effect"].abs()).sort_values("size").groupby("task").tail(1)
    table = noise.merge(largest[["task", "factor", "effect", "p_bh"]], on="task", how="left")
    if replication is not None:
        own = replication.loc[replication["level"] == "task", ["task", "factor", "second", "second_se"]]
        table = table.merge(own, on=["task", "factor"], how="left")
    return by_type(table, "task")


def power(seeds_buy: pd.DataFrame, sizes: pd.Series, alpha=0.05, strength=0.8, seeds: float | None = None):
    """What this design can show: effects found by seeds (over runs), and by number of sets (over sets of the kind).

    Takes `influence.seeds_buy` (levels stacked), the number of sets per type and this study's `seeds` per subset. The
    right panel is the best case: the sets' effects known without error. Returns (figure, table).
    """
    sets = sets_table(sizes, alpha, strength)
    with style():
        fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.1))
        _seeds(left, seeds_buy, seeds)
        left.set_ylabel(f"effect found with {100 * strength:g} % power (points)")
        _sets(right, sets)
    return fig, pd.concat([seeds_buy.assign(table="seeds"), sets.assign(table="sets")], ignore_index=True)


def _seeds(ax, table: pd.DataFrame, seeds: float | None) -> None:
    """The effect that is found against the number of seeds, for one set and for one type, alone and among all tests."""
    names = {"detectable_median": "tested alone", "detectable_corrected": "among all {:.0f} tests"}
    for (level, own), shade in zip(table.groupby("level", sort=False), (GAIN, LOSS), strict=False):
        for column, words in names.items():
            alone = column == "detectable_median"
            label = f"one {'set' if level == 'task' else level}, {words.format(own['tests'].iloc[0])}"
            look = {"linestyle": "-" if alone else "--", "markerfacecolor": shade if alone else "white"}
            look |= {"color": shade, "marker": "o", "markersize": 4, "markeredgecolor": shade, "estimator": None}
            sns.lineplot(own, x="seeds", y=column, label=label, ax=ax, **look)
    if seeds:
        ax.axvline(seeds, color=INK, linewidth=0.8, linestyle=":", label="this study")
    ax.set(xlabel="training seeds per subset", ylim=(0, None), xticks=sorted(set(table["seeds"])))
    ax.set_title("Would these sets move again?")
    ax.legend(fontsize=6.3)
    ax.grid(axis="y")


def sets_table(sizes: pd.Series, alpha: float, strength: float) -> pd.DataFrame:
    """Per type: the mean effect that a t-test over its sets finds with power `strength`, in spreads between sets."""
    kinds = order_types(sizes.index)
    counts = sizes.reindex(kinds).astype(int)
    alone, corrected = (
        [detectable_ratio(n - 1, level, strength) / np.sqrt(n) for n in counts]
        for level in (alpha, alpha / max(1, len(sizes)))
    )
    return pd.DataFrame({"type": kinds, "sets": counts.to_numpy(), "alone": alone, "corrected": corrected})


def _sets(ax, table: pd.DataFrame) -> None:
    """The effect that is found against the number of sets of a type, one row per type."""
    y, known = np.arange(len(table)), table["alone"].notna()
    ax.hlines(y[known], table.loc[known, "alone"], table.loc[known, "corrected"], color=BAND, linewidth=3)
    points(ax, table["alone"], y, GAIN, s=20, zorder=3)
    points(ax, table["corrected"], y, GAIN, False, s=20, zorder=3)
    for at in y[~known]:
        look = {"transform": ax.get_yaxis_transform(), "ha": "center", "va": "center", "color": NEUTRAL}
        ax.text(0.5, at, "one set: no answer", fontsize=6, **look)
    rows(ax, y, [f"{type_name(k)} ({n})" for k, n in zip(table["type"], table["sets"], strict=True)], 6.5)
    ax.set(xscale="log", title="Would other sets of the kind move?")
    ax.set_xlabel("mean effect found, in spreads between sets\n(best case: runs without noise; log scale)", fontsize=7)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")
    if known.any():
        key = [mark("one type, tested alone", GAIN), mark("among all types (Bonferroni)", GAIN, filled=False)]
        ax.legend(handles=key, fontsize=6.3, loc="upper center", bbox_to_anchor=(0.4, -0.3), ncols=2, handletextpad=0.2)
