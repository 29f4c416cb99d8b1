"""The forest plot: every category's effect on every task, by type, with two intervals per point (Figure 4)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.figures.base import INK, WIDTH, category_name, colour, order_factors, order_types, style, type_name
from lib.figures.heat import CORRECTION


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
):
    """Effect of each category on each task, grouped by type, two intervals per point (Figure 4 for every type).

    Thick bar: 95 % for this point alone, over runs; thin bar: 95 % for all points of the figure at once. Below
    each group its mean with both yardsticks: over runs (thick) and over datasets (open). More than `limit`
    tasks: those with the largest |t| are drawn, the table holds all. Returns (figure, table).
    """
    tasks, means = _estimates(effects if types is None else effects[effects["type"].isin(types)], across, alpha)
    table = pd.concat([tasks, means], ignore_index=True)
    if table["task"].nunique() - 1 > limit:
        strongest = tasks.assign(size=tasks["t"].abs()).groupby("task")["size"].max().nlargest(limit).index
        tasks = tasks[tasks["task"].isin(strongest)]
    note = (
        f"effect of adding the category (points); filled: {CORRECTION[corrected]} < {alpha:g}; "
        "thick: 95 % over runs, thin: all points at once;\ngroup mean: thick over runs, thin over datasets"
    )
    return _draw(tasks.assign(sure=tasks[corrected] < alpha), means, note), table


def _estimates(chosen: pd.DataFrame, across: pd.DataFrame, alpha: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tasks with both intervals, and the means of their types with the interval over datasets beside their own."""
    tasks = simultaneous(chosen[chosen["level"] == "task"], alpha)
    datasets = across[["type", "factor", "ci_low", "ci_high", "p_t"]].rename(
        columns={"ci_low": "datasets_low", "ci_high": "datasets_high", "p_t": "p_datasets"}
    )
    means = chosen[(chosen["level"] == "type") & chosen["type"].isin(tasks["type"])]
    return tasks, means.merge(datasets, on=["type", "factor"], how="left")


def _draw(tasks: pd.DataFrame, means: pd.DataFrame, note: str):
    """One panel per category; `tasks` has `sure`, whether a point is filled."""
    import matplotlib.pyplot as plt

    rows, factors, span = _rows(tasks), order_factors(tasks["factor"]), _span(tasks, means)
    lowest = max(rows.values())
    with style():
        size = (WIDTH, 0.118 * (lowest + 2) + 0.75)
        fig, axes = plt.subplots(1, len(factors), figsize=size, sharex=True, squeeze=False, layout="constrained")
        for ax, factor in zip(axes[0], factors, strict=True):
            _points(ax, tasks[tasks["factor"] == factor], rows, colour(factor))
            _means(ax, means[means["factor"] == factor], rows, colour(factor), span)
            ax.axvline(0, color=INK, linewidth=0.7)
            ax.grid(axis="x")
            ax.set(yticks=[], xlim=span, ylim=(lowest + 0.8, -0.8))
            font = {"color": colour(factor), "fontweight": "bold", "fontsize": 8.5 if len(factors) < 5 else 6.2}
            ax.set_title(category_name(factor), **font)
        _names(axes[0, 0], rows)
        fig.supxlabel(note, fontsize=7)
    return fig


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


def _points(ax, tasks: pd.DataFrame, rows: dict, shade: str) -> None:
    y = np.array([rows[kind, task] for kind, task in zip(tasks["type"], tasks["task"], strict=True)])
    ax.hlines(y, tasks["all_low"], tasks["all_high"], color=shade, linewidth=0.6)
    ax.hlines(y, tasks["ci_low"], tasks["ci_high"], color=shade, linewidth=1.8)
    fill = np.where(tasks["sure"], shade, "white")
    ax.scatter(tasks["effect"], y, s=9, facecolor=fill, edgecolor=shade, linewidth=0.8, zorder=3)


def _means(ax, means: pd.DataFrame, rows: dict, shade: str, span: tuple[float, float]) -> None:
    """The group means; an interval over datasets that leaves the figure ends in an arrow at its edge."""
    y = np.array([rows[kind, ""] for kind in means["type"]])
    low, high = means["datasets_low"].to_numpy(), means["datasets_high"].to_numpy()
    ax.hlines(y + 0.22, np.maximum(low, span[0]), np.minimum(high, span[1]), color=INK, linewidth=0.7)
    inside = 0.015 * (span[1] - span[0])
    for edge, beyond, marker in ((span[0] + inside, low < span[0], "<"), (span[1] - inside, high > span[1], ">")):
        ax.scatter(np.full(beyond.sum(), edge), y[beyond] + 0.22, s=7, marker=marker, color=INK, linewidth=0)
    ax.hlines(y, means["ci_low"], means["ci_high"], color=INK, linewidth=1.8)
    ax.plot(
        means["effect"], y, "D", color=shade, markeredgecolor=INK, markeredgewidth=0.6, markersize=4, linestyle="none"
    )


def _span(tasks: pd.DataFrame, means: pd.DataFrame) -> tuple[float, float]:
    """Limits of the effect axis: all tasks' intervals and the means' intervals over runs, with a margin."""
    ends = pd.concat([tasks[["effect", "all_low", "all_high"]], means[["effect", "ci_low", "ci_high"]]]).to_numpy(float)
    low, high = min(0.0, np.nanmin(ends)), max(0.0, np.nanmax(ends))
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def _names(ax, rows: dict) -> None:
    labels = {y: ("mean" if task == "" else task) for (_, task), y in rows.items() if task is not None}
    ax.set_yticks(list(labels), list(labels.values()), fontsize=5.8)
    for tick, text in zip(ax.get_yticklabels(), labels.values(), strict=True):
        tick.set_fontstyle("italic" if text == "mean" else "normal")
    for (kind, task), y in rows.items():
        if task is None:
            ax.annotate(
                type_name(kind),
                (0, y + 0.1),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=6.5,
                fontweight="bold",
                annotation_clip=False,
            )
    ax.tick_params(axis="y", length=0)
