"""Boxes and arrows on a canvas of 100 units, for ``lib.figures.ideas``."""

from __future__ import annotations

BLUE, ORANGE, RED, GREY = ("#E3F0FA", "#0072B2"), ("#FFF1D6", "#B87700"), ("#FBE3D6", "#B34700"), ("#F0F0F0", "#777777")
SIZE = 8.8  # inches wide; 100 units of the drawing


def canvas(height: float):
    """Return (figure, axis): 100 units wide, ``height`` units high, the same scale in both directions."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(SIZE, SIZE * height / 100))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 100), ylim=(0, height))
    axis.axis("off")
    return figure, axis


def box(axis, x: float, y: float, w: float, h: float, text: str, shade=BLUE, size: float = 9, **options) -> None:
    """Draw a rounded box with a text in it; ``shade`` is (face, edge)."""
    from matplotlib.patches import FancyBboxPatch

    shape = f"round,pad=0,rounding_size={min(w, h) * 0.12}"
    axis.add_patch(FancyBboxPatch((x, y), w, h, boxstyle=shape, facecolor=shade[0], edgecolor=shade[1], linewidth=1.2))
    axis.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=size, linespacing=1.35, **options)


def arrow(axis, start: tuple, end: tuple, shade: str = "#444444", **options) -> None:
    """Draw an arrow from ``start`` to ``end``."""
    look = {"arrowstyle": "-|>", "color": shade, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=look | options)


def note(axis, x: float, y: float, text: str) -> None:
    """Write a text of some lines, its left edge at ``x`` and its middle at ``y``."""
    axis.text(x, y, text, fontsize=8.8, va="center", linespacing=1.35)
