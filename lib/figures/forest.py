"""Effects and their errors: on every set (Figure 4), of the crossed design, of generators; how large one must be."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb
from scipy import stats

from lib.common.design import minus
from lib.common.files import KitError
from lib.figures.base import BAND, GAIN, INK, LOSS, NEUTRAL, WIDTH, estimates, heights, line, mark, points, rows, style
from lib.figures.texts import OWN_COLOURS, by_type, category_name, certain, defined, order_types, palette, type_name
from lib.influence.designs import NONE, crossed
from lib.influence.influence import Analysis
from lib.influence.regression import margin

DASHES = (0, (2, 1))
NO_NOISE = "no noise is measured in these results: as many coefficients as runs"


@style()
def forest(a: Analysis, second: pd.DataFrame | None = None):
    """Effect of each category on each task, grouped by type, with its intervals (Figure 4 for every type)."""
    table = _estimates(a, second)
    names = table.groupby(["level", "type", "task"], as_index=False)["effect"].mean()
    names = by_type(names.sort_values("effect", ascending=False), "level")  # by type its tasks, largest first, its mean
    names = names.assign(y=heights(names["type"])).drop(columns="effect")
    drawn = table.assign(sure=table[a.corrected] < a.settings.alpha).merge(names, on=["level", "type", "task"])
    shades, lowest = palette(drawn["factor"]), names["y"].max()
    # all points, and the intervals over runs except the widest twentieth
    values = [drawn["effect"], *([] if second is None else [drawn.loc[drawn["level"] == "task", "second"]])]
    low = np.nanmin([0.0, drawn["ci_low"].quantile(0.05), *(value.min() for value in values)])
    high = np.nanmax([0.0, drawn["ci_high"].quantile(0.95), *(value.max() for value in values)])
    room, few = 0.06 * (high - low) or 1.0, len(shades) < 5
    size = (WIDTH, (0.118 if second is None else 0.128) * (lowest + 3) + 1.35)
    fig, axes = plt.subplots(1, len(shades), figsize=size, sharex=True, squeeze=False)
    for ax, (factor, shade) in zip(axes[0], shades.items(), strict=True):
        own = drawn[drawn["factor"] == factor]
        _panel(ax, own, shade)
        ax.set(yticks=[], xlim=(low - room, high + room), ylim=(lowest + 0.7, -1.7), xlabel="effect (points)")
        ax.locator_params(axis="x", nbins=6 if few else 4)
        ax.grid(axis="x", linewidth=0.5)
        ax.set_title(category_name(factor), color=shade, fontweight="bold", fontsize=8.5 if few else 6.2)
    rows(axes[0, 0], names["y"], names["task"].replace("", "mean"), 5.8, names["type"])
    for tick, level in zip(axes[0, 0].get_yticklabels(), names["level"], strict=True):
        tick.set_fontstyle("italic" if level == "type" else "normal")
    key = [
        mark(f"filled: certain, {certain(a.settings)} over all of a kind"),
        mark("hollow, pale: not certain", NEUTRAL, filled=False),
        line("95 % over runs, for a point chosen beforehand", 2),
        line("95 % for all points of the figure at once", 0.6),
        mark("mean of a type (bar: 95 % over runs)", marker="D"),
        line("the mean's 95 % for other sets of the kind", 0.7, DASHES),
        mark("what an unbiased reader should expect (shrunken)", marker="|", markersize=6),
    ]
    if second is not None:
        key.append(mark("second study, fresh runs (± 2 standard errors)", NEUTRAL, "s", markersize=3))
    fig.legend(handles=key, loc="outside lower center", ncols=2, handlelength=1.6)
    return fig, table


def _estimates(a: Analysis, second: pd.DataFrame | None) -> pd.DataFrame:
    """Tasks with intervals for all points at once (`all_`, Bonferroni), types with those for other sets."""
    tasks, means = (a.effects[a.effects["level"] == level] for level in ("task", "type"))
    family = max(1, int(tasks["p"].notna().sum()))
    width = stats.t.ppf(1 - a.settings.alpha / (2 * family), tasks["df"].clip(lower=1)) * tasks["se"]
    tasks = tasks.assign(all_low=tasks["effect"] - width, all_high=tasks["effect"] + width, family=family)
    names = {"ci_low": "datasets_low", "ci_high": "datasets_high", "p_t": "p_datasets"}
    datasets = a.across[["type", "factor", *names]].rename(columns=names)
    table = pd.concat([tasks, means.merge(datasets, on=["type", "factor"], how="left")], ignore_index=True)
    table, keys = table.fillna({"task": ""}), ["level", "task", "type", "factor"]
    return table if second is None else table.merge(second[[*keys, "second", "second_se"]], on=keys, how="left")


def _panel(ax, own: pd.DataFrame, shade: str) -> None:
    """The sets' points, pale where they are not certain, and the types' means with their intervals in black."""
    pale = to_hex([0.45 * c + 0.55 for c in to_rgb(shade)])
    for sure, part in own[own["level"] == "task"].groupby("sure"):
        tone, (width, s) = shade if sure else pale, (2.0, 14) if sure else (1.6, 8)
        ax.hlines(part["y"], part["all_low"], part["all_high"], color=tone, linewidth=0.6)
        estimates(ax, part["effect"], part["ci_low"], part["ci_high"], part["y"], tone, sure, width, s, zorder=4)
        points(ax, part["shrunk"], part["y"], INK, s=18, marker="|", linewidth=0.8, zorder=5)
    means = own[own["level"] == "type"]
    low, high = means["datasets_low"], means["datasets_high"]
    ax.hlines(means["y"] + 0.24, low, high, color=INK, linewidth=0.7, linestyle=DASHES)
    ax.hlines(means["y"], means["ci_low"], means["ci_high"], color=INK, linewidth=1.8)
    edge = np.where(means["sure"], INK, shade)
    points(ax, means["effect"], means["y"], shade, means["sure"], edge, s=17, marker="D", linewidth=0.7, zorder=4)
    if "second" in own:
        y, far = own["y"] + np.where(own["level"] == "task", 0.36, 0.5), 2 * own["second_se"]
        ax.hlines(y, own["second"] - far, own["second"] + far, color=NEUTRAL, linewidth=0.5)
        points(ax, own["second"], y, NEUTRAL, s=5, marker="s", linewidth=0, zorder=3)


@style()
def terms(a: Analysis):
    """Main effects and two-way interactions of the crossed design with their intervals, a panel per task type."""
    table = crossed(a.study, a.settings.alpha)
    kinds, names = order_types(table["type"]), list(dict.fromkeys(table["term"]))
    y = {name: place + 0.6 * (":" in name) for place, name in enumerate(names)}
    across = 3 if len(kinds) > 4 else len(kinds)
    down = -(-len(kinds) // across)
    fig, axes = plt.subplots(down, across, figsize=(WIDTH, down * (0.125 * len(names) + 0.5) + 0.75), squeeze=False)
    for spare in axes.ravel()[len(kinds) :]:
        spare.set_visible(False)
    for place, (ax, kind) in enumerate(zip(axes.ravel(), kinds, strict=False)):
        own = table[table["type"] == kind]
        sure = (own[a.corrected] < a.settings.alpha).to_numpy()
        shade = np.where(~sure, NEUTRAL, np.where(own["effect"] > 0, GAIN, LOSS))
        estimates(ax, own["effect"], own["ci_low"], own["ci_high"], own["term"].map(y), shade, sure, 1.3, 12)
        short = [name.replace("public", "pub").replace(":", " × ") if place % across == 0 else "" for name in names]
        rows(ax, list(y.values()), short, 5.6)
        ax.set_title(type_name(kind))
    key = [mark(f"certain: {certain(a.settings)} over all of a kind", GAIN)]
    key.append(mark("not told from zero", NEUTRAL, filled=False))
    key.append(line("95 % over runs, for a term chosen beforehand", 1.3, colour=NEUTRAL))
    told = defined(name for name in names if ":" not in name).replace("public public", "pub public")
    fig.supxlabel(f"points;  {told}", fontsize=6.4)
    fig.legend(handles=key, loc="outside upper left", ncols=2, handletextpad=0.3)
    return fig, table


@style()
def generators(table: pd.DataFrame, alpha: float):
    """Left: each generator against none; right: one against another, and the margin (`influence.designs.contrasts`)."""
    drawn = table[table["level"] != "task"]
    both = drawn["generator"] + " − " + drawn["against"]
    drawn = drawn.assign(name=drawn["generator"].where(drawn["against"] == NONE, both))
    kinds, sides = order_types(drawn["type"]), [part for _, part in drawn.groupby(drawn["against"] != NONE)]
    high = 0.12 + 0.12 * max(part["name"].nunique() for part in sides)
    fig, axes = plt.subplots(1, len(sides), figsize=(WIDTH, high * len(kinds) + 1.5), sharey=True, squeeze=False)
    for ax, part in zip(axes[0], sides, strict=True):
        shades = dict(zip(dict.fromkeys(part["name"]), OWN_COLOURS, strict=False))
        offset = {name: 0.22 * (i - (len(shades) - 1) / 2) for i, name in enumerate(shades)}
        y, tone = part["type"].map(kinds.index) + part["name"].map(offset), part["name"].map(shades).to_numpy()
        sure, paired = (part["p_holm"] < alpha).to_numpy(), part["against"].iloc[0] != NONE
        estimates(ax, part["effect"], part["ci_low"], part["ci_high"], y, tone, sure, 0.9, 20)
        if paired:
            inner = margin(part["se"], part["df"], 2 * alpha)
            ax.hlines(y, part["effect"] - inner, part["effect"] + inner, color=tone, linewidth=2.4)
            ax.axvspan(-part["margin"].iloc[0], part["margin"].iloc[0], color="#E6EEF5", zorder=0)
            for at, says in zip(y, part["says"].str.replace(", by less than the margin", ",\n< margin"), strict=True):
                ax.annotate(says, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=5.8)
        rows(ax, range(len(kinds)), [type_name(kind) for kind in kinds])
        ax.axhline(len(kinds) - 1.5, color="#555555", linewidth=0.7)
        ax.set_xlabel("difference (points)" if paired else "effect against none (points)")
        signs = [mark(name, shade) for name, shade in shades.items()]
        ax.legend(handles=signs, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)
    key = f"filled: certain, Holm p < {alpha:g} over the types;  thin: {1 - alpha:.0%} over runs"
    if len(sides) > 1:
        key += f";\nthick: {1 - 2 * alpha:.0%};  band: the margin, {sides[1]['margin'].iloc[0]:g};  "
        key += "alike: surely inside it, by two one-sided tests (Holm over the types)"
    fig.suptitle(key, x=0.005, ha="left")
    return fig, table.reset_index(drop=True)


@style()
def floor(a: Analysis, second: pd.DataFrame | None = None):
    """How large an effect on each set must be to be seen, beside the largest effect of any category on it."""
    if a.noise["se_effect"].isna().all():
        raise KitError(NO_NOISE)
    effects = a.effects[a.effects["level"] == "task"]
    largest = effects.loc[effects["effect"].abs().sort_values().index].groupby("task").tail(1)
    table = a.noise.merge(largest[["task", "factor", "effect", "p_bh"]], on="task", how="left")
    if second is not None:
        own = second.loc[second["level"] == "task", ["task", "factor", "second", "second_se"]]
        table = table.merge(own, on=["task", "factor"], how="left")
    table = by_type(table, "task")
    y, size = heights(table["type"]), table["effect"].abs()
    fig, ax = plt.subplots(figsize=(WIDTH, 0.13 * (y.max() + 2) + 1.2))
    ax.barh(y, table["detectable"], height=0.78, color=BAND, zorder=1)
    points(ax, table["se_effect"], y, INK, s=45, marker="|", linewidth=1.1, zorder=2)
    seen, right = size > table["detectable"], [size.max(), table["detectable"].quantile(0.95)]
    missed = f"too small for this design: found less than {100 * a.settings.power:g} % of the time"
    key = [line(missed, 6, colour=BAND), mark("standard error of an effect", marker="|", markersize=7)]
    if second is not None:  # along the first effect's direction: a negative size is a change of sign
        again = (table["second"] * np.sign(table["effect"])).clip(lower=0)
        right.append(again.max())
        ax.hlines(y, again, size, color=LOSS, linewidth=0.8, zorder=3)
        points(ax, again, y, LOSS, s=13, marker="s", linewidth=0, zorder=4, clip_on=False)
        key.append(mark("the same effect in a second study (at 0: other sign)", LOSS, "s"))
    points(ax, size, y, np.where(seen, GAIN, NEUTRAL), seen, s=20, marker="D", linewidth=0.9, zorder=5)
    rows(ax, y, table["task"], 6 if len(table) < 30 else 5.6, table["type"])
    ax.set(xlabel="size of an effect (points)", xlim=(0, 1.06 * np.nanmax(right)))
    for row in table.assign(y=y).dropna(subset="effect").itertuples():
        words = f"{category_name(row.factor)} {minus(row.effect, 1)}"
        ax.annotate(words, (1.01, row.y), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=5.6)
    key.append(mark("largest effect on the set (named at the right), above the band", GAIN, "D"))
    key.append(mark("largest effect on the set, inside the band", NEUTRAL, "D", filled=False))
    fig.legend(handles=key, loc="outside upper center", ncols=2)
    return fig, table
