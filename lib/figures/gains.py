"""Who carries the gain, and at whose cost: the sparsity curve and the trade-off plot."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from lib.common.display import minus
from lib.figures import matrix
from lib.figures.base import GAIN, INK, NEUTRAL, WIDTH, category_name, order_types, palette, style, type_name
from lib.figures.marks import mark, points
from lib.influence.tables import curve, honest_curve, top


def sparsity(per_seed: pd.DataFrame | None, published: pd.DataFrame | None, k_share: float = 1 / 7):
    """Gain of every task, sorted, and what the best tasks contribute to the mean gain.

    `per_seed`: `tables.gains` of this study, or None; `published`: `tables.published_gains`, or None. Left: gain per
    task; right: the gains added up from the largest down, divided by the number of tasks, so that a curve ends at the
    mean gain. The dashed curve of this study ranks tasks by other seeds than it counts, because sorting noise alone
    bends a curve. The table also has the share of the net gain (NaN where there is none). Returns (figure, table).
    """
    gains, honest = {}, None
    if published is not None:
        gains["Wang et al. (2024)"] = published.set_index("task")["gain"]
    if per_seed is not None:
        gains["this study"] = per_seed.groupby("task", sort=False)["gain"].mean()
        honest = honest_curve(per_seed)
    shades = {"Wang et al. (2024)": NEUTRAL, "this study": GAIN}
    curves = [curve(gain).assign(source=name, ranking="same seeds") for name, gain in gains.items()]
    curves += [honest.assign(source="this study", ranking="other seeds")] if honest is not None else []
    table = pd.concat(curves, ignore_index=True)
    with style():
        fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3))
        look = {"marker": "o", "markersize": 3, "markeredgewidth": 0, "linewidth": 0.8, "estimator": None}
        ranked = table.dropna(subset="gain")
        sns.lineplot(ranked, x="fraction", y="gain", hue="source", palette=shades, legend=False, ax=left, **look)
        for (name, ranking), own in table.groupby(["source", "ranking"], sort=False):
            same, n = ranking == "same seeds", len(own)
            look = {"linestyle": "-" if same else "--", "color": shades[name], "estimator": None}
            look["label"] = name if same else f"{name}, sets ranked by other seeds"
            sns.lineplot(x=np.r_[0, own["fraction"]], y=np.r_[0, own["cumulated"] / n], ax=right, **look)
            best = own.iloc[max(1, round(k_share * n)) - 1]
            if same:
                points(right, [best["fraction"]], [best["cumulated"] / n], shades[name], s=18, zorder=3)
            if same and 0 < best["share"] <= 1:
                words = f"● {best['k']} of {n} sets: {100 * best['share']:.0f} % of the net gain"
                place = (0.97, 0.06 + 0.16 * list(gains).index(name))
                look = {"transform": right.transAxes, "fontsize": 6.5, "color": shades[name], "ha": "right"}
                right.text(*place, words, bbox={"facecolor": "#FFFFFFCC", "edgecolor": "none", "pad": 1}, **look)
        for ax, label in ((left, "gain of each set (points)"), (right, "summed gain / all sets (points)")):
            ax.set(xlabel="fraction of sets, largest gain first", ylabel=label)
            ax.axhline(0, color=INK, linewidth=0.7)
            ax.grid(axis="y")
        handles = right.get_legend_handles_labels()
        right.get_legend().remove()
        fig.legend(*handles, loc="outside lower center", ncols=3, fontsize=7)
        told = "\n".join(sentence(name, gain, k_share) for name, gain in gains.items())
        fig.suptitle(told, fontsize=7, x=0.01, ha="left")
    return fig, table[["source", "ranking", "k", "fraction", "task", "gain", "cumulated", "share"]]


def sentence(name: str, gain: pd.Series, k_share: float = 1 / 7) -> str:
    """How uneven the gains are, in one line: mean, what the best seventh of the tasks adds to it, how many fall."""
    k = max(1, round(k_share * len(gain)))
    numbers = top(gain, k)
    best = float(gain.nlargest(k).sum()) / len(gain)
    return (
        f"{name}: mean gain {minus(numbers['mean'], 2)}: {minus(best, 2)} from the top {k}, "
        f"{minus(numbers['mean'] - best, 2)} from the others; {numbers['fall']} of {len(gain)} fall"
    )


def trade_off(run_means: pd.DataFrame, effects: pd.DataFrame):
    """One task type against another over the runs, and how all types move together.

    `run_means`: `influence.run_means(level="type")`; `effects`: level "type". Left: every run, with each category's
    main effect as an arrow from the mean, for the pair that the paper names, reranking against STS, or the first two
    types; right: correlation of the types' means over the runs. Returns (figure, table of runs).
    """
    kinds = order_types([c for c in run_means.columns if c in set(effects["type"])])
    pair = ["Reranking", "STS"] if {"Reranking", "STS"} <= set(kinds) else kinds[:2]
    with style():
        fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), width_ratios=(1.15, 1))
        _cloud(left, run_means[pair] - run_means[pair].mean(), effects, pair)
        _together(right, run_means, kinds)
    return fig, run_means.reset_index(drop=True)


def _cloud(ax, runs: pd.DataFrame, effects: pd.DataFrame, pair: list[str]) -> None:
    """Every run as a grey ring, every category's effect as an arrow; the cross at its tip is its error over runs."""
    points(ax, runs[pair[0]], runs[pair[1]], "#BBBBBB", False, s=11, linewidth=0.8, zorder=2)
    shades, key = palette(effects["factor"]), [mark("one run", "#BBBBBB", filled=False)]
    for factor, own in effects[effects["type"].isin(pair)].groupby("factor", sort=False):
        tip, far = (own.set_index("type")[name].reindex(pair) for name in ("effect", "se"))
        if tip.isna().any():
            continue
        shade, certain = shades[factor], bool((tip.abs() > 1.96 * far.fillna(np.inf)).any())
        alpha = 1.0 if certain else 0.4
        arrow = {"arrowstyle": "-|>", "color": shade, "linewidth": 2.0, "alpha": alpha, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", tip, (0, 0), arrowprops=arrow, zorder=4)
        ax.errorbar(*tip, *(1.96 * far.iloc[::-1]), color=shade, elinewidth=0.8, alpha=alpha, zorder=3)
        words = f"adding {category_name(factor)}" + ("" if certain else " (not told from 0)")
        key.append(mark(words, shade, ">", alpha=alpha, linestyle="-"))
    ax.autoscale_view()
    ax.axhline(0, color=INK, linewidth=0.5)
    ax.axvline(0, color=INK, linewidth=0.5)
    ax.set_xlabel(f"{type_name(pair[0])} (points from the mean run)", fontsize=7)
    ax.set_ylabel(f"{type_name(pair[1])} (points from the mean run)", fontsize=7)
    ax.set_title("arrow: what adding the category does to both;\ncross: 95 % over runs, each way", fontsize=7)
    ax.legend(handles=key, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, handlelength=1.6)


def _together(ax, runs: pd.DataFrame, kinds: list[str]) -> None:
    """Correlation of the types' means over the subsets, below the diagonal."""
    cells = runs.groupby([c for c in runs.columns if c not in ("subset", "seed", *kinds)])[kinds].mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        values = cells.corr().iloc[1:, :-1]
    bound = 1.96 / np.sqrt(max(len(cells) - 1, 1))
    strength = np.where(values.abs() > bound, 1.0, matrix.STRENGTH[1])
    text = values.map(lambda v: minus(v, 2).replace("0.", "."))
    above = np.triu(np.ones(values.shape, bool), 1)
    columns, rows = ([type_name(kind) for kind in names] for names in (values.columns, values.index))
    matrix.heatmap(ax, values, 1.15, strength, text, above, 6, yticklabels=rows)
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=40, ha="right", rotation_mode="anchor", fontsize=6.5)
    ax.tick_params(axis="y", labelsize=6.5)
    ax.set_box_aspect(1)
    words = f"how types move together: correlation over\n{len(cells)} subsets (pale: chance, within ±{bound:.2f})"
    ax.set_title(words, fontsize=6.6, loc="right")
