"""What can be seen at all: the noise floor per task, and what the design can detect."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, order_types, style, type_name


def floor(noise: pd.DataFrame, effects: pd.DataFrame, limit: int = 70):
    """Noise floor per task (points, log axis) beside the largest effect of any category on it.

    `noise`: `influence.noise`; `effects`: level "task". Grey: spread of one score between training seeds; open: error
    of one score from mteb's own draws, where they were kept; bar: standard error of a main effect; tick: effect found
    with 80 % power; diamond: largest effect, filled when it exceeds that. Returns (figure, table).
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    largest = effects.assign(size=effects["effect"].abs()).sort_values("size").groupby("task").tail(1)
    table = noise.merge(largest[["task", "factor", "effect", "p_bh"]], on="task", how="left")
    order = {kind: i for i, kind in enumerate(order_types(table["type"]))}
    table = table.assign(_o=table["type"].map(order)).sort_values(["_o", "task"], kind="stable").drop(columns="_o")
    table = table.reset_index(drop=True)
    drawn = table if len(table) <= limit else table[table["task"].isin(table.nlargest(limit, "detectable")["task"])]
    y = (
        np.arange(len(drawn))
        + drawn["type"].map({k: i for i, k in enumerate(order_types(drawn["type"]))}).to_numpy() * 1.2
    )
    with style():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.125 * (y.max() + 2) + 0.95), layout="constrained")
        _floor_marks(ax, drawn, y)
        ax.set_yticks(y, drawn["task"], fontsize=6 if len(drawn) < 30 else 5.6)
        for kind in order_types(drawn["type"]):
            at = y[(drawn["type"] == kind).to_numpy()].min() - 0.95
            ax.annotate(
                type_name(kind),
                (0, at),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 0),
                ha="right",
                va="center",
                textcoords="offset points",
                fontsize=6.5,
                fontweight="bold",
            )
        ax.set(xscale="log", xlabel="points (log scale)", ylim=(y.max() + 1, -1.6))
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        fig.legend(loc="outside upper center", ncols=3, fontsize=6.5, handletextpad=0.3)
    return fig, table


def _floor_marks(ax, table: pd.DataFrame, y: np.ndarray) -> None:
    ax.scatter(table["sd_seed"], y, s=12, color=NEUTRAL, label="one score: sd between training seeds", zorder=2)
    if "se_score_draws" in table and table["se_score_draws"].notna().any():
        ax.scatter(
            table["se_score_draws"].where(table["se_score_draws"] > 0),  # a log axis has no zero
            y,
            s=12,
            facecolor="white",
            edgecolor=NEUTRAL,
            zorder=2,
            label="one score: error from mteb's draws",
        )
    ax.scatter(
        table["se_effect"], y, s=45, marker="|", color=INK, linewidth=1.3, label="main effect: standard error", zorder=3
    )
    ax.scatter(
        table["detectable"],
        y,
        s=28,
        marker=4,
        color=LOSS,
        linewidth=0,
        label="main effect found with 80 % power",
        zorder=3,
    )
    size = table["effect"].abs()
    seen = (size > table["detectable"]).to_numpy()
    for chosen, face, text in (
        (seen, GAIN, "largest effect, above that"),
        (~seen, "white", "largest effect, below it"),
    ):
        ax.scatter(
            size[chosen],
            y[chosen],
            s=16,
            marker="D",
            facecolor=face,
            edgecolor=GAIN,
            linewidth=0.8,
            label=text,
            zorder=4,
        )


def power(seeds_buy: pd.DataFrame, attainable: pd.DataFrame, alpha: float = 0.05):
    """What this design can show: effect found with 80 % power by seeds, and the smallest p of the exact tests.

    Takes `influence.seeds_buy` (levels stacked) and `influence.attainable`. Returns (figure, table).
    """
    import matplotlib.pyplot as plt

    exact = attainable[attainable["pairs"].notna() & attainable["smallest_p"].gt(0)]
    with style():
        fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.6), layout="constrained")
        for (level, own), shade in zip(seeds_buy.groupby("level", sort=False), (GAIN, LOSS), strict=False):
            left.plot(
                own["seeds"],
                own["detectable_median"],
                "o-",
                color=shade,
                markersize=4,
                label=f"one {level}, tested alone",
            )
            left.plot(
                own["seeds"],
                own["detectable_corrected"],
                "o--",
                color=shade,
                markersize=4,
                markerfacecolor="white",
                label=f"one {level}, among all {own['tests'].iloc[0]:.0f} tests",
            )
        left.set(xlabel="training seeds per subset", ylabel="effect found with 80 % power (points)", ylim=(0, None))
        left.set_xticks(sorted(set(seeds_buy["seeds"])))
        left.legend(fontsize=6.5)
        left.grid(axis="y")
        _smallest(right, exact, alpha)
    return fig, pd.concat([seeds_buy.assign(table="seeds"), attainable.assign(table="attainable")], ignore_index=True)


def _smallest(ax, exact: pd.DataFrame, alpha: float) -> None:
    rows = exact[exact["test"].str.startswith("sign-flip")]
    toggles = exact[exact["test"].str.startswith("toggle")].head(1)
    labels = [type_name(kind) for kind in rows["type"]] + ["any task (toggles)"] * len(toggles)
    both = pd.concat([rows, toggles])
    y = np.arange(len(both))
    short = (both["smallest_p"] > alpha).to_numpy()
    ax.hlines(y, both["smallest_p"], 1, color="#CCCCCC", linewidth=3)
    ax.scatter(both["smallest_p"], y, s=18, c=np.where(short, LOSS, GAIN), zorder=3)
    ax.axvline(alpha, color=INK, linewidth=0.7, linestyle=":")
    ax.set_yticks(y, [f"{text} ({pairs:.0f})" for text, pairs in zip(labels, both["pairs"], strict=True)], fontsize=6.5)
    ax.set(xscale="log", xlabel=f"smallest p of an exact test (dotted: {alpha:g})", ylim=(len(both) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0)
