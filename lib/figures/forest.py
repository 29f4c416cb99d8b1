"""The forest plot: every category's effect on every set, by type, with two intervals per point (Figure 4)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.figures.base import INK, NEUTRAL, WIDTH, category_name, order_factors, order_types, palette, style, type_name
from lib.figures.grid import correction


def simultaneous(effects: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Add `all_low`, `all_high`: intervals that hold for all rows of the figure at once (Bonferroni)."""
    from scipy import stats

    family = max(1, int(effects["p"].notna().sum()))
    width = stats.t.ppf(1 - alpha / (2 * family), effects["df"].clip(lower=1)) * effects["se"]
    return effects.assign(all_low=effects["effect"] - width, all_high=effects["effect"] + width, family=family)


def forest(
    effects: pd.DataFrame,
    across: pd.DataFrame,
    types: list[str] | None = None,
    alpha: float = 0.05,
    corrected: str = "p_bh",
    limit: int = 70,
    replication: pd.DataFrame | None = None,
):
    """Effect of each category on each task, grouped by type, two intervals per point (Figure 4 for every type).

    Thick bar: 95 % for this point alone, over runs; thin bar: 95 % for all points of the figure at once. Below each
    group its mean with both yardsticks. `replication`: a second study, drawn as a square below each point. More than
    `limit` tasks: those with the largest |t| are drawn, the table holds all. Returns (figure, table).
    """
    tasks, means = _estimates(effects if types is None else effects[effects["type"].isin(types)], across, alpha)
    table = pd.concat([tasks, means], ignore_index=True)
    if table["task"].nunique() - 1 > limit:
        strongest = tasks.assign(size=tasks["t"].abs()).groupby("task")["size"].max().nlargest(limit).index
        tasks = tasks[tasks["task"].isin(strongest)]
    if replication is not None:
        second = replication[["level", "task", "type", "factor", "second", "second_se"]]
        table, tasks, means = (
            part.assign(task=part["task"].fillna("")).merge(second, on=["level", "task", "type", "factor"], how="left")
            for part in (table, tasks, means)
        )
    label = f"filled: certain, {correction(corrected)} p < {alpha:g} over all of a kind"
    tasks, means = (part.assign(sure=part[corrected] < alpha) for part in (tasks, means))
    return _draw(tasks, means, label), table


def _estimates(chosen: pd.DataFrame, across: pd.DataFrame, alpha: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tasks with both intervals, and the means of their types with the interval over datasets beside their own."""
    tasks = simultaneous(chosen[chosen["level"] == "task"], alpha)
    datasets = across[["type", "factor", "ci_low", "ci_high", "p_t"]].rename(
        columns={"ci_low": "datasets_low", "ci_high": "datasets_high", "p_t": "p_datasets"}
    )
    means = chosen[(chosen["level"] == "type") & chosen["type"].isin(tasks["type"])]
    return tasks, means.merge(datasets, on=["type", "factor"], how="left")


def _draw(tasks: pd.DataFrame, means: pd.DataFrame, label: str):
    """One panel per category; `tasks` has `sure`, whether a point is certain."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import AutoMinorLocator, MaxNLocator

    rows, factors, span = _rows(tasks), order_factors(tasks["factor"]), _span(tasks, means)
    shades, lowest = palette(factors), max(rows.values())
    with style():
        tall = 0.128 if "second" in tasks else 0.118
        size = (WIDTH, tall * (lowest + 2) + 1.35)
        fig, axes = plt.subplots(1, len(factors), figsize=size, sharex=True, squeeze=False, layout="constrained")
        for ax, factor in zip(axes[0], factors, strict=True):
            _points(ax, tasks[tasks["factor"] == factor], rows, shades[factor], span)
            if tasks.loc[tasks["factor"] == factor, "effect"].isna().all():
                lost = "lost: these runs\ncannot tell it from\nanother category"
                ax.text(0.5, 0.5, lost, transform=ax.transAxes, ha="center", fontsize=6.5, backgroundcolor="white")
            _means(ax, means[means["factor"] == factor], rows, shades[factor], span)
            ax.axvline(0, color=INK, linewidth=0.7)
            ax.set(yticks=[], xlim=span, ylim=(lowest + 0.8, -0.8))
            ax.xaxis.set_major_locator(MaxNLocator(nbins=6 if len(factors) < 5 else 4, steps=(1, 2, 2.5, 5, 10)))
            ax.xaxis.set_minor_locator(AutoMinorLocator(2))
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
            ax.grid(axis="x", which="both", linewidth=0.5)
            ax.set_xlabel("effect (points)", fontsize=7)
            ax.tick_params(axis="x", labelsize=6.5)
            font = {"color": shades[factor], "fontweight": "bold", "fontsize": 8.5 if len(factors) < 5 else 6.2}
            ax.set_title(category_name(factor), **font)
        _names(axes[0, 0], rows)
        fig.legend(handles=_handles(tasks, label), loc="outside lower center", ncols=2, fontsize=6.4, handlelength=1.6)
    return fig


def _handles(tasks: pd.DataFrame, label: str) -> list:
    """Every sign of the figure, in words."""
    from matplotlib.lines import Line2D

    dot = {"marker": "o", "linestyle": "none", "color": INK, "markersize": 4}
    handles = [
        Line2D([], [], label=label, **dot),
        Line2D([], [], label="hollow, pale: not certain", **dot | {"color": NEUTRAL, "markerfacecolor": "white"}),
        Line2D([], [], color=INK, linewidth=2, label="95 % over runs, for a point chosen beforehand"),
        Line2D([], [], color=INK, linewidth=0.6, label="95 % for all points of the figure at once"),
        Line2D([], [], label="mean of a type (bar: 95 % over runs)", **dot | {"marker": "D"}),
        Line2D(
            [], [], color=INK, linewidth=0.7, linestyle=(0, (2, 1)), label="the mean's 95 % for other sets of the kind"
        ),
        Line2D([], [], label="the interval goes on beyond the axis", **dot | {"marker": ">", "markersize": 3}),
    ]
    if "shrunk" in tasks:
        words = "what an unbiased reader should expect (shrunken)"
        handles.append(Line2D([], [], label=words, **dot | {"marker": "|", "markersize": 6}))
    if "second" in tasks:
        words = "second study, fresh runs (± 2 standard errors)"
        handles.append(Line2D([0, 1], [0, 0], color=NEUTRAL, marker="s", markersize=3, linewidth=0.6, label=words))
    return handles


def _rows(tasks: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Height of each (type, task); task "" is the group's mean, task None its heading."""
    rows, y = {}, 0.0
    for kind in order_types(tasks["type"]):
        rows[kind, None] = y
        group = tasks[tasks["type"] == kind]
        for task in group.groupby("task")["effect"].mean().sort_values(ascending=False).index:
            y += 1
            rows[kind, task] = y
        rows[kind, ""] = y + 1
        y += 2.4
    return rows


def _interval(ax, y, low, high, span: tuple[float, float], shade: str, **line) -> None:
    """Horizontal bars, cut at the axis' ends with an arrow head there where they go on."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    ax.hlines(y, np.clip(low, *span), np.clip(high, *span), color=shade, **line)
    inside = 0.02 * (span[1] - span[0])
    for edge, beyond, marker in ((span[0] + inside, low < span[0], "<"), (span[1] - inside, high > span[1], ">")):
        ax.scatter(
            np.full(beyond.sum(), edge), np.asarray(y)[beyond], s=6, marker=marker, color=shade, linewidth=0, zorder=5
        )


def _points(ax, tasks: pd.DataFrame, rows: dict, shade: str, span: tuple[float, float]) -> None:
    for sure in (False, True):
        own = tasks[tasks["sure"] == sure]
        y = np.array([rows[kind, task] for kind, task in zip(own["type"], own["task"], strict=True)])
        tone = shade if sure else _pale(shade)
        _interval(ax, y, own["all_low"], own["all_high"], span, tone, linewidth=0.6)
        _interval(ax, y, own["ci_low"], own["ci_high"], span, tone, linewidth=2.0 if sure else 1.6)
        ax.scatter(own["effect"], y, s=14 if sure else 8, facecolor=shade if sure else "white", edgecolor=tone,
                   linewidth=0.8, zorder=4)  # fmt: skip
        if "shrunk" in own:
            ax.scatter(own["shrunk"], y, s=18, marker="|", color=INK, linewidth=0.8, zorder=5)
        if "second" in own:
            _again(ax, own, y + 0.36, span)


def _again(ax, own: pd.DataFrame, y: np.ndarray, span: tuple[float, float]) -> None:
    """The second study's estimates below the first's."""
    far = 2 * own["second_se"]
    ax.hlines(y, np.clip(own["second"] - far, *span), np.clip(own["second"] + far, *span), color=NEUTRAL, linewidth=0.5)
    ax.scatter(own["second"], y, s=5, marker="s", color=NEUTRAL, linewidth=0, zorder=3)


def _means(ax, means: pd.DataFrame, rows: dict, shade: str, span: tuple[float, float]) -> None:
    """The group means with their intervals over runs (thick) and for other sets of the kind (dashed)."""
    y = np.array([rows[kind, ""] for kind in means["type"]])
    low, high = means["datasets_low"].to_numpy(), means["datasets_high"].to_numpy()
    _interval(ax, y + 0.24, low, high, span, INK, linewidth=0.7, linestyle=(0, (2, 1)))
    _interval(ax, y, means["ci_low"], means["ci_high"], span, INK, linewidth=1.8)
    face = np.where(means["sure"], shade, "white")
    ax.scatter(
        means["effect"],
        y,
        s=17,
        marker="D",
        c=face,
        edgecolor=np.where(means["sure"], INK, shade),
        linewidth=0.7,
        zorder=4,
    )
    if "second" in means:
        _again(ax, means, y + 0.5, span)


def _pale(shade: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(0.45 * c + 0.55 for c in to_rgb(shade))


def _span(tasks: pd.DataFrame, means: pd.DataFrame) -> tuple[float, float]:
    """Limits of the effect axis: all points, and the intervals over runs except the widest twentieth."""
    ends = pd.concat([tasks[["effect", "ci_low", "ci_high"]], means[["effect", "ci_low", "ci_high"]]])
    values = [0.0, *ends["effect"].dropna(), *(tasks["second"].dropna() if "second" in tasks else ())]
    low = min(*values, ends["ci_low"].quantile(0.05) if ends["ci_low"].notna().any() else 0.0)
    high = max(*values, ends["ci_high"].quantile(0.95) if ends["ci_high"].notna().any() else 0.0)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _names(ax, rows: dict) -> None:
    labels = {y: ("mean" if task == "" else task) for (_, task), y in rows.items() if task is not None}
    ax.set_yticks(list(labels), list(labels.values()), fontsize=5.8)
    for tick, text in zip(ax.get_yticklabels(), labels.values(), strict=True):
        tick.set_fontstyle("italic" if text == "mean" else "normal")
    for (kind, task), y in rows.items():
        if task is None:
            heading(ax, type_name(kind), y + 0.1)
    ax.tick_params(axis="y", length=0)


def heading(ax, words: str, y: float) -> None:
    """A type's name, bold, among the labels of the y axis."""
    where = {"xycoords": ("axes fraction", "data"), "xytext": (-4, 0), "textcoords": "offset points"}
    ax.annotate(words, (0, y), ha="right", va="center", fontsize=6.5, fontweight="bold", annotation_clip=False, **where)
