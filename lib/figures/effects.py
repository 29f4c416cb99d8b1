"""The heat maps: influence of each category on each task type (Figure 3), and what each category does by itself."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.common.display import minus
from lib.figures import matrix
from lib.figures.base import WIDTH, category_name, order_factors, order_types, style, type_name
from lib.figures.replication import merged
from lib.influence.tables import OVERALL

NORMALISED = {
    "z": ("z", "normalised influence, z (scores z-scored over the models; mean with − mean without)"),
    "std": ("β", "normalised influence, β (standardised regression coefficient)"),
    "t": ("t", "normalised influence, t (effect / its standard error over runs)"),
}
VERDICT_SIGN = {
    "reproduced": "✓",
    "in one study": "(✓)",
    "below noise": "?",
    "opposite in one study": "(✗)",
    "contradicted": "✗",
    "not testable here": "–",
}
TWO_LINES = {
    "Pair classif.": "Pair\nclassif.",
    "Summarization": "Summari-\nzation",
    "Classification": "Classifi-\ncation",
    "Bitext mining": "Bitext\nmining",
    OVERALL: "All\nsets",
}
_EFFECT = ("factor", "type", "normalized", "normalization", "effect", "se", "p", "p_bh", "p_holm", "ci_low", "ci_high")
_SETS = ("se", "p", "p_bh", "p_holm")
_REST = ("n_tasks", "n", "status", "reliability", "shrunk", "published", "verdict")


def heat_table(effects, across, claims=None, replication=None) -> pd.DataFrame:
    """Numbers of the heat map: one row per category x type (and "All tasks").

    `effects` holds levels type and overall of `influence.effects`, `across` the rows of `influence.across_tasks` by
    type and overall, `claims` rows factor, type, published, verdict, `replication` the table of a second study.
    """
    table = effects[effects["level"].isin(["type", "overall"])].copy()
    table["type"] = table["type"].where(table["level"] == "type", OVERALL)
    other = across.assign(type=across["type"].where(across["type"] != "", OVERALL)).rename(columns={"p_t": "p"})
    other = other[["type", "factor", *_SETS]].rename(columns={name: f"{name}_datasets" for name in _SETS})
    table = table.merge(other, on=["type", "factor"], how="left")
    if claims is None or claims.empty:
        claims = pd.DataFrame(columns=["factor", "type", "published", "verdict"], dtype=object)
    table = table.merge(claims[["factor", "type", "published", "verdict"]], on=["factor", "type"], how="left")
    keep = [*_EFFECT, *(f"{name}_datasets" for name in _SETS), *(name for name in _REST if name in table)]
    table = table[keep].fillna({"published": "", "verdict": ""}).reset_index(drop=True)
    return table if replication is None else merged(table, replication, OVERALL)


def stars(row, alpha: float = 0.05, corrected: str = "p_bh") -> str:
    """`*`: these sets would move again in other runs; `**`: and so would other sets of the kind."""
    if not getattr(row, corrected) < alpha:
        return ""
    return "**" if getattr(row, f"{corrected}_datasets") < alpha else "*"


def heat_map(effects, across, claims=None, alpha=0.05, corrected="p_bh", replication=None, reliability=np.nan):
    """Influence of each category on each task type (the paper's Figure 3). Returns (figure, table).

    Tables as for `heat_table`; `reliability` of these effects from 0 to 1. Colour is the effect in points, paled where
    it is not certain; marked cells are framed, with a dashed frame where a second study (`replication`) did not find
    them again. Small numbers: error, second study, normalised influence.
    """
    table = heat_table(effects, across, claims, replication)
    kinds, factors = order_types(table["type"], last=OVERALL), order_factors(table["factor"])
    table["normalized"] = table["normalized"].where(table["status"] != "no error")  # always ±2 with two runs
    sure = matrix.certainty(table, corrected, alpha)
    limit = matrix.reach(table["effect"], sure)
    table["mark"] = [stars(row, alpha, corrected) for row in table.itertuples()]
    key = _key(table, alpha, corrected, reliability)
    sizes = table.groupby("type")["n_tasks"].max()
    with style():
        tall = (0.74 if replication is None else 0.86) * len(factors)
        size = (WIDTH, max(tall, 1.5) + 1.15 + 0.12 * (key.count("\n") + 1))
        fig, (ax, bar) = plt.subplots(2, 1, figsize=size, height_ratios=(tall, 0.36))
        columns = {kind: f"{TWO_LINES.get(type_name(kind), type_name(kind))}\n({sizes[kind]:.0f})" for kind in kinds}
        rows = {factor: category_name(factor).replace("-", "-\n", 1) for factor in factors}
        shown = table.rename(columns={"factor": "row", "type": "column"}).assign(sure=sure)
        inks = matrix.effect_map(ax, shown, limit, rows, columns)
        for row, level in zip(table.itertuples(), sure, strict=True):
            y, x = factors.index(row.factor), kinds.index(row.type)
            _cell(ax, x, y, row, inks[y, x] if level else "#555555")
        ax.tick_params(axis="x", labelsize=6.6)
        ax.set_xlabel("task type (number of evaluation sets)", fontsize=7)
        if OVERALL in kinds and len(kinds) > 1:
            ax.axvline(len(kinds) - 1, color="white", linewidth=4)
        matrix.scale(bar, limit, "colour: effect of adding the category (points)", alpha)
        fig.suptitle(key, fontsize=6.2, x=0.005, ha="left")
    return fig, table


def _key(table: pd.DataFrame, alpha: float, corrected: str, reliability: float) -> str:
    """The lines above the map that explain every sign on it."""
    lines = [
        f"framed: certain after {matrix.correction(corrected)}'s correction for all cells (p < {alpha:g})",
        "*  these sets would move again in other runs     **  and so would other sets of the kind",
    ]
    if "second" in table:
        lines.append("full frame: found again by a second study with fresh runs (“again”)     dashed: not found again")
    lines.append("in a cell: effect in points ± its standard error over runs")
    if table["normalized"].notna().any() and table["normalization"].iloc[0] in NORMALISED:
        lines.append(f"smallest: {NORMALISED[table['normalization'].iloc[0]][1]}")
    if (table["status"] == "lost").any():
        lines.append("lost: these runs cannot tell this effect from another one")
    if (table["verdict"] != "").any():
        signs = "  ".join(f"{sign} {name}" for name, sign in VERDICT_SIGN.items() if name in set(table["verdict"]))
        lines.append(f"top right corner: the paper makes a claim about this cell, here {signs}")
    if np.isfinite(reliability):
        lines.append(
            f"reliability of these effects: {reliability:.2f} (1: another study would find the same, 0: all luck); "
            f"expect about {max(reliability, 0):.0%} of a number"
        )
    return "\n".join(lines)


def _cell(ax, x: int, y: int, row, ink: str) -> None:
    """The numbers of one cell, and the sign of a claim's verdict."""
    look = {"ha": "center", "va": "center", "color": ink}
    known = np.isfinite(row.effect)
    if not known or row.status not in ("ok", "no error", "constant"):
        words = f"{minus(row.effect, 1)}\n{row.status}" if known else row.status
        ax.text(x + 0.5, y + 0.5, words, fontsize=6, **look)
        return
    big = {"fontsize": 8.8, "fontweight": "bold"} if row.mark else {"fontsize": 7.6}
    ax.text(x + 0.5, y + 0.24, minus(row.effect, 1) + row.mark, **big, **look)
    small = [f"± {row.se:.{1 if row.se >= 0.095 else 2}f}" if np.isfinite(row.se) else "no error"]
    if np.isfinite(getattr(row, "second", np.nan)):
        small.append(f"again {minus(row.second, 1)}")
    if row.normalization in NORMALISED and np.isfinite(row.normalized):
        small.append(f"{NORMALISED[row.normalization][0]} {minus(row.normalized, 2)}")
    for i, words in enumerate(reversed(small)):
        ax.text(x + 0.5, y + 0.87 - 0.19 * i, words, fontsize=5.3 if words[0] in "zβt" else 5.8, **look)
    if row.verdict:
        ax.text(x + 0.95, y + 0.13, VERDICT_SIGN.get(row.verdict, "?"), fontsize=6.5, **look | {"ha": "right"})


def alone_map(table: pd.DataFrame, alpha: float = 0.05, corrected: str = "p_bh"):
    """What each category does by itself, per task type: the full cross-task matrix of the isolation design.

    `table` is that of `influence.alone.isolation`: a panel for each half, effects in points with their error over runs,
    against the public data alone (public 1) or the untrained base (public 0). Returns (figure, table, sets included).
    """
    titles = {1: "with public data, against public data only", 0: "alone, against the untrained base"}
    drawn = table[table["level"] != "task"]
    drawn = drawn.assign(type=drawn["type"].where(drawn["level"] == "type", OVERALL))
    panels = [public for public in titles if public in set(drawn["public"])]
    kinds, factors = order_types(drawn["type"], last=OVERALL), order_factors(drawn["factor"])
    sure = matrix.certainty(drawn, corrected, alpha)
    errors = [f"\n± {se:.1f}" if np.isfinite(se) else "" for se in drawn["se"]]
    stars = ["*" if level == 2 else "" for level in sure]
    words = [minus(e, 1) + star + error for e, star, error in zip(drawn["effect"], stars, errors, strict=True)]
    shown = drawn.rename(columns={"factor": "row", "type": "column"}).assign(words=words, sure=sure)
    rows = {name: category_name(name) for name in factors}
    columns = {kind: TWO_LINES.get(type_name(kind), type_name(kind)) for kind in kinds}
    tall, marks = 0.42 * len(factors), f"{matrix.correction(corrected)} p < {alpha:g} over all {len(drawn)} cells"
    with style():
        fig = plt.figure(figsize=(WIDTH, (tall + 0.55) * len(panels) + 1.1))
        places = fig.add_gridspec(len(panels) + 1, 1, height_ratios=[*[tall] * len(panels), 0.36])
        for i, public in enumerate(panels):
            ax = fig.add_subplot(places[i, 0])
            own = shown[shown["public"] == public]
            limit = matrix.reach(own["effect"], own["sure"].to_numpy())
            matrix.effect_map(ax, own, limit, rows, columns, size=6.3)
            ax.tick_params(axis="x", labelsize=6.6)
            ax.set_title(f"{titles[public]} (colours end at {limit:.1f} points)", fontsize=7.5)
            if OVERALL in kinds and len(kinds) > 1:
                ax.axvline(len(kinds) - 1, color="white", linewidth=4)
        matrix.scale(fig.add_subplot(places[-1, 0]), 1.0, "effect, as a share of where the colours end", alpha)
        fig.suptitle(f"framed, *: certain, {marks};  ±: standard error over runs", fontsize=6.5, x=0.005, ha="left")
    return fig, table.reset_index(drop=True)
