"""Points with intervals: every term of the crossed design, and generators beside none and beside each other."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.figures import base
from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, OWN_COLOURS, WIDTH, order_types, style, type_name
from lib.figures.marks import line, mark, points, rows
from lib.figures.matrix import correction
from lib.influence.generators import NONE
from lib.influence.regression import margin
from lib.influence.tables import OVERALL


def terms(table: pd.DataFrame, alpha: float = 0.05, corrected: str = "p_bh"):
    """Main effects and two-way interactions with their intervals, a panel per task type and one of all sets.

    `table` is that of `influence.interactions.crossed`. Returns (figure, table).
    """
    kinds, names = order_types(table["type"], last=OVERALL), list(dict.fromkeys(table["term"]))
    y = {name: place + 0.6 * (":" in name) for place, name in enumerate(names)}
    across = 3 if len(kinds) > 4 else len(kinds)
    down = -(-len(kinds) // across)
    with style():
        fig, axes = plt.subplots(down, across, figsize=(WIDTH, down * (0.125 * len(names) + 0.5) + 0.75), squeeze=False)
        for spare in axes.ravel()[len(kinds) :]:
            spare.set_visible(False)
        for place, (ax, kind) in enumerate(zip(axes.ravel(), kinds, strict=False)):
            own = table[table["type"] == kind]
            sure, at = (own[corrected] < alpha).to_numpy(), own["term"].map(y)
            shade = np.where(~sure, NEUTRAL, np.where(own["effect"] > 0, GAIN, LOSS))
            ax.hlines(at, own["ci_low"], own["ci_high"], color=shade, linewidth=1.3)
            points(ax, own["effect"], at, shade, sure, s=12, linewidth=0.7, zorder=3)
            ax.axvline(0, color=INK, linewidth=0.6)
            first = place % across == 0
            rows(ax, list(y.values()), [_short(name) if first else "" for name in names], 5.6)
            ax.tick_params(axis="x", labelsize=6)
            ax.set_title(type_name(kind), fontsize=7)
        key = [
            mark(f"certain: {correction(corrected)} p < {alpha:g} over all of a kind", GAIN),
            mark("not told from zero", NEUTRAL, filled=False),
            line("95 % over runs, for a term chosen beforehand", 1.3, colour=NEUTRAL),
        ]
        told = base.defined(name for name in names if ":" not in name).replace("public public", "pub public")
        fig.supxlabel(f"points;  {told}", fontsize=6.4)
        fig.legend(handles=key, loc="outside upper left", ncols=2, fontsize=6.4, handletextpad=0.3)
    return fig, table


def _short(term: str) -> str:
    return term.replace("public", "pub").replace(":", " × ")


def generators(table: pd.DataFrame, alpha: float = 0.05, corrected: str = "p_holm"):
    """Left: each generator's category against none of it; right: one generator against another, and the margin.

    `table` is that of `influence.generators.contrasts`; types and all sets are drawn. Returns (figure, table with the
    sets too).
    """
    drawn = table[table["level"] != "task"]
    kinds = order_types(drawn["type"], last=OVERALL)
    sides = [drawn[drawn["against"] == NONE], drawn[drawn["against"] != NONE]]
    sides = [part.assign(name=_name(part)) for part in sides if len(part)]
    high = 0.12 + 0.12 * max(part["name"].nunique() for part in sides)
    with style():
        size = (WIDTH, high * len(kinds) + 1.5)
        fig, axes = plt.subplots(
            1, len(sides), figsize=size, sharey=True, squeeze=False, width_ratios=(1,) * len(sides)
        )
        for ax, part in zip(axes[0], sides, strict=True):
            shades = dict(zip(dict.fromkeys(part["name"]), OWN_COLOURS, strict=False))
            offset = {name: 0.22 * (i - (len(shades) - 1) / 2) for i, name in enumerate(shades)}
            y = part["type"].map(kinds.index) + part["name"].map(offset)
            tone = part["name"].map(shades).to_numpy()
            paired = part["against"].iloc[0] != NONE
            ax.hlines(y, part["ci_low"], part["ci_high"], color=tone, linewidth=0.9)
            if paired:
                inner = margin(part["se"], part["df"], 2 * alpha)
                ax.hlines(y, part["effect"] - inner, part["effect"] + inner, color=tone, linewidth=2.4)
                ax.axvspan(-part["margin"].iloc[0], part["margin"].iloc[0], color="#E6EEF5", zorder=0)
                for at, row in zip(y, part.itertuples(), strict=True):
                    told = row.says.replace(", by less than the margin", ",\n< margin")
                    ax.annotate(told, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=5.8)
            points(ax, part["effect"], y, tone, (part[corrected] < alpha).to_numpy(), s=20, linewidth=0.9, zorder=3)
            ax.axvline(0, color=INK, linewidth=0.7)
            rows(ax, range(len(kinds)), [type_name(kind) for kind in kinds])
            ax.axhline(len(kinds) - 1.5, color="#555555", linewidth=0.7)
            ax.set_xlabel("difference (points)" if paired else "effect against none (points)")
            ax.legend(handles=[mark(name, shade) for name, shade in shades.items()], loc="lower left",
                      bbox_to_anchor=(0, 1), fontsize=6.3, ncols=1, borderaxespad=0.1)  # fmt: skip
        key = f"filled: certain, {correction(corrected)} p < {alpha:g} over the types;  thin: {1 - alpha:.0%} over runs"
        if len(sides) > 1:
            key += f";\nthick: {1 - 2 * alpha:.0%};  band: the margin, {sides[1]['margin'].iloc[0]:g};  "
            key += "alike: surely inside it, by two one-sided tests (Holm over the types)"
        fig.suptitle(key, fontsize=6.4, x=0.005, ha="left")
    return fig, table.reset_index(drop=True)


def _name(part: pd.DataFrame) -> pd.Series:
    """What a comparison is called: the generator, or both of a pair."""
    both = part["generator"] + " − " + part["against"]
    return part["generator"].where(part["against"] == NONE, both)
