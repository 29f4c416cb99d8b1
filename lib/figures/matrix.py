"""One way to draw a matrix: colour is the effect, and how strong the colour is says how sure it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.patches import Rectangle

from lib.figures.base import diverging

# how much of its colour a cell keeps: uncertain, p < alpha by itself, p < alpha after correction for all cells
STRENGTH = np.array([0.22, 0.45, 1.0])


def correction(corrected: str) -> str:
    """Name of a correction for many tests (`p_bh`, `p_holm`) in words."""
    return {"p_bh": "Benjamini-Hochberg", "p_holm": "Holm"}.get(corrected, corrected.removeprefix("p_"))


def certainty(table: pd.DataFrame, corrected: str, alpha: float) -> np.ndarray:
    """0, 1 or 2 per row: not told from zero; p < alpha by itself; p < alpha after correction for all."""
    return (table["p"] < alpha).to_numpy(int) + (table[corrected] < alpha).to_numpy(int)


def reach(effect: pd.Series, sure: np.ndarray) -> float:
    """Where the colours end: the largest effect that is certain, so that a wild uncertain one does not set it."""
    size, sure = np.abs(effect.to_numpy(float)), np.asarray(sure)
    return 1.15 * max(0.1, float(np.nanmax(size[sure == 2] if (sure == 2).any() else size, initial=0.0)))


def heatmap(ax, values: pd.DataFrame, limit, strength=1.0, text=None, blank=None, size=7, **options) -> np.ndarray:
    """Draw a matrix with seaborn from orange (-`limit`) to blue (`limit`), paled by `strength` (0 to 1), with `text`.

    `strength`: one value or a matrix; `text`: a matrix of words; `blank`: of booleans. Blank cells are white, others
    without a value grey. `options` go to `seaborn.heatmap`. Cells are one unit wide, centred at whole numbers plus a
    half. Returns the colours (rows, columns) in which their text is read.
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


def effect_map(ax, table: pd.DataFrame, limit: float, rows: dict, columns: dict, **look) -> np.ndarray:
    """Draw effects as a matrix, paled by certainty, certain ones framed. `rows`, `columns`: {key: name}, in order.

    `table`: columns row, column (keys), effect, sure (0 to 2), and words, if cells have a text. `look` as `heatmap`.
    """
    strength = matrix_of(table.assign(strength=STRENGTH[table["sure"]]), "strength", rows, columns)
    look |= {"text": matrix_of(table, "words", rows, columns)} if "words" in table else {}
    names = {"xticklabels": list(columns.values()), "yticklabels": list(rows.values())}
    inks = heatmap(ax, matrix_of(table, "effect", rows, columns), limit, strength, **names | look)
    lost = table["returned"].eq(False) if "returned" in table else pd.Series(False, table.index)
    for cell in table.assign(lost=lost)[table["sure"] == 2].itertuples():
        frame(ax, list(columns).index(cell.column), list(rows).index(cell.row), dashed=cell.lost)
    return inks


def matrix_of(table: pd.DataFrame, values: str, rows: Iterable, columns: Iterable) -> pd.DataFrame:
    """One column of a long table as a matrix."""
    return table.pivot(index="row", columns="column", values=values).reindex(index=list(rows), columns=list(columns))


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


def scale(ax, limit: float, label: str, alpha: float) -> None:
    """The key of the colours in an axes of its own: one strip per certainty, the surest on top."""
    names = ("certain: marked", f"p < {alpha:g} if it were the only cell", f"not told from 0 (p ≥ {alpha:g})")
    strips = pale(np.tile(diverging()(np.linspace(0, 1, 101)), (3, 1, 1)), np.repeat(STRENGTH[::-1, None], 101, 1))
    ax.imshow(strips, aspect="auto", extent=(-limit, limit, 3, 0), interpolation="nearest")
    ax.set_yticks([0.5, 1.5, 2.5], names, fontsize=6.3)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=6.5)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:+.2g}".replace("-", "−") if value else "0")
    ax.set_xlabel(label, fontsize=7)
    ax.spines[:].set_visible(False)
