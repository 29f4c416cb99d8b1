"""The forest plot: every category's effect on every set, by type, with two intervals per point (Figure 4)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoMinorLocator, MaxNLocator
from scipy import stats

from lib.figures.base import INK, NEUTRAL, WIDTH, by_type, category_name, order_factors, palette, style
from lib.figures.marks import heights, line, mark, points
from lib.figures.marks import rows as name_rows
from lib.figures.matrix import correction

DASHES = (0, (2, 1))


def forest(effects: pd.DataFrame, across: pd.DataFrame, alpha=0.05, corrected="p_bh", limit=70, replication=None):
    """Effect of each category on each task, grouped by type, two intervals per point (Figure 4 for every type).

    Thick bar: 95 % for this point alone, over runs; thin bar: 95 % for all points of the figure at once. Below each
    group its mean with both yardsticks. `replication`: a second study, drawn as a square below each point. More than
    `limit` tasks: those with the largest |t| are drawn, the table holds all. Returns (figure, table).
    """
    table = _estimates(effects, across, alpha)
    if replication is not None:
        second = replication[["level", "task", "type", "factor", "second", "second_se"]]
        table = table.merge(second, on=["level", "task", "type", "factor"], how="left")
    drawn = table.assign(sure=table[corrected] < alpha)
    tasks = table[table["level"] == "task"]
    if tasks["task"].nunique() > limit:
        strongest = tasks.assign(size=tasks["t"].abs()).groupby("task")["size"].max().nlargest(limit).index
        drawn = drawn[drawn["task"].isin(strongest) | (drawn["level"] == "type")]
    label = f"filled: certain, {correction(corrected)} p < {alpha:g} over all of a kind"
    return _draw(drawn, label), table


def _estimates(effects: pd.DataFrame, across: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The tasks with the interval for all points at once (`all_low`, `all_high`, Bonferroni), then the means of their
    types with the interval for other sets of the kind (`datasets_low`, `datasets_high`)."""
    tasks = effects[effects["level"] == "task"]
    family = max(1, int(tasks["p"].notna().sum()))
    width = stats.t.ppf(1 - alpha / (2 * family), tasks["df"].clip(lower=1)) * tasks["se"]
    tasks = tasks.assign(all_low=tasks["effect"] - width, all_high=tasks["effect"] + width, family=family)
    names = {"ci_low": "datasets_low", "ci_high": "datasets_high", "p_t": "p_datasets"}
    datasets = across[["type", "factor", *names]].rename(columns=names)
    means = effects[(effects["level"] == "type") & effects["type"].isin(tasks["type"])]
    table = pd.concat([tasks, means.merge(datasets, on=["type", "factor"], how="left")], ignore_index=True)
    return table.fillna({"task": ""})


def _draw(drawn: pd.DataFrame, label: str):
    """One panel per category; `drawn` has `sure`, whether a point is certain."""
    rows, factors, span = _rows(drawn), order_factors(drawn["factor"]), _span(drawn)
    drawn = drawn.merge(rows, on=["level", "type", "task"])
    shades, lowest, few = palette(factors), rows["y"].max(), len(factors) < 5
    with style():
        size = (WIDTH, (0.128 if "second" in drawn else 0.118) * (lowest + 3) + 1.35)
        fig, axes = plt.subplots(1, len(factors), figsize=size, sharex=True, squeeze=False)
        for ax, factor in zip(axes[0], factors, strict=True):
            own = drawn[drawn["factor"] == factor]
            _panel(ax, own, shades[factor], span)
            if own["effect"].isna().all():
                lost = "lost: these runs\ncannot tell it from\nanother category"
                ax.text(0.5, 0.5, lost, transform=ax.transAxes, ha="center", fontsize=6.5, backgroundcolor="white")
            ax.axvline(0, color=INK, linewidth=0.7)
            ax.set(yticks=[], xlim=span, ylim=(lowest + 0.7, -1.7))
            ax.xaxis.set_major_locator(MaxNLocator(nbins=6 if few else 4, steps=(1, 2, 2.5, 5, 10)))
            ax.xaxis.set_minor_locator(AutoMinorLocator(2))
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
            ax.grid(axis="x", which="both", linewidth=0.5)
            ax.set_xlabel("effect (points)", fontsize=7)
            ax.tick_params(axis="x", labelsize=6.5)
            ax.set_title(category_name(factor), color=shades[factor], fontweight="bold", fontsize=8.5 if few else 6.2)
        name_rows(axes[0, 0], rows["y"], rows["task"].replace("", "mean"), 5.8, rows["type"])
        for tick, level in zip(axes[0, 0].get_yticklabels(), rows["level"], strict=True):
            tick.set_fontstyle("italic" if level == "type" else "normal")
        fig.legend(handles=_key(drawn, label), loc="outside lower center", ncols=2, fontsize=6.4, handlelength=1.6)
    return fig


def _rows(drawn: pd.DataFrame) -> pd.DataFrame:
    """Level, type, task, height `y` of every row: by type the tasks, largest mean effect first, then the mean."""
    rows = drawn.groupby(["level", "type", "task"], as_index=False)["effect"].mean()
    rows = rows[rows["type"].isin(rows.loc[rows["level"] == "task", "type"])]
    rows = by_type(rows.sort_values("effect", ascending=False), "level")  # task before type
    return rows.assign(y=heights(rows["type"])).drop(columns="effect")


def _span(drawn: pd.DataFrame) -> tuple[float, float]:
    """Limits of the effect axis: all points, and the intervals over runs except the widest twentieth."""
    second = drawn.loc[drawn["level"] == "task", "second"].dropna() if "second" in drawn else ()
    values = [0.0, *drawn["effect"].dropna(), *second]
    low = min(*values, drawn["ci_low"].quantile(0.05) if drawn["ci_low"].notna().any() else 0.0)
    high = max(*values, drawn["ci_high"].quantile(0.95) if drawn["ci_high"].notna().any() else 0.0)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _panel(ax, own: pd.DataFrame, shade: str, span: tuple[float, float]) -> None:
    """The sets' points, pale where they are not certain, and the types' means with their intervals in black."""
    pale = to_hex([0.45 * c + 0.55 for c in to_rgb(shade)])
    for sure, rows in own[own["level"] == "task"].groupby("sure"):
        tone = shade if sure else pale
        _interval(ax, rows["y"], rows["all_low"], rows["all_high"], span, tone, linewidth=0.6)
        _interval(ax, rows["y"], rows["ci_low"], rows["ci_high"], span, tone, linewidth=2.0 if sure else 1.6)
        points(ax, rows["effect"], rows["y"], tone, sure, s=14 if sure else 8, linewidth=0.8, zorder=4)
        if "shrunk" in rows:
            points(ax, rows["shrunk"], rows["y"], INK, s=18, marker="|", linewidth=0.8, zorder=5)
    means = own[own["level"] == "type"]
    look = {"linewidth": 0.7, "linestyle": DASHES}
    _interval(ax, means["y"] + 0.24, means["datasets_low"], means["datasets_high"], span, INK, **look)
    _interval(ax, means["y"], means["ci_low"], means["ci_high"], span, INK, linewidth=1.8)
    edge = np.where(means["sure"], INK, shade)
    points(ax, means["effect"], means["y"], shade, means["sure"], edge, s=17, marker="D", linewidth=0.7, zorder=4)
    if "second" in own:
        y, far = own["y"] + np.where(own["level"] == "task", 0.36, 0.5), 2 * own["second_se"]
        ax.hlines(y, (own["second"] - far).clip(*span), (own["second"] + far).clip(*span), color=NEUTRAL, linewidth=0.5)
        points(ax, own["second"], y, NEUTRAL, s=5, marker="s", linewidth=0, zorder=3)


def _interval(ax, y, low, high, span: tuple[float, float], shade: str, **look) -> None:
    """Horizontal bars, cut at the axis' ends with an arrow head there where they go on."""
    ax.hlines(y, low.clip(*span), high.clip(*span), color=shade, **look)
    inside = 0.02 * (span[1] - span[0])
    for edge, beyond, marker in ((span[0] + inside, low < span[0], "<"), (span[1] - inside, high > span[1], ">")):
        points(ax, np.full(beyond.sum(), edge), y[beyond], shade, s=6, marker=marker, linewidth=0, zorder=5)


def _key(drawn: pd.DataFrame, label: str) -> list[Line2D]:
    """Every sign of the figure, in words."""
    signs = [
        mark(label),
        mark("hollow, pale: not certain", NEUTRAL, filled=False),
        line("95 % over runs, for a point chosen beforehand", 2),
        line("95 % for all points of the figure at once", 0.6),
        mark("mean of a type (bar: 95 % over runs)", marker="D"),
        line("the mean's 95 % for other sets of the kind", 0.7, DASHES),
        mark("the interval goes on beyond the axis", marker=">", markersize=3),
    ]
    if "shrunk" in drawn:
        signs.append(mark("what an unbiased reader should expect (shrunken)", marker="|", markersize=6))
    if "second" in drawn:
        words = "second study, fresh runs (± 2 standard errors)"
        signs.append(mark(words, NEUTRAL, "s", markersize=3, linestyle="-", linewidth=0.6))
    return signs
