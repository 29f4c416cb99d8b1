"""The heat map: influence of each category on each task type, with significance and claim marks (Figure 3)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.figures.base import (
    INK,
    NEUTRAL,
    WIDTH,
    category_name,
    diverging,
    minus,
    order_factors,
    order_types,
    style,
    type_name,
)
from lib.figures.tables import OVERALL

NORMALISATION_LABEL = {
    "z": "normalised influence (scores z-scored over the models, then mean with − mean without)",
    "std": "normalised influence (standardised regression coefficient)",
    "t": "normalised influence (t ratio: effect / its standard error over runs)",
}
CORRECTION = {"p_bh": "BH", "p_holm": "Holm"}
VERDICT_SIGN = {
    "reproduced": "✓",
    "direction only": "≈",
    "below noise": "?",
    "contradicted": "✗",
    "not testable here": "–",
}


def heat_table(effects: pd.DataFrame, across: pd.DataFrame, claims: pd.DataFrame | None = None) -> pd.DataFrame:
    """Numbers of the heat map: one row per category x type (and "All tasks").

    `effects` holds levels type and overall of `influence.effects`, `across` the rows of
    `influence.across_tasks` by type and overall, `claims` rows factor, type, published, verdict.
    """
    table = effects[effects["level"].isin(["type", "overall"])].copy()
    table["type"] = table["type"].where(table["level"] == "type", OVERALL)
    other = across.assign(type=across["type"].where(across["type"] != "", OVERALL))
    other = other[["type", "factor", "se", "p_t", "p_bh", "p_holm", "ci_low", "ci_high"]]
    table = table.merge(other, on=["type", "factor"], how="left", suffixes=("", "_datasets"))
    table = table.rename(columns={"p_t": "p_datasets"})
    if claims is not None and len(claims):
        table = table.merge(claims[["factor", "type", "published", "verdict"]], on=["factor", "type"], how="left")
    else:
        table = table.assign(published="", verdict="")
    keep = [
        "factor",
        "type",
        "normalized",
        "normalization",
        "effect",
        "se",
        "p",
        "p_bh",
        "p_holm",
        "ci_low",
        "ci_high",
        "se_datasets",
        "p_datasets",
        "p_bh_datasets",
        "p_holm_datasets",
        "n_tasks",
        "n",
        "status",
        "published",
        "verdict",
    ]
    return table[keep].fillna({"published": "", "verdict": ""}).reset_index(drop=True)


def stars(row, alpha: float = 0.05, corrected: str = "p_bh") -> str:
    """`*` when the effect would replicate on these datasets (across runs), `**` when on other datasets as well.

    `°` is the odd case in between: significant across datasets, but not across runs.
    """
    runs, datasets = getattr(row, corrected) < alpha, getattr(row, f"{corrected}_datasets") < alpha
    return "**" if runs and datasets else "*" if runs else "°" if datasets else ""


def heat_map(
    effects: pd.DataFrame,
    across: pd.DataFrame,
    claims: pd.DataFrame | None = None,
    alpha: float = 0.05,
    corrected: str = "p_bh",
):
    """Influence of each category on each task type (the paper's Figure 3). Returns (figure, table).

    Colour and first number are the normalised influence, the second is the effect in points. Cells that the
    paper makes a claim about are framed and carry the verdict's sign.
    """
    import matplotlib.pyplot as plt

    table = heat_table(effects, across, claims)
    kinds = order_types(set(table["type"]) - {OVERALL}) + ([OVERALL] if OVERALL in set(table["type"]) else [])
    factors = order_factors(table["factor"])
    table["normalized"] = table["normalized"].where(table["status"] != "no error")  # always ±2 with two runs
    grid = table.pivot(index="factor", columns="type", values="normalized").reindex(index=factors, columns=kinds)
    finite = np.abs(grid.to_numpy(float))
    limit = max(0.5, float(np.nanmax(finite)) if np.isfinite(finite).any() else 0.5)
    with style():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.56 * len(factors) + 1.35), layout="constrained")
        image = ax.imshow(grid, cmap=diverging(), vmin=-limit, vmax=limit, aspect="auto")
        for row in table.itertuples():
            _cell(ax, kinds.index(row.type), factors.index(row.factor), row, limit, stars(row, alpha, corrected))
        sizes = table.groupby("type")["n_tasks"].max()
        ax.set_xticks(range(len(kinds)), [f"{_split(kind)}\n({sizes[kind]:.0f})" for kind in kinds], fontsize=7)
        ax.set_yticks(range(len(factors)), [category_name(f) for f in factors])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if OVERALL in kinds:
            ax.axvline(len(kinds) - 1.5, color="white", linewidth=3)
        bar = fig.colorbar(image, ax=ax, orientation="horizontal", fraction=0.06, aspect=60, pad=0.02)
        bar.set_label(NORMALISATION_LABEL.get(str(table["normalization"].iloc[0]), "normalised influence"))
        bar.outline.set_visible(False)
        fig.suptitle(_key(table, alpha, corrected), fontsize=6.4, x=0.005, ha="left")
    return fig, table


def _split(kind: str) -> str:
    return (
        type_name(kind)
        .replace("Pair classif.", "Pair\nclassif.")
        .replace("Bitext mining", "Bitext\nmining")
        .replace("Summarization", "Summari-\nzation")
        .replace("Classification", "Classifi-\ncation")
    )


def _key(table: pd.DataFrame, alpha: float, corrected: str) -> str:
    text = (
        f"{CORRECTION[corrected]} < {alpha:g}:  * over runs (these datasets would move again)   "
        "** over datasets as well (others would)   ° over datasets only"
    )
    if (table["verdict"] != "").any():
        signs = "   ".join(f"{VERDICT_SIGN[v]} {v}" for v in VERDICT_SIGN if v in set(table["verdict"]))
        text += f"\nframed: the paper makes a claim about the cell:   {signs}"
    return text


def _cell(ax, x: int, y: int, row, limit: float, mark: str) -> None:
    if not np.isfinite(row.normalized):
        ax.text(
            x,
            y,
            f"{minus(row.effect, 2) + ' pt' if np.isfinite(row.effect) else ''}\n{row.status}",
            ha="center",
            va="center",
            fontsize=6,
            color=NEUTRAL,
        )
        return
    ink = "white" if abs(row.normalized) > 0.55 * limit else INK
    ax.text(
        x,
        y - 0.1,
        minus(row.normalized, 2) + mark,
        ha="center",
        va="center",
        color=ink,
        fontweight="bold" if mark else "normal",
        fontsize=8.5,
    )
    ax.text(x, y + 0.25, f"{minus(row.effect, 1)} pt", ha="center", va="center", color=ink, fontsize=6.3)
    if row.verdict:
        from matplotlib.patches import Rectangle

        ax.add_patch(Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, fill=False, edgecolor=ink, linewidth=1.3, zorder=4))
        ax.text(x + 0.41, y - 0.32, VERDICT_SIGN[row.verdict], ha="right", va="center", color=ink, fontsize=7)
        if row.published:
            ax.text(x - 0.42, y - 0.33, f"paper {row.published}", ha="left", va="center", color=ink, fontsize=5)


def alone_map(effects: pd.DataFrame, alpha: float = 0.05, corrected: str = "p_bh"):
    """What each category does by itself, per task type: the full cross-task matrix of the isolation design.

    `effects` stacks `influence.alone(level="type")` for public 1 and 0, as far as they were run: a panel each, effects
    in points against the public data alone (public 1) or the untrained base (public 0). Returns (figure, table).
    """
    import matplotlib.pyplot as plt

    panels = [level for level in (1, 0) if level in set(effects["public"])]
    kinds, factors = order_types(effects["type"]), order_factors(effects["factor"])
    limit = max(0.1, float(effects["effect"].abs().max()))
    with style():
        fig, axes = plt.subplots(
            1, len(panels), figsize=(WIDTH, 0.3 * len(factors) + 1.4), sharey=True, squeeze=False, layout="constrained"
        )
        for ax, public in zip(axes[0], panels, strict=True):
            own = effects[effects["public"] == public]
            grid = own.pivot(index="factor", columns="type", values="effect").reindex(index=factors, columns=kinds)
            image = ax.imshow(grid, cmap=diverging(), vmin=-limit, vmax=limit, aspect="auto")
            for row in own.itertuples():
                mark = "*" if getattr(row, corrected) < alpha else ""
                ink = "white" if abs(row.effect) > 0.55 * limit else INK
                where = (kinds.index(row.type), factors.index(row.factor))
                ax.text(*where, minus(row.effect, 1) + mark, ha="center", va="center", color=ink, fontsize=7)
            names = [type_name(kind) for kind in kinds]
            ax.set_xticks(range(len(kinds)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=6.5)
            ax.set_yticks(range(len(factors)), [category_name(f) for f in factors])
            ax.set_title(
                "with public data, against public data only" if public else "alone, against the untrained base"
            )
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        bar = fig.colorbar(image, ax=axes[0].tolist(), fraction=0.04, pad=0.01)
        bar.set_label(f"effect (points)   * {CORRECTION[corrected]} < {alpha:g}")
        bar.outline.set_visible(False)
    return fig, effects.reset_index(drop=True)
