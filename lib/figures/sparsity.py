"""Who carries the gain, and at whose cost: the sparsity curve and the trade-off plot."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.figures.base import (
    GAIN,
    INK,
    NEUTRAL,
    WIDTH,
    category_name,
    colour,
    diverging,
    minus,
    order_types,
    style,
    type_name,
)
from lib.figures.tables import curve, honest_curve, top


def sparsity(per_seed: pd.DataFrame | None, published: pd.DataFrame, k_share: float = 1 / 7):
    """Gain of every task, sorted, and what the best tasks contribute to the mean gain.

    `per_seed`: `tables.gains` of this study, or None; `published`: `tables.published_gains`. Left: gain per task;
    right: the gains added up from the largest down, divided by the number of tasks, so that a curve ends at the mean
    gain. The dashed curve of this study ranks tasks by other seeds than it counts, because sorting noise alone bends a
    curve. The table also has the share of the net gain (NaN where there is none). Returns (figure, table).
    """
    import matplotlib.pyplot as plt

    series = [("Wang et al. (2024)", published.set_index("task")["gain"], NEUTRAL, None)]
    if per_seed is not None:
        series.append(("this study", per_seed.groupby("task", sort=False)["gain"].mean(), GAIN, honest_curve(per_seed)))
    table = pd.concat(
        [curve(gain).assign(source=name, ranking="same seeds") for name, gain, _, _ in series]
        + [honest.assign(source=name, ranking="other seeds") for name, _, _, honest in series if honest is not None]
    )
    with style():
        fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.85), layout="constrained")
        for name, gain, shade, honest in series:
            ranked = curve(gain)
            left.plot(ranked["fraction"], ranked["gain"], "o-", color=shade, markersize=3, linewidth=0.8)
            _contributions(right, ranked, honest, name, shade, k_share)
        left.axhline(0, color=INK, linewidth=0.7)
        left.set(xlabel="fraction of tasks, largest gain first", ylabel="gain with synthetic data (points)")
        right.set(xlabel="fraction of tasks, largest gain first", ylabel="summed gain / all tasks (points)")
        right.axhline(0, color=INK, linewidth=0.7)
        fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
        fig.suptitle(
            "\n".join(sentence(name, gain, k_share) for name, gain, _, _ in series), fontsize=7.5, x=0.01, ha="left"
        )
        for ax in (left, right):
            ax.grid(axis="y")
    return fig, table[["source", "ranking", "k", "fraction", "task", "gain", "cumulated", "share"]].reset_index(
        drop=True
    )


def _contributions(
    ax, ranked: pd.DataFrame, honest: pd.DataFrame | None, name: str, shade: str, k_share: float
) -> None:
    n = len(ranked)
    ax.plot(np.r_[0, ranked["fraction"]], np.r_[0, ranked["cumulated"] / n], color=shade, label=name)
    at = ranked.iloc[max(1, round(k_share * n)) - 1]
    ax.plot(at["fraction"], at["cumulated"] / n, "o", color=shade, markersize=4)
    if 0 < at["share"] <= 1:
        ax.annotate(
            f"{at['k']} tasks: {at['share']:.0%}\nof the net gain",
            (at["fraction"], at["cumulated"] / n),
            xytext=(6, -4),
            textcoords="offset points",
            fontsize=6.5,
            color=shade,
            va="top",
        )
    if honest is not None:
        ax.plot(
            np.r_[0, honest["fraction"]],
            np.r_[0, honest["cumulated"] / n],
            color=shade,
            linestyle="--",
            label=f"{name}, tasks ranked by other seeds",
        )


def sentence(name: str, gain: pd.Series, k_share: float = 1 / 7) -> str:
    """How uneven the gains are, in one line: mean, what the best seventh of the tasks adds to it, how many fall."""
    k = max(1, round(k_share * len(gain)))
    numbers = top(gain, k)
    best = float(gain.nlargest(k).sum()) / len(gain)
    share = f" ({numbers['share']:.0%})" if 0 < numbers["share"] <= 1 else ""
    return (
        f"{name}: mean {minus(numbers['mean'], 2)}, of it {minus(best, 2)}{share} from the top {k} and "
        f"{minus(numbers['mean'] - best, 2)} from the other {len(gain) - k}; {numbers['fall']} of {len(gain)} fall"
    )


def trade_off(run_means: pd.DataFrame, effects: pd.DataFrame, pair: tuple[str, str] | None = None):
    """One task type against another over the runs, and how all types move together.

    `run_means`: `influence.run_means(level="type")`; `effects`: level "type". Left: every run, with each category's
    main effect as an arrow from the mean; right: correlation of the types' means over the runs. The default pair is
    the one the paper names, reranking against STS. Returns (figure, table of runs).
    """
    import matplotlib.pyplot as plt

    kinds = order_types([c for c in run_means.columns if c in set(effects["type"])])
    if pair is None:
        pair = ("Reranking", "STS") if {"Reranking", "STS"} <= set(kinds) else tuple(kinds[:2])
    with style():
        fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.1), width_ratios=(1.15, 1), layout="constrained")
        _cloud(left, run_means, effects, pair)
        _together(right, run_means, kinds)
    return fig, run_means.reset_index(drop=True)


def _cloud(ax, runs: pd.DataFrame, effects: pd.DataFrame, pair: tuple[str, str]) -> None:
    x, y = runs[pair[0]] - runs[pair[0]].mean(), runs[pair[1]] - runs[pair[1]].mean()
    strongest = effects[effects["type"].isin(pair)].assign(size=lambda t: t["effect"].abs()).sort_values("size")
    if len(strongest):
        factor = strongest["factor"].iloc[-1]
        for level, face in ((0, "white"), (1, colour(factor))):
            on = runs[factor] == level
            ax.scatter(
                x[on],
                y[on],
                s=16,
                facecolor=face,
                edgecolor=colour(factor),
                linewidth=0.8,
                zorder=3,
                label=f"{'with' if level else 'without'} {category_name(factor)}",
            )
    for factor, own in effects[effects["type"].isin(pair)].groupby("factor", sort=False):
        tip = own.set_index("type")["effect"].reindex(pair)
        if tip.isna().any():
            continue
        ax.annotate(
            "", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour(factor), "linewidth": 1.8}, zorder=4
        )
        ax.plot([], [], color=colour(factor), linewidth=1.8, label=f"effect of {category_name(factor)}")
        ax.update_datalim([tip])
    ax.autoscale_view()
    ax.axhline(0, color=INK, linewidth=0.5)
    ax.axvline(0, color=INK, linewidth=0.5)
    ax.set(
        xlabel=f"{type_name(pair[0])} (points from the mean run)",
        ylabel=f"{type_name(pair[1])} (points from the mean run)",
    )
    ax.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, handlelength=1.2)


def _together(ax, runs: pd.DataFrame, kinds: list[str]) -> None:
    factors = [c for c in runs.columns if c not in ("subset", "seed", *kinds)]
    cells = runs.groupby(factors)[kinds].mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        grid = cells.corr().to_numpy()
    ax.imshow(grid, cmap=diverging(), vmin=-1, vmax=1)
    for (i, j), value in np.ndenumerate(grid):
        if i != j and np.isfinite(value):
            ax.text(
                j, i, minus(value, 2), ha="center", va="center", fontsize=6, color="white" if abs(value) > 0.75 else INK
            )
    ax.set_xticks(
        range(len(kinds)), [type_name(k) for k in kinds], rotation=40, ha="right", rotation_mode="anchor", fontsize=6.5
    )
    ax.set_yticks(range(len(kinds)), [type_name(k) for k in kinds], fontsize=6.5)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bound = 1.96 / np.sqrt(max(len(cells) - 1, 1))
    ax.set_title(f"correlation over {len(cells)} subsets\n(chance alone: within ±{bound:.2f})", fontsize=7)
