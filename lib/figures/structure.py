"""How the categories act together: interactions, all contrasts, the subsets as a lattice; what this design can find."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import LogLocator, NullLocator

from lib.common.design import minus
from lib.figures import matrix
from lib.figures.base import BAND, GAIN, INK, LOSS, NEUTRAL, WIDTH, line, mark, need, points, rows, style
from lib.figures.forest import NO_NOISE
from lib.figures.texts import category_name, certain, defined, order_factors, order_types, palette, type_name, typed
from lib.influence import power
from lib.influence.influence import Analysis
from lib.influence.tables import OVERALL, cells


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
    names = dict(enumerate(factors))
    look = {"size": 5.6 if len(factors) < 5 else 4.6, "linewidths": 0.6, "blank": above}
    matrix.effect_map(ax, table.assign(words=[minus(e, 1) for e in table["effect"]]), limit, names, names, **look)
    ax.tick_params(labelsize=6.3)
    ax.tick_params(axis="x", rotation=0 if max(map(len, names.values())) < 4 else 45)
    ax.set_box_aspect(1)


@style()
def half_normal(a: Analysis):
    """Half-normal plots of all contrasts per type and over all tasks, in units of the panel's noise."""
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
    names = {part for term in table["term"] for part in term.split(":")}
    key.append(line(defined(order_factors(names)) or " ", 0))
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
    names = [name for name in table if name not in ("subset", "score", "sd_seed", "n")]
    need(len(names) <= 4, "a lattice of more than four categories is too large to read")
    on, scores = table[names].to_numpy(), table["score"].to_numpy()
    size = table[names].sum(axis=1)  # one row of subsets per size, centred
    at = np.column_stack([table.groupby(size).cumcount() - (size.map(size.value_counts()) - 1) / 2, size])
    tones = sns.light_palette("#B9C3D6", as_cmap=True)(plt.Normalize()(scores))  # black text is read on all of it
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
    for place, name, score, tone in zip(at, table["subset"], scores, tones, strict=True):
        box = {"boxstyle": "round,pad=0.35", "edgecolor": "#8A93A6", "linewidth": 0.6, "facecolor": tone}
        ax.text(*place, f"{name}\n{score:.1f}", fontsize=6.3, zorder=4, linespacing=1.15, bbox=box, **centre)
    ax.set_axis_off()
    wide, high = at.max(axis=0)
    ax.set(xlim=(-wide - 0.6, wide + 0.6), ylim=(-0.35, high + 0.35))
    seeds, effect = table["n"].max(), a.effects.query("level == 'task' and task == @task and factor == @factor").iloc[0]
    told = f"{task}: score of each subset in points (seeds: {seeds})"
    if changes:
        told += f"\ncoloured edges add {category_name(factor)}: mean of the {len(changes)} changes "
        told += minus(float(np.mean(changes)), 2)
        told += f" (by regression {minus(effect['effect'], 2)} ± {effect['se']:.2f})" if effect["se"] >= 0 else ""
    ax.set_title(f"{told}\n{defined(names)}".strip())
    return fig, table


@style()
def detectable(a: Analysis):
    """What this design can show: effects found by seeds (over runs), and by number of sets (over sets of the kind)."""
    need(a.noise["se_effect"].notna().any(), NO_NOISE)
    sizes, alpha, strength = pd.Series(a.study.types).value_counts(), a.settings.alpha, a.settings.power
    sets = pd.DataFrame({"type": order_types(sizes.index)})
    sets["sets"] = sets["type"].map(sizes)
    for name, level in (("alone", alpha), ("corrected", alpha / max(1, len(sizes)))):
        sets[name] = [power.detectable_ratio(n - 1, level, strength) / np.sqrt(n) for n in sets["sets"]]
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.1))
    names = {"detectable_median": "tested alone", "detectable_corrected": "among all {:.0f} tests"}
    for (level, own), shade in zip(a.seeds_buy.groupby("level", sort=False), (GAIN, LOSS), strict=False):
        for column, words in names.items():
            look, face = ("o-", shade) if column == "detectable_median" else ("o--", "white")
            label = f"one {'set' if level == 'task' else level}, {words.format(own['tests'].iloc[0])}"
            left.plot(own["seeds"], own[column], look, color=shade, markerfacecolor=face, markersize=4, label=label)
    seeds = len(a.study.runs) / len(a.study.runs.drop_duplicates(list(a.study.factors)))
    left.axvline(seeds, color=INK, linewidth=0.8, linestyle=":", label="this study")
    left.set(xlabel="training seeds per subset", ylim=(0, None), xticks=sorted(set(a.seeds_buy["seeds"])))
    left.set(title="Would these sets move again?", ylabel=f"effect found with {100 * strength:g} % power (points)")
    left.legend()
    left.grid(axis="y")
    _sets(right, sets)
    return fig, pd.concat([a.seeds_buy.assign(table="seeds"), sets.assign(table="sets")], ignore_index=True)


def _sets(ax, table: pd.DataFrame) -> None:
    """The effect that is found against the number of sets of a type, one row per type."""
    y = np.arange(len(table))
    ax.hlines(y, table["alone"], table["corrected"], color=BAND, linewidth=3)
    points(ax, table["alone"], y, GAIN, s=20, zorder=3)
    points(ax, table["corrected"], y, GAIN, False, s=20, zorder=3)
    rows(ax, y, [f"{type_name(k)} ({n})" for k, n in zip(table["type"], table["sets"], strict=True)], 6.5)
    known = table["alone"].notna().any()  # where every type is one set, there is nothing to take limits from
    ax.set(xscale="log", xlim=None if known else (0.1, 10), title="Would other sets of the kind move?")
    ax.set_xlabel("mean effect found, in spreads between sets (log\nscale; runs without noise); one set: no answer")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")
    key = [mark("one type, tested alone", GAIN), mark("among all types (Bonferroni)", GAIN, filled=False)]
    ax.legend(handles=key, loc="upper center", bbox_to_anchor=(0.4, -0.3), ncols=2, handletextpad=0.2)
