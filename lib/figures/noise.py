"""What can be seen at all: the noise floor per set, and what the design can detect."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.numbers import minus
from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, category_name, order_types, style, type_name
from lib.figures.forest import heading

BAND = "#DDDDDD"


def floor(
    noise: pd.DataFrame,
    effects: pd.DataFrame,
    replication: pd.DataFrame | None = None,
    limit: int = 70,
    power: float = 0.8,
):
    """How large an effect on each set must be to be seen, beside the largest effect of any category on it.

    `noise`: `influence.noise`; `effects`: level "task". Grey band: effects that this design misses more often than
    1 - `power`; tick: standard error; diamond: the largest effect, filled where it leaves the band; square: the same
    category and set in a second study (`replication`). Returns (figure, table).
    """
    import matplotlib.pyplot as plt

    table = floor_table(noise, effects, replication)
    drawn = table if len(table) <= limit else table[table["task"].isin(table.nlargest(limit, "detectable")["task"])]
    kinds = order_types(drawn["type"])
    y = np.arange(len(drawn)) + drawn["type"].map({k: i for i, k in enumerate(kinds)}).to_numpy() * 1.2
    with style():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.13 * (y.max() + 2) + 1.2), layout="constrained")
        _marks(ax, drawn, y, power)
        ax.set_yticks(y, drawn["task"], fontsize=6 if len(drawn) < 30 else 5.6)
        for kind in kinds:
            heading(ax, type_name(kind), y[(drawn["type"] == kind).to_numpy()].min() - 0.95)
        sizes = drawn[[c for c in ("detectable", "effect", "second") if c in drawn]].abs()
        right = float(np.nanmax([sizes.drop(columns="detectable").max().max(), sizes["detectable"].quantile(0.95)]))
        ax.set(xlabel="size of an effect (points)", ylim=(y.max() + 1, -1.6), xlim=(0, 1.06 * right))
        for at, row in zip(y, drawn.itertuples(), strict=True):
            words = f"{category_name(row.factor)} {minus(row.effect, 1)}" if row.factor == row.factor else ""
            ax.annotate(words, (1.01, at), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=5.6)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        fig.legend(loc="outside upper center", ncols=2, fontsize=6.5, handletextpad=0.5)
    return fig, table


def floor_table(noise: pd.DataFrame, effects: pd.DataFrame, replication: pd.DataFrame | None = None) -> pd.DataFrame:
    """The noise of every set, its largest effect (`factor, effect`) and that effect in a second study."""
    largest = effects.assign(size=effects["effect"].abs()).sort_values("size").groupby("task").tail(1)
    table = noise.merge(largest[["task", "factor", "effect", "p_bh"]], on="task", how="left")
    if replication is not None:
        own = replication.loc[replication["level"] == "task", ["task", "factor", "second", "second_se"]]
        table = table.merge(own, on=["task", "factor"], how="left")
    order = {kind: i for i, kind in enumerate(order_types(table["type"]))}
    table = table.assign(_o=table["type"].map(order)).sort_values(["_o", "task"], kind="stable").drop(columns="_o")
    return table.reset_index(drop=True)


def _marks(ax, table: pd.DataFrame, y: np.ndarray, power: float) -> None:
    size = table["effect"].abs().to_numpy()
    missed = f"too small for this design: found less than {100 * power:g} % of the time"
    ax.barh(y, table["detectable"], height=0.78, color=BAND, label=missed, zorder=1)
    ax.scatter(table["se_effect"], y, s=45, marker="|", color=INK, linewidth=1.1, zorder=2,
               label="standard error of an effect")  # fmt: skip
    if "second" in table:  # along the first effect's direction: a negative size is a change of sign
        again = table["second"].to_numpy() * np.sign(table["effect"].to_numpy())
        ax.hlines(y, np.maximum(again, 0), size, color=LOSS, linewidth=0.8, zorder=3)
        ax.scatter(np.maximum(again, 0), y, s=13, marker="s", color=LOSS, linewidth=0, zorder=4, clip_on=False,
                   label="the same effect in a second study (at 0: other sign)")  # fmt: skip
    seen = size > table["detectable"].to_numpy()
    for chosen, face, edge, text in (
        (seen, GAIN, GAIN, "largest effect on the set (named at the right), above the band"),
        (~seen, "white", NEUTRAL, "largest effect on the set, inside the band"),
    ):
        ax.scatter(size[chosen], y[chosen], s=20, marker="D", facecolor=face, edgecolor=edge, linewidth=0.9, label=text,
                   zorder=5)  # fmt: skip


def power(
    seeds_buy: pd.DataFrame, sizes: pd.Series, alpha: float = 0.05, strength: float = 0.8, seeds: float | None = None
):
    """What this design can show: effects found by seeds (over runs), and by number of sets (over sets of the kind).

    Takes `influence.seeds_buy` (levels stacked), the number of sets per type and this study's `seeds` per subset. The
    right panel is the best case: the sets' effects known without error. Returns (figure, table).
    """
    import matplotlib.pyplot as plt

    sets = sets_table(sizes, alpha, strength)
    with style():
        fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.1), layout="constrained")
        for (level, own), shade in zip(seeds_buy.groupby("level", sort=False), (GAIN, LOSS), strict=False):
            one = {"task": "set"}.get(level, level)
            tests = own["tests"].iloc[0]
            left.plot(
                own["seeds"],
                own["detectable_median"],
                "o-",
                color=shade,
                markersize=4,
                label=f"one {one}, tested alone",
            )
            left.plot(own["seeds"], own["detectable_corrected"], "o--", color=shade, markersize=4, markerfacecolor="white",
                      label=f"one {one}, among all {tests:.0f} tests")  # fmt: skip
        if seeds:
            left.axvline(seeds, color=INK, linewidth=0.8, linestyle=":", label="this study")
        label = f"effect found with {100 * strength:g} % power (points)"
        left.set(xlabel="training seeds per subset", ylabel=label, ylim=(0, None))
        left.set_xticks(sorted(set(seeds_buy["seeds"])))
        left.set_title("Would these sets move again?")
        left.legend(fontsize=6.3)
        left.grid(axis="y")
        _sets(right, sets)
    return fig, pd.concat([seeds_buy.assign(table="seeds"), sets.assign(table="sets")], ignore_index=True)


def sets_table(sizes: pd.Series, alpha: float, strength: float) -> pd.DataFrame:
    """Per type: the mean effect that a t-test over its sets finds with power `strength`, in spreads between sets."""
    from lib.influence.power import detectable_ratio

    family = max(1, len(sizes))
    rows = [
        {
            "type": kind,
            "sets": int(sizes[kind]),
            "alone": detectable_ratio(int(sizes[kind]) - 1, alpha, strength) / np.sqrt(sizes[kind]),
            "corrected": detectable_ratio(int(sizes[kind]) - 1, alpha / family, strength) / np.sqrt(sizes[kind]),
        }
        for kind in order_types(sizes.index)
    ]
    return pd.DataFrame(rows)


def _sets(ax, table: pd.DataFrame) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    y = np.arange(len(table))
    known = table["alone"].notna()
    ax.hlines(y[known], table.loc[known, "alone"], table.loc[known, "corrected"], color=BAND, linewidth=3)
    ax.scatter(table["alone"], y, s=20, color=GAIN, zorder=3, label="one type, tested alone")
    ax.scatter(
        table["corrected"], y, s=20, facecolor="white", edgecolor=GAIN, zorder=3, label="among all types (Bonferroni)"
    )
    for at in y[~known]:
        where = {"xycoords": ("axes fraction", "data"), "ha": "center", "va": "center"}
        ax.annotate("one set: no answer", (0.5, at), fontsize=6, color=NEUTRAL, **where)
    ax.set_yticks(y, [f"{type_name(k)} ({n})" for k, n in zip(table["type"], table["sets"], strict=True)], fontsize=6.5)
    ax.set(xscale="log", ylim=(len(table) - 0.4, -0.6), title="Would other sets of the kind move?")
    ax.set_xlabel("mean effect found, in spreads between sets\n(best case: runs without noise; log scale)", fontsize=7)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    if known.any():
        ax.legend(fontsize=6.3, loc="upper center", bbox_to_anchor=(0.4, -0.3), ncols=2, handletextpad=0.2)
