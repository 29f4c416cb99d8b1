"""Noise: how large an effect must be to be seen, what a design can find, and what a second study found again.

The table of a second study has the columns `level` (task, type or overall), `task, type, factor, first, first_se,
first_p, second, second_se, second_p, marked_first, same_sign, returned`; effects in points. It is made by
`lib.influence.influence`.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from lib.common.design import minus
from lib.common.files import KitError
from lib.figures.base import BAND, GAIN, INK, LOSS, NEUTRAL, WIDTH, heights, line, mark, need, points, rows, style
from lib.figures.names import by_type, category_name, order_types, palette, type_name
from lib.influence.influence import Analysis, agreement
from lib.influence.power import detectable_ratio

KEYS = ["level", "task", "type", "factor"]
COLUMNS = (*KEYS, "first", "first_se", "second", "second_se", "marked_first", "same_sign", "returned")
NO_NOISE = "no noise is measured in these results: as many coefficients as runs"


def read(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Return the checked table of a second study. Raises KitError for a table without its columns."""
    if not isinstance(source, pd.DataFrame):  # the difference is not used; as a text it stays as it is written
        source = pd.read_csv(source, keep_default_na=False, na_values="", dtype={"difference": str})
    if missing := [name for name in COLUMNS if name not in source]:
        raise KitError(f"the table of the second study has no column {missing[0]!r}; run `make replicate` again")
    return source.fillna({"task": "", "type": ""})


def about(table: pd.DataFrame, effects: pd.DataFrame) -> bool:
    """Whether its first study is the one of these effects (half a standard error is another machine's rounding)."""
    both = table.merge(effects[[*KEYS, "effect"]].fillna({"task": "", "type": ""}), on=KEYS)
    if both.empty or len(both) < 0.5 * len(table):
        return False
    apart = (both["first"] - both["effect"]).abs().median()
    return bool(apart <= max(0.005, 0.5 * float(np.nan_to_num(both["first_se"].median()))))


@style()
def replication(table: pd.DataFrame, names: tuple[str, str] = ("the first study", "the second study"), ceilings=None):
    """One study against another, for types and for sets: a point on the line came back at its full size.

    `ceilings` (level: the largest correlation to be expected) are for studies of two models, whose effects need not be
    of one size: each axis has its own scale then, and no line of what came back.
    """
    table = read(table)
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


@style()
def floor(a: Analysis, second: pd.DataFrame | None = None):
    """How large an effect on each set must be to be seen, beside the largest effect of any category on it."""
    need(a.noise["se_effect"].notna().any(), NO_NOISE)
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


@style()
def power(a: Analysis):
    """What this design can show: effects found by seeds (over runs), and by number of sets (over sets of the kind)."""
    need(a.noise["se_effect"].notna().any(), NO_NOISE)
    sizes, alpha, strength = pd.Series(a.study.types).value_counts(), a.settings.alpha, a.settings.power
    sets = pd.DataFrame({"type": order_types(sizes.index)})
    sets["sets"] = sets["type"].map(sizes)
    for name, level in (("alone", alpha), ("corrected", alpha / max(1, len(sizes)))):
        sets[name] = [detectable_ratio(n - 1, level, strength) / np.sqrt(n) for n in sets["sets"]]
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
    y, known = np.arange(len(table)), table["alone"].notna()
    ax.hlines(y[known], table.loc[known, "alone"], table.loc[known, "corrected"], color=BAND, linewidth=3)
    points(ax, table["alone"], y, GAIN, s=20, zorder=3)
    points(ax, table["corrected"], y, GAIN, False, s=20, zorder=3)
    for at in y[~known]:
        look = {"transform": ax.get_yaxis_transform(), "ha": "center", "va": "center"}
        ax.text(0.5, at, "one set: no answer", fontsize=6, color=NEUTRAL, **look)
    rows(ax, y, [f"{type_name(k)} ({n})" for k, n in zip(table["type"], table["sets"], strict=True)], 6.5)
    ax.set(xscale="log", title="Would other sets of the kind move?")
    ax.set_xlabel("mean effect found, in spreads between sets\n(best case: runs without noise; log scale)")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")
    if known.any():
        key = [mark("one type, tested alone", GAIN), mark("among all types (Bonferroni)", GAIN, filled=False)]
        ax.legend(handles=key, loc="upper center", bbox_to_anchor=(0.4, -0.3), ncols=2, handletextpad=0.2)
