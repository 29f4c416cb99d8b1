"""Do categories add up? Interaction matrices per type and half-normal plots of all contrasts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.figures.base import GAIN, INK, NEUTRAL, WIDTH, diverging, minus, order_factors, order_types, style, type_name
from lib.figures.tables import OVERALL


def _panels(count: int, height: float, **keywords):
    """A grid of small panels, four in a row, unused ones removed."""
    import matplotlib.pyplot as plt

    rows = -(-count // 4)
    fig, axes = plt.subplots(
        rows, min(4, count), figsize=(WIDTH, height * rows + 0.45), squeeze=False, layout="constrained", **keywords
    )
    for ax in axes.flat[count:]:
        ax.remove()
    return fig, list(axes.flat[:count])


def matrix(
    interactions: pd.DataFrame, effects: pd.DataFrame, block: pd.DataFrame, alpha: float = 0.05, corrected: str = "p_bh"
):
    """Main effects (diagonal) and two-way interactions (below it) per task type and over all tasks, in points.

    Takes the levels type and overall of `influence.interactions`, `effects`, `interaction_block`. A panel's title
    has the p of the F-test of all interactions together. A framed cell is below `alpha` after
    correction. Returns (figure, table).
    """
    inter, main, block = (_typed(t) for t in (interactions, effects, block))
    table = pd.concat([main.rename(columns={"factor": "term"}), inter], ignore_index=True)[
        ["type", "term", "effect", "se", "t", "df", "p", "p_bh", "p_holm", "n"]
    ]
    kinds = order_types(set(inter["type"]) - {OVERALL}) + [OVERALL]
    factors = order_factors(main["factor"])
    limit = max(0.1, float(table["effect"].abs().max()))
    with style():
        fig, axes = _panels(len(kinds), 1.5)
        for ax, kind in zip(axes, kinds, strict=True):
            image = _matrix(ax, table[table["type"] == kind], factors, limit, corrected, alpha)
            p = block.loc[block["type"] == kind, "p"]
            told = f"all six: p = {p.iloc[0]:.2g}" if len(p) and np.isfinite(p.iloc[0]) else "no block test"
            ax.set_title(f"{type_name(kind)}\n{told.replace('six', _count(inter, kind))}", fontsize=6.8)
        bar = fig.colorbar(image, ax=axes, shrink=0.6, pad=0.01)
        bar.set_label("points; diagonal: effect,\nbelow: change of the effect\nwhen the other is present", fontsize=6.3)
        bar.outline.set_visible(False)
    return fig, table


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    table = table[table["level"].isin(["type", "overall"])].copy()
    table["type"] = table["type"].where(table["level"] == "type", OVERALL)
    return table


def _count(inter: pd.DataFrame, kind: str) -> str:
    return str(int((inter["type"] == kind).sum()))


def _matrix(ax, table: pd.DataFrame, factors: list[str], limit: float, corrected: str, alpha: float):
    from matplotlib.patches import Rectangle

    grid = np.full((len(factors), len(factors)), np.nan)
    for row in table.itertuples():
        parts = row.term.split(":")
        if not set(parts) <= set(factors):
            continue
        i, j = factors.index(parts[-1]), factors.index(parts[0])
        i, j = max(i, j), min(i, j)
        grid[i, j] = row.effect
        ink = "white" if abs(row.effect) > 0.55 * limit else INK
        if np.isfinite(row.effect):
            ax.text(
                j,
                i,
                minus(row.effect, 1),
                ha="center",
                va="center",
                fontsize=5.8 if len(factors) < 5 else 4.6,
                color=ink,
            )
        if getattr(row, corrected) < alpha:
            ax.add_patch(Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=1))
    scale = diverging().with_extremes(bad="white")
    image = ax.imshow(grid, cmap=scale, vmin=-limit, vmax=limit)
    codes = ["pub" if f == "public" else f for f in factors]
    ax.set_xticks(range(len(factors)), codes, fontsize=6.3)
    ax.set_yticks(range(len(factors)), codes, fontsize=6.3)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image


def half_normal(contrasts: pd.DataFrame):
    """Half-normal plots of all contrasts, one panel per type and one over all tasks.

    `contrasts` stacks `influence.half_normal` tables with a column `type`. Contrasts that are noise lie on a line
    through the origin; those beyond Lenth's margin (dotted) are named. Returns (figure, table).
    """
    kinds = order_types(set(contrasts["type"]) - {OVERALL}) + ([OVERALL] if OVERALL in set(contrasts["type"]) else [])
    with style():
        fig, axes = _panels(len(kinds), 1.55, sharex=True)
        for ax, kind in zip(axes, kinds, strict=True):
            _half(ax, contrasts[contrasts["type"] == kind])
            ax.set_title(type_name(kind), fontsize=7)
        fig.supxlabel("half-normal quantile (line: noise; dotted: Lenth's 95 % margin)", fontsize=7)
        fig.supylabel("|contrast| (points)", fontsize=7)
    return fig, contrasts.reset_index(drop=True)


def _half(ax, table: pd.DataFrame) -> None:
    main = ~table["term"].str.contains(":")
    for chosen, shade in ((main, GAIN), (~main, NEUTRAL)):
        ax.scatter(table.loc[chosen, "quantile"], table.loc[chosen, "magnitude"], s=9, color=shade, zorder=3)
    top = float(table["quantile"].max())
    ax.plot([0, top], [0, top * float(table["pse"].iloc[0])], color=INK, linewidth=0.6)
    ax.axhline(float(table["margin"].iloc[0]), color=INK, linewidth=0.6, linestyle=":")
    for row in table[table["beyond"]].itertuples():
        ax.annotate(
            row.term.replace(":", "×"),
            (row.quantile, row.magnitude),
            xytext=(-3, 1),
            textcoords="offset points",
            ha="right",
            fontsize=5.8,
        )
    ax.set_ylim(0, max(float(table["magnitude"].max()), float(table["margin"].iloc[0])) * 1.15 or 1)
    ax.tick_params(labelsize=6)
