"""Heat maps: colour is an effect, how strong it is says how sure it is. `heat_map` is the paper's Figure 3."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.patches import Rectangle

from lib.common.design import minus
from lib.figures.base import GAIN, LOSS, WIDTH, style
from lib.figures.texts import CORRECTIONS, category_name, certain, order_factors, order_types, typed
from lib.influence.influence import Analysis
from lib.influence.tables import OVERALL
from lib.influence.verdicts import VERDICTS
from lib.params.model import InfluenceParams

# how much of its colour a cell keeps: uncertain, p < alpha by itself, p < alpha after correction for all cells
STRENGTH = np.array([0.22, 0.45, 1.0])
NORMALISED = {
    "z": ("z", "normalised influence, z (scores z-scored over the models; mean with − mean without)"),
    "std": ("β", "normalised influence, β (standardised regression coefficient)"),
    "t": ("t", "normalised influence, t (effect / its standard error over runs)"),
}
VERDICT_SIGN = dict(zip(VERDICTS, ("✓", "(✓)", "?", "(✗)", "✗", "–"), strict=True))
TWO_LINES = {"PairClassification": "Pair\nclassif.", "Summarization": "Summari-\nzation", OVERALL: "All\nsets"}
TWO_LINES |= {"Classification": "Classifi-\ncation", "BitextMining": "Bitext\nmining"}
_EFFECT = ("factor", "type", "normalized", "normalization", "effect", "se", "p", "p_bh", "p_holm", "ci_low", "ci_high")
_SETS, _REST = ("se", "p", "p_bh", "p_holm"), ("n_tasks", "n", "status", "reliability", "shrunk")


def diverging():
    """Orange (harm) through white to blue (help): safe for colour vision deficiencies; grey where there is no value."""
    shades = ["#8C3D00", LOSS, "#F7D6BF", "#FFFFFF", "#C3DDF0", GAIN, "#00375C"]
    return mpl.colors.LinearSegmentedColormap.from_list("harm_help", shades).with_extremes(bad="#EEEEEE")


def pale(shades: np.ndarray, strength) -> np.ndarray:
    """Mix colours (..., 4) with white: 1 keeps a colour, 0 is white."""
    keep = np.asarray(strength, float)[..., None]
    return np.concatenate([keep * shades[..., :3] + (1 - keep), shades[..., 3:]], -1)


def ink(shade: Sequence[float]) -> str:
    """Black or white, whichever is read better on a colour (WCAG's relative luminance)."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in shade[:3]]
    return "white" if np.dot(linear, (0.2126, 0.7152, 0.0722)) < 0.179 else "black"


def frame(ax, x: float, y: float, dashed: bool = False, colour: str = "black") -> None:
    """Frame a certain cell; dashed where a second study did not find it again."""
    look = {"linestyle": (0, (3, 2)), "linewidth": 1.2} if dashed else {"linewidth": 1.5}
    ax.add_patch(Rectangle((x + 0.03, y + 0.03), 0.94, 0.94, fill=False, edgecolor=colour, zorder=4, **look))


def heatmap(ax, values: pd.DataFrame, limit, strength=1.0, text=None, blank=None, size=7, **options) -> np.ndarray:
    """Draw a matrix with seaborn from orange (-`limit`) to blue (`limit`), paled by `strength` (0 to 1), with `text`.

    `blank`: cells that stay white; `options` go to `seaborn.heatmap`. Returns the colours in which their text is read.
    """
    words = {} if text is None else {"annot": text, "fmt": "", "annot_kws": {"size": size}}
    blank = np.zeros(values.shape, bool) if blank is None else blank
    look = {"cmap": diverging(), "vmin": -limit, "vmax": limit, "cbar": False, "linewidths": 1.2, "mask": blank}
    sns.heatmap(values.astype(float), ax=ax, **look | words | options)
    mesh = ax.collections[0]
    mesh.update_scalarmappable()
    known = values.notna().to_numpy() & ~blank
    shades = mesh.get_facecolors().reshape(*values.shape, 4)
    shades[known] = pale(shades[known], np.broadcast_to(strength, values.shape)[known])
    shades[blank] = 1.0
    mesh.set_array(None)
    mesh.set_facecolors(shades.reshape(-1, 4))
    inks = np.array([ink(shade) for shade in shades.reshape(-1, 4)]).reshape(values.shape)
    for label, colour in zip(ax.texts, inks[known], strict=False):
        label.set_color(colour)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="", ylabel="")
    return inks


def certainty(table: pd.DataFrame, settings: InfluenceParams) -> np.ndarray:
    """0, 1 or 2 per row: not told from zero; p < alpha by itself; p < alpha after correction for all."""
    return sum((table[p] < settings.alpha).to_numpy(int) for p in ("p", f"p_{settings.correction}"))


def reach(effect: pd.Series, sure: np.ndarray) -> float:
    """Where the colours end: the largest effect that is certain, so that a wild uncertain one does not set it."""
    size = np.abs(effect.to_numpy(float))
    return 1.15 * max(0.1, float(np.nanmax(size[sure == 2] if (sure == 2).any() else size, initial=0.0)))


def effect_map(ax, table: pd.DataFrame, limit: float, rows: dict, columns: dict, **look) -> np.ndarray:
    """Draw effects as a matrix, paled by certainty, certain ones framed. `rows`, `columns`: {key: name}, in order.

    `table`: columns row, column (keys), effect, sure (0 to 2), and words, if cells have a text.
    """

    def matrix(values: str) -> pd.DataFrame:
        return wide[values].reindex(index=list(rows), columns=list(columns))

    wide = table.assign(strength=STRENGTH[table["sure"]]).pivot(index="row", columns="column")
    look |= {"text": matrix("words")} if "words" in table else {}
    names = {"xticklabels": list(columns.values()), "yticklabels": list(rows.values())}
    inks = heatmap(ax, matrix("effect"), limit, matrix("strength"), **names | look)
    lost = table["returned"].eq(False) if "returned" in table else pd.Series(False, table.index)
    for cell in table.assign(lost=lost)[table["sure"] == 2].itertuples():
        frame(ax, list(columns).index(cell.column), list(rows).index(cell.row), dashed=cell.lost)
    return inks


def type_map(ax, table: pd.DataFrame, limit: float, rows: dict, columns: dict, **look) -> np.ndarray:
    """`effect_map` of categories on task types, all sets together apart at the right."""
    inks = effect_map(ax, table.rename(columns={"factor": "row", "type": "column"}), limit, rows, columns, **look)
    ax.axvline(len(columns) - 1, color="white", linewidth=4)
    return inks


def scale(ax, limit: float, label: str, alpha: float) -> None:
    """The key of the colours in an axes of its own: one strip per certainty, the surest on top."""
    names = ("certain: marked", f"p < {alpha:g} if it were the only cell", f"not told from 0 (p ≥ {alpha:g})")
    strips = pale(np.tile(diverging()(np.linspace(0, 1, 101)), (3, 1, 1)), np.repeat(STRENGTH[::-1, None], 101, 1))
    ax.imshow(strips, aspect="auto", extent=(-limit, limit, 3, 0), interpolation="nearest")
    ax.set_yticks([0.5, 1.5, 2.5], names, fontsize=6.3)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:+.2g}".replace("-", "−") if value else "0")
    ax.set_xlabel(label)
    ax.spines[:].set_visible(False)


def heat_table(a: Analysis, claims: pd.DataFrame | None = None, second: pd.DataFrame | None = None) -> pd.DataFrame:
    """Numbers of the heat map: one row per category x type (and "All tasks").

    `claims`: rows factor, type, published, verdict; `second`: the table of a second study. `mark`: `*` where these sets
    would move again in other runs, `**` where other sets of the kind would as well.
    """
    datasets = a.across.assign(type=a.across["type"].replace("", OVERALL)).rename(columns={"p_t": "p"})
    datasets = datasets.set_index(["type", "factor"])[list(_SETS)].add_suffix("_datasets")
    table = typed(a.effects).join(datasets, on=["type", "factor"])[[*_EFFECT, *datasets, *_REST]]
    claims = pd.DataFrame(columns=["factor", "type", "published", "verdict"]) if claims is None else claims
    table = table.merge(claims, "left", ["factor", "type"]).fillna({"published": "", "verdict": ""})
    if second is not None:
        again = typed(second)[["type", "factor", "second", "second_se", "returned"]].astype({"returned": object})
        table = table.merge(again, on=["type", "factor"], how="left")
    table["normalized"] = table["normalized"].where(table["status"] != "no error")  # always ±2 with two runs
    others = table[f"{a.corrected}_datasets"] < a.settings.alpha
    return table.assign(mark=np.select([certainty(table, a.settings) < 2, others], ["", "**"], "*"))


@style()
def heat_map(a: Analysis, claims: pd.DataFrame | None = None, second: pd.DataFrame | None = None):
    """Influence of each category on each task type (Figure 3), in points; see `heat_table` for the arguments."""
    table = heat_table(a, claims, second)
    kinds, factors = order_types(table["type"]), order_factors(table["factor"])
    sure, sizes = certainty(table, a.settings), table.groupby("type")["n_tasks"].max()
    limit, key = reach(table["effect"], sure), _key(table, a)
    tall = (0.74 if second is None else 0.86) * len(factors)
    size = (WIDTH, max(tall, 1.5) + 1.15 + 0.12 * len(key))
    fig, (ax, bar) = plt.subplots(2, 1, figsize=size, height_ratios=(tall, 0.36))
    columns = {kind: f"{TWO_LINES.get(kind, kind)}\n({sizes[kind]:.0f})" for kind in kinds}
    names = {factor: category_name(factor).replace("-", "-\n", 1) for factor in factors}
    inks = type_map(ax, table.assign(sure=sure), limit, names, columns)
    for row, level in zip(table.itertuples(), sure, strict=True):
        y, x = factors.index(row.factor), kinds.index(row.type)
        _cell(ax, x, y, row, inks[y, x] if level else "#555555")
    ax.set_xlabel("task type (number of evaluation sets)")
    scale(bar, limit, "colour: effect of adding the category (points)", a.settings.alpha)
    fig.suptitle("\n".join(key), x=0.005, ha="left")
    return fig, table


def _key(table: pd.DataFrame, a: Analysis) -> list[str]:
    """The lines above the map that explain every sign on it."""
    correction, kind = CORRECTIONS[a.settings.correction], table["normalization"].iloc[0]
    share = a.reliability.query("level == 'type' and factor == ''")["reliability"].median()
    signs = "  ".join(f"{sign} {name}" for name, sign in VERDICT_SIGN.items() if name in set(table["verdict"]))
    lines = [f"framed: certain after {correction}'s correction for all cells (p < {a.settings.alpha:g})"]
    lines.append("*  these sets would move again in other runs     **  and so would other sets of the kind")
    if "second" in table:
        lines.append("full frame: found again by a second study with fresh runs (“again”)     dashed: not found again")
    lines.append("in a cell: effect in points ± its standard error over runs")
    if kind in NORMALISED and table["normalized"].notna().any():
        lines.append(f"smallest: {NORMALISED[kind][1]}")
    if (table["status"] == "lost").any():
        lines.append("lost: these runs cannot tell this effect from another one")
    if signs:
        lines.append(f"top right corner: the paper makes a claim about this cell, here {signs}")
    if np.isfinite(share):
        lines.append(f"reliability of these effects: {share:.2f} (1: another study would find the same, 0: all luck); ")
        lines[-1] += f"expect about {max(share, 0):.0%} of a number"
    return lines


def _cell(ax, x: int, y: int, row, ink: str) -> None:
    """The numbers of one cell, and the sign of a claim's verdict."""
    look, known = {"ha": "center", "va": "center", "color": ink}, np.isfinite(row.effect)
    if not known or row.status not in ("ok", "no error", "constant"):
        words = f"{minus(row.effect, 1)}\n{row.status}" if known else row.status
        ax.text(x + 0.5, y + 0.5, words, fontsize=6, **look)
        return
    size, weight = (8.8, "bold") if row.mark else (7.6, "normal")
    ax.text(x + 0.5, y + 0.24, minus(row.effect, 1) + row.mark, fontsize=size, fontweight=weight, **look)
    small = [f"± {row.se:.{1 if row.se >= 0.095 else 2}f}" if np.isfinite(row.se) else "no error"]
    if np.isfinite(getattr(row, "second", np.nan)):
        small.append(f"again {minus(row.second, 1)}")
    if row.normalization in NORMALISED and np.isfinite(row.normalized):
        small.append(f"{NORMALISED[row.normalization][0]} {minus(row.normalized, 2)}")
    for i, words in enumerate(reversed(small)):
        ax.text(x + 0.5, y + 0.87 - 0.19 * i, words, fontsize=5.3 if words[0] in "zβt" else 5.8, **look)
    if row.verdict:
        ax.text(x + 0.95, y + 0.13, VERDICT_SIGN.get(row.verdict, "?"), fontsize=6.5, **look | {"ha": "right"})


@style()
def alone_map(table: pd.DataFrame, settings: InfluenceParams):
    """What each category does by itself (`influence.designs.isolation`), by task type, with public data and without."""
    titles = {1: "with public data, against public data only", 0: "alone, against the untrained base"}
    shown = typed(table)
    shown["sure"] = certainty(shown, settings)
    cells = zip(shown["effect"], shown["se"], shown["sure"], strict=True)
    shown["words"] = [minus(e, 1) + "*" * (sure == 2) + f"\n± {se:.1f}" * bool(se >= 0) for e, se, sure in cells]
    panels = [public for public in titles if public in set(shown["public"])]
    rows = {name: category_name(name) for name in order_factors(shown["factor"])}
    columns = {kind: TWO_LINES.get(kind, kind) for kind in order_types(shown["type"])}
    tall = 0.42 * len(rows)
    fig = plt.figure(figsize=(WIDTH, (tall + 0.55) * len(panels) + 1.1))
    places = fig.add_gridspec(len(panels) + 1, 1, height_ratios=[*[tall] * len(panels), 0.36])
    for i, public in enumerate(panels):
        ax, own = fig.add_subplot(places[i, 0]), shown[shown["public"] == public]
        limit = reach(own["effect"], own["sure"].to_numpy())
        type_map(ax, own, limit, rows, columns, size=6.3)
        ax.set_title(f"{titles[public]} (colours end at {limit:.1f} points)", fontsize=7.5)
    scale(fig.add_subplot(places[-1, 0]), 1.0, "effect, as a share of where the colours end", settings.alpha)
    told = f"framed, *: certain, {certain(settings)} over all {len(shown)} cells;  ±: standard error over runs"
    fig.suptitle(told, x=0.005, ha="left")
    return fig, table.reset_index(drop=True)
