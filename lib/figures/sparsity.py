"""Who carries the gain, and at whose cost: the sparsity curve and the trade-off plot."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.numbers import minus
from lib.figures import grid
from lib.figures.base import GAIN, INK, NEUTRAL, WIDTH, category_name, order_types, palette, style, type_name
from lib.influence.tables import curve, honest_curve, top


def sparsity(per_seed: pd.DataFrame | None, published: pd.DataFrame | None, k_share: float = 1 / 7):
    """Gain of every task, sorted, and what the best tasks contribute to the mean gain.

    `per_seed`: `tables.gains` of this study, or None; `published`: `tables.published_gains`, or None. Left: gain per task;
    right: the gains added up from the largest down, divided by the number of tasks, so that a curve ends at the mean
    gain. The dashed curve of this study ranks tasks by other seeds than it counts, because sorting noise alone bends a
    curve. The table also has the share of the net gain (NaN where there is none). Returns (figure, table).
    """
    import matplotlib.pyplot as plt

    series = []
    if published is not None:
        series.append(("Wang et al. (2024)", published.set_index("task")["gain"], NEUTRAL, None))
    if per_seed is not None:
        series.append(("this study", per_seed.groupby("task", sort=False)["gain"].mean(), GAIN, honest_curve(per_seed)))
    table = pd.concat(
        [curve(gain).assign(source=name, ranking="same seeds") for name, gain, _, _ in series]
        + [honest.assign(source=name, ranking="other seeds") for name, _, _, honest in series if honest is not None]
    )
    with style():
        fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3), layout="constrained")
        for i, (name, gain, shade, honest) in enumerate(series):
            ranked = curve(gain)
            left.plot(ranked["fraction"], ranked["gain"], "o-", color=shade, markersize=3, linewidth=0.8)
            _contributions(right, ranked, honest, name, shade, k_share, place=(0.97, 0.06 + 0.16 * i))
        left.axhline(0, color=INK, linewidth=0.7)
        left.set(xlabel="fraction of sets, largest gain first", ylabel="gain of each set (points)")
        right.set(xlabel="fraction of sets, largest gain first", ylabel="summed gain / all sets (points)")
        right.axhline(0, color=INK, linewidth=0.7)
        fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
        fig.suptitle(
            "\n".join(sentence(name, gain, k_share) for name, gain, _, _ in series), fontsize=7, x=0.01, ha="left"
        )
        for ax in (left, right):
            ax.grid(axis="y")
    return fig, table[["source", "ranking", "k", "fraction", "task", "gain", "cumulated", "share"]].reset_index(
        drop=True
    )


def _contributions(
    ax, ranked: pd.DataFrame, honest: pd.DataFrame | None, name: str, shade: str, k_share: float, place: tuple
) -> None:
    n = len(ranked)
    ax.plot(np.r_[0, ranked["fraction"]], np.r_[0, ranked["cumulated"] / n], color=shade, label=name)
    at = ranked.iloc[max(1, round(k_share * n)) - 1]
    ax.plot(at["fraction"], at["cumulated"] / n, "o", color=shade, markersize=4)
    if 0 < at["share"] <= 1:
        words = f"● {at['k']} of {n} sets: {100 * at['share']:.0f} % of the net gain"
        ax.text(*place, words, transform=ax.transAxes, fontsize=6.5, color=shade, ha="right", va="bottom",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8})  # fmt: skip
    if honest is not None:
        ax.plot(
            np.r_[0, honest["fraction"]],
            np.r_[0, honest["cumulated"] / n],
            color=shade,
            linestyle="--",
            label=f"{name}, sets ranked by other seeds",
        )


def sentence(name: str, gain: pd.Series, k_share: float = 1 / 7) -> str:
    """How uneven the gains are, in one line: mean, what the best seventh of the tasks adds to it, how many fall."""
    k = max(1, round(k_share * len(gain)))
    numbers = top(gain, k)
    best = float(gain.nlargest(k).sum()) / len(gain)
    return (
        f"{name}: mean gain {minus(numbers['mean'], 2)}: {minus(best, 2)} from the top {k}, "
        f"{minus(numbers['mean'] - best, 2)} from the others; {numbers['fall']} of {len(gain)} fall"
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
        fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), width_ratios=(1.15, 1), layout="constrained")
        _cloud(left, run_means, effects, pair)
        _together(right, run_means, kinds)
    return fig, run_means.reset_index(drop=True)


def _cloud(ax, runs: pd.DataFrame, effects: pd.DataFrame, pair: tuple[str, str]) -> None:
    """Every run as a grey point, every category's effect as an arrow; the cross at its tip is its error over runs."""
    from matplotlib.lines import Line2D

    x, y = runs[pair[0]] - runs[pair[0]].mean(), runs[pair[1]] - runs[pair[1]].mean()
    ax.scatter(x, y, s=11, facecolor="white", edgecolor="#BBBBBB", linewidth=0.8, zorder=2)
    shades = palette(effects["factor"])
    handles = [Line2D([], [], marker="o", color="white", markeredgecolor="#BBBBBB", linestyle="none", label="one run")]
    for factor, own in effects[effects["type"].isin(pair)].groupby("factor", sort=False):
        tip, far = (own.set_index("type")[name].reindex(pair) for name in ("effect", "se"))
        if tip.isna().any():
            continue
        certain = bool(((tip.abs() - 1.96 * far.fillna(np.inf)) > 0).any())
        line = {"arrowstyle": "-|>", "color": shades[factor], "linewidth": 2.0, "alpha": 1.0 if certain else 0.4}
        ax.annotate("", tip, (0, 0), arrowprops=line | {"shrinkA": 0, "shrinkB": 0}, zorder=4)
        ax.errorbar(*tip, xerr=1.96 * far.iloc[0], yerr=1.96 * far.iloc[1], color=shades[factor], elinewidth=0.8,
                    alpha=line["alpha"], zorder=3)  # fmt: skip
        words = f"adding {category_name(factor)}" + ("" if certain else " (not told from 0)")
        handles.append(Line2D([], [], color=shades[factor], marker=">", markersize=4, alpha=line["alpha"], label=words))
    ax.autoscale_view()
    ax.axhline(0, color=INK, linewidth=0.5)
    ax.axvline(0, color=INK, linewidth=0.5)
    ax.set_xlabel(f"{type_name(pair[0])} (points from the mean run)", fontsize=7)
    ax.set_ylabel(f"{type_name(pair[1])} (points from the mean run)", fontsize=7)
    ax.set_title("arrow: what adding the category does to both;\ncross: 95 % over runs, each way", fontsize=7)
    ax.legend(handles=handles, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, handlelength=1.6)


def _together(ax, runs: pd.DataFrame, kinds: list[str]) -> None:
    """Correlation of the types' means over the subsets, below the diagonal."""
    factors = [c for c in runs.columns if c not in ("subset", "seed", *kinds)]
    cells = runs.groupby(factors)[kinds].mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        values = cells.corr()
    bound = 1.96 / np.sqrt(max(len(cells) - 1, 1))
    lower = np.tril(np.ones(values.shape, bool), -1)
    values = values.where(lower).iloc[1:, :-1]
    strength = pd.DataFrame(np.where(values.abs() > bound, 1.0, grid.STRENGTH[1]), values.index, values.columns)
    text = values.map(lambda v: minus(v, 2).replace("0.", ".") if np.isfinite(v) else "")
    grid.heat(ax, values, 1.15, strength, text, size=6)
    for i, j in zip(*np.where(values.isna()), strict=True):
        ax.fill_between([j, j + 1], i, i + 1, color="white", linewidth=0.6, zorder=2)
    names = {"fontsize": 6.5, "rotation_mode": "anchor"}
    ax.set_xticklabels([type_name(k) for k in values.columns], rotation=40, ha="right", **names)
    ax.set_yticklabels([type_name(k) for k in values.index], rotation=0, fontsize=6.5)
    ax.set_box_aspect(1)
    words = f"how types move together: correlation over\n{len(cells)} subsets (pale: chance, within ±{bound:.2f})"
    ax.set_title(words, fontsize=6.6, loc="right")
