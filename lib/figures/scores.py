"""Scores beside scores: main results (Table 1), the published table, who carries the gain, type against type, study
against study."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.common.design import POINTS, minus
from lib.figures import matrix
from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, heights, line, mark, need, points, rows, style
from lib.figures.texts import by_type, category_name, order_types, palette, type_name
from lib.influence import tables
from lib.influence.influence import Analysis, agreement
from lib.influence.tables import LABEL_WITH, LABEL_WITHOUT, OVERALL, run_means

_MARK = {"untrained base": ("|", NEUTRAL), LABEL_WITHOUT: ("o", INK), LABEL_WITH: ("D", GAIN)}
SOURCES = {"Wang et al. (2024)": NEUTRAL, "this study": GAIN}


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
    both = {LABEL_WITHOUT, LABEL_WITH} <= set(sides)
    for y, kind in enumerate(kinds if both else []):
        low, high = sides.loc[kind, [LABEL_WITHOUT, LABEL_WITH]]
        shade = GAIN if high >= low else LOSS
        ax.plot([low, high], [y, y], color=shade, linewidth=2.6, alpha=0.35, zorder=2)
        ax.annotate(minus(high - low, 1), (1.02, y), xycoords=("axes fraction", "data"), va="center", color=shade)
    ax.axhline(len(kinds) - 1.5, color="#555555", linewidth=0.7)
    rows(ax, range(len(kinds)), [f"{type_name(kind)} ({sets[kind]})" for kind in kinds])
    note = f"; large: mean of {seeds:.0f} seeds, small: one seed" if seeds > 1 else ", one run each"
    fig.supxlabel(f"score (points){note}; at the right the difference")
    fig.legend(handles=key, loc="outside upper left", ncols=3, handletextpad=0.3)
    return fig, table.replace({"mixture": names})


@style()
def published(table: pd.DataFrame):
    """Every task's score in Wang et al. (2024) without and with synthetic data: a table of `tables.published_gains`."""
    table = by_type(table, "gain", ascending=False)
    y = heights(table["type"])
    shade = np.select([table["gain"] > 0, table["gain"] < 0], [GAIN, LOSS], NEUTRAL)
    fig, ax = plt.subplots(figsize=(WIDTH, 0.118 * (y.max() + 1) + 0.8))
    ax.hlines(y, table["without"], table["with"], color=shade, linewidth=1.4)
    points(ax, table["without"], y, INK, False, s=21, linewidth=1)  # a ring where both coincide
    points(ax, table["with"], y, shade, s=7, marker="D", linewidth=0, zorder=3)
    rows(ax, y, table["task"], 5.8, table["type"], inside=True)
    told = f"mean gain {minus(table['gain'].mean(), 2)}; {(table['gain'] < 0).sum()} of {len(table)} fall"
    ax.set(xlabel="score (points)", title=f"Wang et al. (2024), Table 17: {told}")
    key = [mark("without synthetic data", filled=False), mark("with them: higher", GAIN, "D")]
    key.append(mark("with them: lower", LOSS, "D"))
    fig.legend(handles=key, loc="outside upper left", ncols=3, handletextpad=0.3)
    return fig, table


@style()
def sparsity(per_seed: pd.DataFrame | None, published: pd.DataFrame | None):
    """Every task's gain, sorted, and added up to the mean; dashed: ranked by other seeds, as sorting noise bends it."""
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
        same, shade = ranking == "same seeds", SOURCES[name]
        label = name if same else f"{name}, sets ranked by other seeds"
        x, y = np.r_[0, own["fraction"]], np.r_[0, own["cumulated"] / len(own)]
        right.plot(x, y, "-" if same else "--", color=shade, label=label)
        if same:
            left.plot(own["fraction"], own["gain"], "o-", color=shade, markersize=3, markeredgewidth=0, linewidth=0.8)
    for ax, label in ((left, "gain of each set (points)"), (right, "summed gain / all sets (points)")):
        ax.set(xlabel="fraction of sets, largest gain first", ylabel=label)
        ax.axhline(0, color=INK, linewidth=0.7)
        ax.grid(axis="y")
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    told = []
    for name, gain in gains.items():
        k, mean, falling = max(1, round(len(gain) / 7)), gain.mean(), (gain < 0).sum()
        best = gain.nlargest(k).sum() / len(gain)
        told.append(f"{name}: mean gain {minus(mean, 2)}: {minus(best, 2)} from the top {k}, ")
        told[-1] += f"{minus(mean - best, 2)} from the others; {falling} of {len(gain)} fall"
    fig.suptitle("\n".join(told), fontsize=7, x=0.01, ha="left")
    return fig, table[["source", "ranking", "k", "fraction", "task", "gain", "cumulated", "share"]]


@style()
def trade_off(a: Analysis):
    """One task type against another (the paper's reranking and STS, or the first two), and how all move together."""
    need(len(set(a.study.types)) > 1, "a trade-off needs two task types")
    need(a.study.runs["subset"].nunique() > 3, "a trade-off needs four subsets or more")
    runs, effects = run_means(a.study), a.effects[a.effects["level"] == "type"]
    kinds = order_types([c for c in runs.columns if c in set(effects["type"])])
    pair = ["Reranking", "STS"] if {"Reranking", "STS"} <= set(kinds) else kinds[:2]
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), width_ratios=(1.15, 1))
    _cloud(left, runs[pair] - runs[pair].mean(), effects, pair)
    _together(right, runs, kinds)
    return fig, runs.reset_index(drop=True)


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
    names = [f"{type_name(kind)} (points from the mean run)" for kind in pair]
    ax.set(xlabel=names[0], ylabel=names[1])
    ax.set_title("arrow: what adding the category does to both;\ncross: 95 % over runs, each way")
    ax.legend(handles=key, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, handlelength=1.6)


def _together(ax, runs: pd.DataFrame, kinds: list[str]) -> None:
    """Correlation of the types' means over the subsets, below the diagonal."""
    means = runs.groupby([c for c in runs.columns if c not in ("subset", "seed", *kinds)])[kinds].mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        values = means.corr().iloc[1:, :-1]
    bound = 1.96 / np.sqrt(max(len(means) - 1, 1))
    strength = np.where(values.abs() > bound, 1.0, matrix.STRENGTH[1])
    text = values.map(lambda v: minus(v, 2).replace("0.", "."))
    above = np.triu(np.ones(values.shape, bool), 1)
    columns, names = ([type_name(kind) for kind in each] for each in (values.columns, values.index))
    matrix.heatmap(ax, values, 1.15, strength, text, above, 6, yticklabels=names)
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=40, ha="right", rotation_mode="anchor", fontsize=6.5)
    ax.tick_params(axis="y", labelsize=6.5)
    ax.set_box_aspect(1)
    words = f"how types move together: correlation over\n{len(means)} subsets (pale: chance, within ±{bound:.2f})"
    ax.set_title(words, fontsize=6.6, loc="right")


@style()
def replication(
    table: pd.DataFrame | None, names: tuple[str, str] = ("the first study", "the second study"), ceilings=None
):
    """One study against another, for types and for sets: a point on the line came back at its full size.

    `ceilings` (level: the largest correlation to be expected) are for two models, whose effects may differ in size.
    """
    need(table is not None, "no second study at hand (replication.csv); `make replicate` makes one")
    panels = {"type": "means of task types", "task": "single evaluation sets"}
    panels = {level: words for level, words in panels.items() if (table["level"] == level).any()}
    shades = palette(table["factor"])
    fig, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 4.5), squeeze=False)
    for ax, (level, words) in zip(axes[0], panels.items(), strict=True):
        _studies(ax, table[table["level"] == level], shades, words, ceilings and ceilings.get(level, np.nan))
        ax.set_xlabel(f"effect in {names[0]} (points)")
    axes[0, 0].set_ylabel(f"the same effect in {names[1]} (points)")
    key = [mark(category_name(code), shade, markersize=5) for code, shade in shades.items()]
    key += [mark(f"marked in {names[0]}, found again"), mark("marked, not found again", filled=False)]
    key += [mark("not marked", alpha=0.5, markersize=3), line("perfect agreement", 0.9, ":")]
    key += [] if ceilings else [line("what came back (least squares)", 1.1)]
    key.append(line("bars: ± 2 standard errors", 0.6))
    fig.legend(handles=key, loc="outside lower center", ncols=3, handletextpad=0.5)
    return fig, table


def _studies(ax, own: pd.DataFrame, shades: dict[str, str], words: str, ceiling: float | None) -> None:
    size = own[["first", "second"]].abs()
    bars = size + 2 * own[["first_se", "second_se"]].fillna(0).to_numpy()
    ends = 1.06 * np.minimum(bars.max(), 1.6 * size.max())  # of either axis
    if ceiling is None:
        ends[:] = 1.06 * min(bars.to_numpy().max(), 1.6 * size.to_numpy().max())
    told, limit = agreement(own).iloc[0], ends.max()
    ax.axhline(0, color=INK, linewidth=0.6)
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.plot([-limit, limit], [-limit, limit], color=INK, linewidth=0.8, linestyle=":")
    if ceiling is None and np.isfinite(told["r"]):
        ax.plot([-limit, limit], np.array([-limit, limit]) * told["slope"], color=INK, linewidth=1.1)
    for strong, part in own.groupby("marked_first"):
        colours = part["factor"].map(shades)
        bars = {"elinewidth": 1.1, "alpha": 0.9} if strong else {"elinewidth": 0.5, "alpha": 0.22}
        far = 2 * part["second_se"], 2 * part["first_se"]
        ax.errorbar(part["first"], part["second"], *far, fmt="none", ecolor=colours, zorder=2, **bars)
        look = {"s": 30, "edge": INK, "linewidth": 1} if strong else {"s": 9, "alpha": 0.55, "linewidth": 0}
        points(ax, part["first"], part["second"], colours, part["returned"] | (not strong), zorder=3 + strong, **look)
    ax.set(xlim=(-ends["first"], ends["first"]), ylim=(-ends["second"], ends["second"]), ylabel="")
    ax.set_box_aspect(1)
    ax.grid()
    text = f"{told['marked']} marked: same sign {told['same_sign']}, found again {told['returned']}"
    if np.isfinite(told["r"]):
        back = f"; 1 point came back as {minus(told['slope'], 2)}"
        text = f"correlation {minus(told['r'], 2)}{back if ceiling is None else f' of at most {ceiling:.2f}'}\n{text}"
    ax.set_title(f"{words} ({told['n']})\n{text}", fontsize=7)
