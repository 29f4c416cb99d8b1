"""How the categories act together: interactions, all contrasts, the subsets as a lattice, one task type's cost.

Every function of a figure takes the analysis of a study and returns (figure, table of its numbers).
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from lib.common.design import minus
from lib.figures import matrix
from lib.figures.base import GAIN, INK, NEUTRAL, WIDTH, line, mark, need, points, style
from lib.figures.names import category_name, certain, defined, order_factors, order_types, palette, type_name, typed
from lib.influence import power
from lib.influence.influence import Analysis
from lib.influence.tables import OVERALL, cells, run_means


def _shape(kinds: list[str]) -> tuple[int, int]:
    """Rows and columns of small panels, one per type."""
    columns = 5 if len(kinds) == 9 else min(4, len(kinds))
    return -(-len(kinds) // columns), columns


def _panels(figure, kinds: list[str], **share) -> dict:
    """The axes of small panels: {type: axes}."""
    axes = figure.subplots(*_shape(kinds), squeeze=False, **share).ravel()
    for spare in axes[len(kinds) :]:
        spare.set_visible(False)
    return dict(zip(kinds, axes, strict=False))


@style()
def interaction_map(a: Analysis):
    """Main effects (diagonal) and two-way interactions (below it) per task type and over all tasks, in points."""
    need(a.interactions["effect"].notna().any(), "these runs do not determine any interaction")
    inter, main, block = (typed(table) for table in (a.interactions, a.effects, a.block))
    table = pd.concat([main.rename(columns={"factor": "term"}), inter], ignore_index=True)
    table = table[["type", "term", "effect", "se", "t", "df", "p", "p_bh", "p_holm", "n"]]
    table["certainty"] = sure = matrix.certainty(table, a.settings)
    kinds, factors = order_types({*inter["type"], OVERALL}), order_factors(main["factor"])
    limit = matrix.reach(table["effect"], sure)
    tests, pairs = block.set_index("type")["p"], inter["type"].value_counts()
    rows, columns = _shape(kinds)
    tall = (WIDTH / columns + 0.25) * rows
    fig = plt.figure(figsize=(WIDTH, tall + 1.25))
    above, below = fig.subfigures(2, 1, height_ratios=(tall + 0.45, 0.75))
    for kind, ax in _panels(above, kinds).items():
        _pairs(ax, table[table["type"] == kind], factors, limit)
        p = tests.get(kind, np.nan)
        told = f"{pairs[kind]} pairs: p = {p:.2g}" if np.isfinite(p) else "no test of the pairs"
        ax.set_title(f"{type_name(kind)}\n{told}", fontsize=6.5)
    matrix.scale(below.subplots(), limit, "points", a.settings.alpha)
    key = (
        "diagonal: effect of a category (points); below it: how the effect of one changes when the other is present\n"
        f"framed: certain, {certain(a.settings)} over all cells of a kind;  "
        f"in the titles: F-test of all pairs together\n{defined(factors)}"
    )
    fig.suptitle(key.strip(), x=0.005, ha="left")
    return fig, table


def _pairs(ax, table: pd.DataFrame, factors: list[str], limit: float) -> None:
    """One type's matrix: main effects on the diagonal, the interaction of two categories below it."""
    ends = [sorted(factors.index(name) for name in term.split(":")) for term in table["term"]]
    table = table.assign(row=[end[-1] for end in ends], column=[end[0] for end in ends], sure=table["certainty"])
    above = np.triu(np.ones((len(factors), len(factors)), bool), 1)
    names = dict(enumerate("pub" if name == "public" else name for name in factors))
    look = {"size": 5.6 if len(factors) < 5 else 4.6, "linewidths": 0.6, "blank": above}
    matrix.effect_map(ax, table.assign(words=[minus(e, 1) for e in table["effect"]]), limit, names, names, **look)
    ax.tick_params(labelsize=6.3)
    ax.tick_params(axis="x", rotation=0 if max(map(len, names.values())) < 4 else 45)
    ax.set_box_aspect(1)


@style()
def half_normal(a: Analysis):
    """Half-normal plots of all contrasts, one panel per type and one over all tasks, in units of the panel's noise.

    Noise lies on the line, and puts a point above the dotted margin, in any panel, with probability alpha.
    """
    need(len(a.study.factors) > 1, "a half-normal plot needs two categories or more")
    parts = {kind: power.half_normal(a.study, type=kind) for kind in dict.fromkeys(a.study.types)}
    parts[OVERALL] = power.half_normal(a.study)
    table = with_margin(pd.concat([part.assign(type=kind) for kind, part in parts.items()]), a.settings.alpha)
    kinds = order_types(table["type"])
    margin = (table["figure_margin"] / table["pse"]).replace(np.inf, np.nan)
    top = 1.12 * float(np.nanmax([*table["units"], *margin, 0.0])) or 1.0
    fig = plt.figure(figsize=(WIDTH, 1.65 * _shape(kinds)[0] + 0.95))
    for kind, ax in _panels(fig, kinds, sharex=True, sharey=True).items():
        own = table[table["type"] == kind]
        shade = np.where(own["term"].str.contains(":"), NEUTRAL, GAIN)
        ax.axline((0, 0), slope=1, color=INK, linewidth=0.7)
        ax.axhline(float((own["figure_margin"] / own["pse"]).iloc[0]), color=INK, linewidth=0.8, linestyle=":")
        points(ax, own["quantile"], own["units"], shade, s=13, linewidth=0, zorder=3)
        for row in own[own["beyond"]].itertuples():
            words, place = f"{row.term.replace(':', '×')} {minus(row.contrast, 1)}", (row.quantile, row.units)
            ax.annotate(words, place, (-4, 0), textcoords="offset points", ha="right", va="center", fontsize=6)
        ax.set(ylim=(0, top), title=type_name(kind))
        ax.tick_params(labelbottom=True)
    fig.supxlabel("half-normal quantile (where pure noise would put the point)")
    fig.supylabel("|contrast| / its noise (Lenth's error)")
    noise = f"(noise alone: {100 * a.settings.alpha:g} %)"
    key = [mark("effect of one category", GAIN), mark("interaction of two or more", NEUTRAL)]
    key.append(line("where pure noise lies", 0.7))
    key.append(line(f"margin for all {len(table)} points at once {noise}; beyond: named, in points", 0.8, ":"))
    told = defined(order_factors({part for term in table["term"] for part in term.split(":")}))
    key += [line(told, 0)] if told else []
    fig.legend(handles=key, loc="outside upper left", ncols=2)
    return fig, table


def with_margin(contrasts: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Add `figure_margin`, Lenth's simultaneous margin for the points of all panels together, `units`, and `beyond`."""
    panels = contrasts["type"].nunique()
    margins = {kind: power.lenth(own["contrast"], alpha / panels)[2] for kind, own in contrasts.groupby("type")}
    table = contrasts.assign(figure_margin=contrasts["type"].map(margins)).reset_index(drop=True)
    table["units"] = np.where(table["pse"] > 0, table["magnitude"] / table["pse"].replace(0, np.nan), 0.0)
    return table.assign(beyond=table["magnitude"] > table["figure_margin"])


def strongest(effects: pd.DataFrame) -> tuple[str, str]:
    """The dataset and category with the largest |t| (|effect| where there is no error), as an example."""
    rows = effects[(effects["level"] == "task") & (effects["factor"] != "public")]
    size = (rows["t"] if rows["t"].notna().any() else rows["effect"]).abs()
    need(size.notna().any(), "these runs cannot tell any category's effect from another's")
    return tuple(rows.loc[size.idxmax(), ["task", "factor"]])


@style()
def lattice(a: Analysis):
    """The subsets with their scores on the set that moved most; coloured: the edges that add what moved it."""
    task, factor = strongest(a.effects)
    table = cells(a.study, task=task)
    if "public" in table:
        table = table[table["public"] == 1].drop(columns="public").reset_index(drop=True)
    names = [name for name in table if name not in ("subset", "score", "sd_seed", "n")]
    need(len(names) <= 4, "a lattice of more than four categories is too large to read")
    on, scores = table[names].to_numpy(), table["score"].to_numpy()
    size = table[names].sum(axis=1)  # one row of subsets per size, centred
    at = np.column_stack([table.groupby(size).cumcount() - (size.map(size.value_counts()) - 1) / 2, size])
    light = LinearSegmentedColormap.from_list("light", ["#FFFFFF", "#B9C3D6"])  # black text is read on all of it
    tones = plt.cm.ScalarMappable(plt.Normalize(scores.min(), scores.max()), light)
    shade, changes, centre = palette(names)[factor], [], {"ha": "center", "va": "center"}
    fig, ax = plt.subplots(figsize=(WIDTH, 4.15))
    step = on[None] - on[:, None]  # from a subset to another one, per category
    for low, high in np.argwhere((step.sum(axis=2) == 1) & (step >= 0).all(axis=2)):
        if names[step[low, high].argmax()] != factor:
            ax.plot(*at[[low, high]].T, color="#DDDDDD", linewidth=0.6, zorder=1)
            continue
        ax.plot(*at[[low, high]].T, color=shade, linewidth=1.8, zorder=2)
        changes.append(scores[high] - scores[low])
        look = {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.6}, "fontweight": "bold", "color": shade}
        ax.text(*(0.64 * at[low] + 0.36 * at[high]), minus(changes[-1], 1), fontsize=7, zorder=5, **centre | look)
    for place, name, score in zip(at, table["subset"], scores, strict=True):
        box = {
            "boxstyle": "round,pad=0.35",
            "edgecolor": "#8A93A6",
            "linewidth": 0.6,
            "facecolor": tones.to_rgba(score),
        }
        ax.text(*place, f"{name}\n{score:.1f}", fontsize=6.3, zorder=4, linespacing=1.15, bbox=box, **centre)
    bar = fig.colorbar(tones, ax=ax, fraction=0.03, pad=0.01)
    bar.set_label("score (points)")
    bar.outline.set_visible(False)
    ax.set_axis_off()
    wide, high = at.max(axis=0)
    ax.set(xlim=(-wide - 0.6, wide + 0.6), ylim=(-0.35, high + 0.35))
    seeds, effect = table["n"].max(), a.effects.query("level == 'task' and task == @task and factor == @factor").iloc[0]
    told = f"{task}: score of each subset" + (f", mean of {seeds} seeds" if seeds > 1 else ", one run each")
    if changes:
        told += f"\ncoloured edges add {category_name(factor)}: mean of the {len(changes)} changes "
        told += f"{minus(float(np.mean(changes)), 2)} points"
    if changes and np.isfinite(effect["se"]):
        told += f" (by regression {minus(effect['effect'], 2)} ± {effect['se']:.2f})"
    ax.set_title(f"{told}\n{defined(names)}".strip())
    return fig, table


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
