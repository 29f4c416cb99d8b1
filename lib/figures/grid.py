"""One way to draw a matrix of effects: colour is the effect, and how strong the colour is says how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.figures.base import diverging

# how much of its colour a cell keeps: uncertain, p < alpha by itself, p < alpha after correction for all cells
STRENGTH = (0.22, 0.45, 1.0)
FAINT = "#555555"
ALL_CORRECTED = {"p_bh": "Benjamini-Hochberg", "p_holm": "Holm"}


def correction(corrected: str) -> str:
    """Name of a correction for many tests, in words."""
    return ALL_CORRECTED.get(corrected, corrected.removeprefix("p_"))


def certainty(table: pd.DataFrame, corrected: str, alpha: float) -> np.ndarray:
    """0, 1 or 2 per row: not told from zero; p < alpha by itself; p < alpha after correction for all."""
    return (table["p"] < alpha).to_numpy(int) + (table[corrected] < alpha).to_numpy(int)


def reach(effect: pd.Series, sure: np.ndarray) -> float:
    """Where the colours end: the largest effect that is certain, so that a wild uncertain one does not set the scale."""
    size = np.abs(effect.to_numpy(float))
    chosen = size[np.asarray(sure) == 2] if (np.asarray(sure) == 2).any() else size
    return 1.15 * max(0.1, float(np.nanmax(chosen, initial=0.0)))


def heat(
    ax,
    values: pd.DataFrame,
    limit: float,
    strength: pd.DataFrame | None = None,
    text: pd.DataFrame | None = None,
    size: float = 7,
    gap: float = 1.2,
):
    """Draw a matrix with seaborn: `values` in the kit's orange to blue, paled by `strength` (0 to 1), with `text`.

    Cells are one unit wide, their centres at whole numbers plus a half. Returns the list of the colours of the cells'
    text, row by row, for callers that write into the cells themselves.
    """
    import seaborn as sns

    grid = values.to_numpy(float)
    sns.heatmap(values.astype(float), ax=ax, cmap=diverging(), vmin=-limit, vmax=limit, cbar=False, linewidths=gap)
    rgba = shades(grid, limit, None if strength is None else strength.to_numpy(float))
    mesh = ax.collections[0]
    mesh.set_array(None)
    mesh.set_facecolors(rgba.reshape(-1, 4))
    inks = [ink(shade) for shade in rgba.reshape(-1, 4)]
    if text is not None:
        for (i, j), words in np.ndenumerate(text.to_numpy(object)):
            colour = inks[i * grid.shape[1] + j]
            ax.text(j + 0.5, i + 0.5, words, ha="center", va="center", fontsize=size, color=colour)
    ax.tick_params(length=0)
    ax.set(xlabel="", ylabel="")
    return inks


def shades(grid: np.ndarray, limit: float, strength: np.ndarray | None = None) -> np.ndarray:
    """Colours (rows, columns, 4) of a matrix: the scale's, mixed with white where `strength` is below 1."""
    rgba = diverging()(0.5 + np.ma.masked_invalid(grid) / (2 * limit))
    if strength is not None:
        keep = np.where(np.isfinite(grid), np.nan_to_num(strength, nan=1.0), 1.0)[..., None]
        rgba[..., :3] = keep * rgba[..., :3] + (1 - keep)
    return rgba


def ink(shade: Sequence[float]) -> str:
    """Black or white, whichever is read better on a colour (WCAG's relative luminance)."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in shade[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if luminance < 0.179 else "black"


def scale(ax, limit: float, label: str, names: Sequence[str] = ("p ≥ α", "p < α", "corrected")) -> None:
    """The key of the colours in an axes of its own: one strip per certainty, the surest on top."""
    x = np.linspace(-limit, limit, 101)
    order = range(len(STRENGTH))[::-1]
    strips = np.concatenate([shades(x[None], limit, np.full((1, x.size), STRENGTH[i])) for i in order])
    ax.imshow(strips, aspect="auto", extent=(-limit, limit, len(STRENGTH), 0), interpolation="nearest")
    ax.set_yticks(np.arange(len(STRENGTH)) + 0.5, [names[i] for i in order], fontsize=6.3)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=6.5)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:+.2g}".replace("-", "−") if value else "0")
    ax.set_xlabel(label, fontsize=7)
    ax.spines[:].set_visible(False)
