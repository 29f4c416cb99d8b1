"""The heat map: influence of each category on each task type, with certainty and the second study (Figure 3)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.numbers import minus
from lib.figures import grid
from lib.figures.base import WIDTH, category_name, order_factors, order_types, style, type_name
from lib.figures.replication import merged
from lib.influence.tables import OVERALL

NORMALISATION_LABEL = {
    "z": "normalised influence, z (scores z-scored over the models; mean with − mean without)",
    "std": "normalised influence, β (standardised regression coefficient)",
    "t": "normalised influence, t (effect / its standard error over runs)",
}
NORMALISATION_SIGN = {"z": "z", "std": "β", "t": "t"}
VERDICT_SIGN = {
    "reproduced": "✓",
    "in one study": "(✓)",
    "below noise": "?",
    "opposite in one study": "(✗)",
    "contradicted": "✗",
    "not testable here": "–",
}
_EFFECT = ("factor", "type", "normalized", "normalization", "effect", "se", "p", "p_bh", "p_holm", "ci_low", "ci_high")
_SETS = ("se", "p", "p_bh", "p_holm")
_REST = ("n_tasks", "n", "status", "reliability", "shrunk", "published", "verdict")


def heat_table(effects, across, claims=None, replication=None) -> pd.DataFrame:
    """Numbers of the heat map: one row per category x type (and "All tasks").

    `effects` holds levels type and overall of `influence.effects`, `across` the rows of `influence.across_tasks` by type
    and overall, `claims` rows factor, type, published, verdict, `replication` the table of a second study.
    """
    table = effects[effects["level"].isin(["type", "overall"])].copy()
    table["type"] = table["type"].where(table["level"] == "type", OVERALL)
    other = across.assign(type=across["type"].where(across["type"] != "", OVERALL)).rename(columns={"p_t": "p"})
    other = other[["type", "factor", *_SETS]].rename(columns={name: f"{name}_datasets" for name in _SETS})
    table = table.merge(other, on=["type", "factor"], how="left")
    if claims is not None and len(claims):
        table = table.merge(claims[["factor", "type", "published", "verdict"]], on=["factor", "type"], how="left")
    else:
        table = table.assign(published="", verdict="")
    keep = [*_EFFECT, *(f"{name}_datasets" for name in _SETS), *(name for name in _REST if name in table)]
    table = table[keep].fillna({"published": "", "verdict": ""}).reset_index(drop=True)
    return table if replication is None else merged(table, replication, OVERALL)


def stars(row, alpha: float = 0.05, corrected: str = "p_bh") -> str:
    """`*`: these sets would move again in other runs; `**`: and so would other sets of the kind."""
    if not getattr(row, corrected) < alpha:
        return ""
    return "**" if getattr(row, f"{corrected}_datasets") < alpha else "*"


def heat_map(
    effects: pd.DataFrame,
    across: pd.DataFrame,
    claims: pd.DataFrame | None = None,
    alpha: float = 0.05,
    corrected: str = "p_bh",
    replication: pd.DataFrame | None = None,
    reliability: float | None = None,
):
    """Influence of each category on each task type (the paper's Figure 3). Returns (figure, table).

    Colour is the effect in points, paled where it is not certain; marked cells are framed, with a dashed frame where a
    second study (`replication`) did not find them again. Small numbers: error, second study, normalised influence.
    """
    import matplotlib.pyplot as plt

    table = heat_table(effects, across, claims, replication)
    kinds = order_types(set(table["type"]) - {OVERALL}) + ([OVERALL] if OVERALL in set(table["type"]) else [])
    factors = order_factors(table["factor"])
    table["normalized"] = table["normalized"].where(table["status"] != "no error")  # always ±2 with two runs
    sure = grid.certainty(table, corrected, alpha)
    limit = grid.reach(table["effect"], sure)
    table["mark"] = [stars(row, alpha, corrected) for row in table.itertuples()]
    key = _key(table, alpha, corrected, reliability)
    with style():
        tall = 0.74 if replication is None else 0.86
        size = (WIDTH, max(tall * len(factors), 1.5) + 1.15 + 0.12 * (key.count("\n") + 1))
        fig, (ax, bar) = plt.subplots(
            2, 1, figsize=size, height_ratios=(tall * len(factors), 0.36), layout="constrained"
        )
        values, strength = (
            t.pivot(index="factor", columns="type", values="v").reindex(index=factors, columns=kinds)
            for t in (table.assign(v=table["effect"]), table.assign(v=np.take(grid.STRENGTH, sure)))
        )
        inks = grid.heat(ax, values, limit, strength)
        for row, level in zip(table.itertuples(), sure, strict=True):
            x, y = kinds.index(row.type), factors.index(row.factor)
            _cell(ax, x, y, row, inks[y * len(kinds) + x] if level else grid.FAINT)
        sizes = table.groupby("type")["n_tasks"].max()
        ax.set_xticklabels([f"{split(kind)}\n({sizes[kind]:.0f})" for kind in kinds], fontsize=6.6, rotation=0)
        ax.set_yticklabels([category_name(f).replace("-", "-\n", 1) for f in factors], rotation=0)
        ax.set_xlabel("task type (number of evaluation sets)", fontsize=7)
        if OVERALL in kinds and len(kinds) > 1:
            ax.axvline(len(kinds) - 1, color="white", linewidth=4)
        grid.scale(bar, limit, "colour: effect of adding the category (points)", names(alpha))
        fig.suptitle(key, fontsize=6.2, x=0.005, ha="left")
    return fig, table


def names(alpha: float) -> tuple[str, str, str]:
    """What the three strengths of colour mean."""
    return (f"not told from 0 (p ≥ {alpha:g})", f"p < {alpha:g} if it were the only cell", "certain: marked")


def split(kind: str) -> str:
    """A type's name on two lines where it is long."""
    breaks = {
        "Pair classif.": "Pair\nclassif.",
        "Summarization": "Summari-\nzation",
        "Classification": "Classifi-\ncation",
        "Bitext mining": "Bitext\nmining",
        OVERALL: "All\nsets",
    }
    return breaks.get(type_name(kind), type_name(kind))


def _key(table: pd.DataFrame, alpha: float, corrected: str, reliability: float | None) -> str:
    """The lines above the map that explain every sign on it."""
    lines = [
        f"framed: certain after {grid.correction(corrected)}'s correction for all cells (p < {alpha:g})",
        "*  these sets would move again in other runs     **  and so would other sets of the kind",
    ]
    if "second" in table:
        lines.append("full frame: found again by a second study with fresh runs (“again”)     dashed: not found again")
    sign = NORMALISATION_SIGN.get(_normalisation(table))
    lines.append(
        "in a cell: effect in points ± its standard error over runs"
        + (f"\nsmallest: {NORMALISATION_LABEL[_normalisation(table)]}" if sign else "")
    )
    if (table["status"] == "lost").any():
        lines.append("lost: these runs cannot tell this effect from another one")
    if (table["verdict"] != "").any():
        signs = "  ".join(f"{VERDICT_SIGN[v]} {v}" for v in VERDICT_SIGN if v in set(table["verdict"]))
        lines.append(f"top right corner: the paper makes a claim about this cell, here {signs}")
    if reliability is not None and np.isfinite(reliability):
        lines.append(
            f"reliability of these effects: {reliability:.2f} (1: another study would find the same, 0: all luck); "
            f"expect about {max(reliability, 0):.0%} of a number"
        )
    return "\n".join(lines)


def _normalisation(table: pd.DataFrame) -> str:
    return str(table["normalization"].iloc[0]) if table["normalized"].notna().any() else ""


def _cell(ax, x: int, y: int, row, ink: str) -> None:
    """The numbers of one cell, its frame if it is marked, and the sign of a claim's verdict."""
    text = {"ha": "center", "va": "center", "color": ink}
    if not np.isfinite(row.effect) or row.status not in ("ok", "no error", "constant"):
        ax.text(
            x + 0.5,
            y + 0.5,
            row.status if not np.isfinite(row.effect) else f"{minus(row.effect, 1)}\n{row.status}",
            fontsize=6,
            **text,
        )
        return
    big = {"fontsize": 8.8, "fontweight": "bold"} if row.mark else {"fontsize": 7.6}
    ax.text(x + 0.5, y + 0.24, minus(row.effect, 1) + row.mark, **big, **text)
    small = [f"± {row.se:.{1 if row.se >= 0.095 else 2}f}"] if np.isfinite(row.se) else ["no error"]
    if hasattr(row, "second") and np.isfinite(row.second):
        small.append(f"again {minus(row.second, 1)}")
    sign = NORMALISATION_SIGN.get(str(row.normalization))
    if sign and np.isfinite(row.normalized):
        small.append(f"{sign} {minus(row.normalized, 2)}")
    for i, words in enumerate(small):
        ax.text(
            x + 0.5, y + 0.87 - 0.19 * (len(small) - 1 - i), words, fontsize=5.3 if words[0] in "zβt" else 5.8, **text
        )
    if row.verdict:
        ax.text(x + 0.95, y + 0.13, VERDICT_SIGN.get(row.verdict, "?"), fontsize=6.5, **(text | {"ha": "right"}))
    if row.mark:
        lost = hasattr(row, "returned") and row.returned is False
        frame(ax, x, y, dashed=lost)


def frame(ax, x: float, y: float, dashed: bool = False) -> None:
    """The black frame of a certain cell; dashed where a second study did not find it again."""
    from matplotlib.patches import Rectangle

    line = {"linestyle": (0, (3, 2)), "linewidth": 1.2} if dashed else {"linewidth": 1.5}
    ax.add_patch(Rectangle((x + 0.03, y + 0.03), 0.94, 0.94, fill=False, edgecolor="black", zorder=4, **line))


def alone_map(effects: pd.DataFrame, alpha: float = 0.05, corrected: str = "p_bh"):
    """What each category does by itself, per task type: the full cross-task matrix of the isolation design.

    `effects` stacks `influence.alone(level="type")` for public 1 and 0, as far as they were run: a panel each, effects
    in points against the public data alone (public 1) or the untrained base (public 0). Returns (figure, table).
    """
    import matplotlib.pyplot as plt

    panels = [level for level in (1, 0) if level in set(effects["public"])]
    kinds, factors = order_types(effects["type"]), order_factors(effects["factor"])
    limit = grid.reach(effects["effect"], grid.certainty(effects, corrected, alpha))
    with style():
        size = (WIDTH, 0.34 * len(factors) + 2.0)
        fig = plt.figure(figsize=size, layout="constrained")
        places = fig.add_gridspec(2, len(panels), height_ratios=(0.34 * len(factors), 0.3))
        for i, public in enumerate(panels):
            ax = fig.add_subplot(places[0, i])
            own = effects[effects["public"] == public]
            sure = grid.certainty(own, corrected, alpha)
            words = [minus(e, 1) + ("*" if s == 2 else "") for e, s in zip(own["effect"], sure, strict=True)]
            shown = own.assign(strength=np.take(grid.STRENGTH, sure), words=words)
            parts = (shown.pivot(index="factor", columns="type", values=v) for v in ("effect", "strength", "words"))
            values, strength, text = (part.reindex(index=factors, columns=kinds) for part in parts)
            grid.heat(ax, values, limit, strength, text.fillna(""))
            for row in shown[sure == 2].itertuples():
                frame(ax, kinds.index(row.type), factors.index(row.factor))
            ax.set_xticklabels(
                [type_name(k) for k in kinds], rotation=40, ha="right", rotation_mode="anchor", fontsize=6.5
            )
            ax.set_yticklabels([category_name(f) if i == 0 else "" for f in factors], rotation=0)
            ax.set_title(
                "with public data,\nagainst public data only" if public else "alone,\nagainst the untrained base",
                fontsize=7.5,
            )
        grid.scale(fig.add_subplot(places[1, :]), limit, "effect (points)", names(alpha))
        fig.suptitle(
            f"framed, *: certain, {grid.correction(corrected)} p < {alpha:g} over runs",
            fontsize=6.5,
            x=0.005,
            ha="left",
        )
    return fig, effects.reset_index(drop=True)
