"""The drawings of the ideas at the head of the notebooks: `python tests/tools/ideas.py` writes them to notebooks/ideas.

JupyterLab strips drawings that are written into the text, and characters wrap; a picture shows everywhere.
"""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from lib.figures.base import style  # noqa: E402
from lib.figures.texts import CATEGORY_COLOURS  # noqa: E402

BLUE, ORANGE, RED, GREY = ("#E3F0FA", "#0072B2"), ("#FFF1D6", "#B87700"), ("#FBE3D6", "#B34700"), ("#F0F0F0", "#777777")
SIZE = 8.8  # inches wide; 100 units of the drawing


def canvas(height: float):
    """Return (figure, axis): 100 units wide, ``height`` units high, the same scale in both directions."""
    figure = plt.figure(figsize=(SIZE, SIZE * height / 100), layout="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 100), ylim=(0, height))
    axis.axis("off")
    return figure, axis


def box(axis, x: float, y: float, w: float, h: float, text: str, shade=BLUE, size: float = 9, **options) -> None:
    """Draw a rounded box with a text in it; ``shade`` is (face, edge)."""

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


def generate():
    """Notebook 01: from a template to a triplet or a rejection."""
    figure, axis = canvas(27)
    steps = (
        ("brainstorm", "lists of tasks", BLUE),
        ("slots", "drawn by a seed", BLUE),
        ("prompt", "template\n+ slots", BLUE),
        ("answer", "a text, with\nluck JSON", ORANGE),
    )
    for i, (name, about, shade) in enumerate(steps):
        box(axis, 1 + 19.5 * i, 14, 15.5, 12, "", shade)
        axis.text(8.75 + 19.5 * i, 22.6, name, ha="center", va="center", fontsize=10, weight="bold")
        axis.text(8.75 + 19.5 * i, 17.7, about, ha="center", va="center", fontsize=8.5, linespacing=1.2)
        if i < 3:
            arrow(axis, (16.5 + 19.5 * i, 20), (20.5 + 19.5 * i, 20))
    box(axis, 81.5, 14, 17.5, 12, "", ORANGE)
    axis.text(90.2, 23.4, "triplet", ha="center", va="center", fontsize=10, weight="bold")
    axis.text(90.2, 18.2, "query\npositive\nnegative", ha="center", va="center", fontsize=8.5, linespacing=1.15)
    arrow(axis, (75, 20), (81.5, 20))
    axis.text(78.2, 21.2, "parse", ha="center", fontsize=8.5)
    box(axis, 59, 1, 17, 7.5, "rejection,\nits reason counted", RED, 8.5)
    arrow(axis, (67.2, 14), (67.2, 8.5), RED[1])
    axis.text(1, 5, "STS and bitext need no task:\nthey begin at the slots", fontsize=8.5, va="center", color="#444444")
    return figure


def inspect():
    """Notebook 02: a funnel with a reason at every stage."""
    figure, axis = canvas(24)
    stages = (
        ("answers\nparsed", "cannot\nbe read"),
        ("rules on\neach triplet", "copied, leaked,\nrefused"),
        ("duplicates\n(MinHash)", "said twice"),
        ("contamination\n(n-grams)", "in a test set"),
    )
    top = 7.0
    for i, (name, lost) in enumerate(stages):
        x, end = 1 + 19.5 * i, top - 1.0
        axis.add_patch(
            Polygon(
                [(x, 16 - top), (x, 16 + top), (x + 17.5, 16 + end), (x + 17.5, 16 - end)],
                facecolor=BLUE[0],
                edgecolor=BLUE[1],
                linewidth=1.2,
            )
        )
        axis.text(x + 8.75, 16, name, ha="center", va="center", fontsize=9.5, linespacing=1.3)
        arrow(axis, (x + 8.75, 16 - top + 0.5), (x + 8.75, 6.2), RED[1], linestyle="--")
        axis.text(x + 8.75, 3.3, lost, ha="center", va="center", fontsize=8.5, color=RED[1], linespacing=1.2)
        top = end
    box(axis, 80, 12, 19, 8, "hard negatives\nmined or the LLM's", ORANGE, 9)
    arrow(axis, (89.5, 12), (89.5, 6.2), RED[1], linestyle="--")
    axis.text(
        89.5, 3.3, "none is safe:\nin-batch only", ha="center", va="center", fontsize=8.5, color=RED[1], linespacing=1.2
    )
    return figure


def train():
    """Notebook 03: the batch as a multiple-choice test."""
    figure, axis = canvas(30)
    for x, title in ((36, "positives of the batch"), (70, "hard negatives")):
        axis.text(x, 28, title, ha="center", fontsize=9.5)
    for j in range(8):
        x = 20 + 8 * j + 2 * (j > 3)
        axis.text(x + 3.75, 24.6, f"{'pn'[j > 3]}$_{j % 4 + 1}$", ha="center", va="center", fontsize=10)
        for i in range(4):
            y, own = 18 - 5.6 * i, i == j
            axis.add_patch(
                Rectangle(
                    (x, y),
                    7.5,
                    5,
                    facecolor=BLUE[0] if own else RED[0] if j > 3 else GREY[0],
                    edgecolor=BLUE[1] if own else "#BBBBBB",
                    linewidth=2.2 if own else 0.8,
                )
            )
            axis.text(
                x + 3.75,
                y + 2.5,
                "up" if own else "down",
                ha="center",
                va="center",
                fontsize=9,
                weight="bold" if own else "normal",
            )
    for i in range(4):
        axis.text(18, 20.5 - 5.6 * i, f"query {i + 1}", ha="right", va="center", fontsize=9.5)
    note(
        axis,
        87.5,
        12,
        "A row is a\nquestion: which\ncolumn is mine?\nThe loss is high\nwhere a softmax\n"
        "over the row is\nnot sure of it.",
    )
    return figure


def score():
    """Notebook 04: one encoding, four ways to grade it."""
    figure, axis = canvas(34)
    box(axis, 1, 20, 13, 6, "adapter", ORANGE, 9.5)
    box(axis, 1, 9, 13, 6, "base", GREY, 9.5)
    box(axis, 19, 12, 21, 11, "encode each\ndistinct text once", BLUE, 9.5)
    axis.text(
        29.5,
        7,
        "instruction before queries,\nnever before documents",
        ha="center",
        va="center",
        fontsize=8.3,
        color="#444444",
    )
    arrow(axis, (14, 23), (19, 19.5))
    arrow(axis, (14, 12), (19, 15.5))
    box(axis, 45, 13.5, 10, 8, "vectors", BLUE, 9.5)
    arrow(axis, (40, 17.5), (45, 17.5))
    rows = (
        ("nearest documents", "Retrieval, Reranking", "nDCG@10, MAP"),
        ("a small classifier", "Classification", "accuracy"),
        ("k-means", "Clustering", "V-measure"),
        ("cosine of two vectors", "pairs, STS, summaries", "AP, rank correlation"),
    )
    for i, (how, types, metric) in enumerate(rows):
        y = 26.5 - 8.4 * i
        box(axis, 60, y, 39, 6.6, "", ORANGE)
        axis.text(61.2, y + 3.3, how, fontsize=8.8, va="center", weight="bold")
        axis.text(81, y + 4.7, types, fontsize=8.5, va="center")
        axis.text(81, y + 1.8, metric, fontsize=8.5, va="center", color="#444444")
        arrow(axis, (55, 17.5), (60, y + 3.3))
    return figure


def influence():
    """Notebook 05: the sixteen subsets as a lattice, the eight edges of one category drawn strong."""
    figure, axis = canvas(42)
    shade = CATEGORY_COLOURS["sl"]
    _lattice(axis, ("ss", "sl", "ls", "ll"), "sl", shade)
    note(axis, 72, 37, "A model is a corner: each of the four\ncategories is absent or present.")
    note(
        axis,
        72,
        26,
        "Every category has 8 edges: 8 pairs of\nmodels that differ in it alone. Its main\n"
        "effect is the mean change along them.",
    )
    axis.plot([72, 76], [17.5, 17.5], color=shade, linewidth=2.4)
    note(axis, 77, 17.5, "the 8 edges of short-long")
    note(axis, 72, 9, "ss short-short    sl short-long\nls long-short     ll long-long")
    return figure


def predict():
    """Notebook 06: the lattice again; five corners are known, eleven are to be predicted."""
    figure, axis = canvas(42)
    _lattice(axis, ("ss", "sl", "ls", "ll"), "", "", known=1)
    note(axis, 70, 36, "Filled: five models that are trained,\nwithout categories and with one each.")
    note(axis, 70, 27, "Open: eleven that only mix what\nthe five hold one by one.")
    for y, words in zip(
        (19.5, 15.5, 11.5, 7.5), ("add scores", "merge adapters", "compare gradients", "compare texts"), strict=True
    ):
        axis.text(70, y, f"{words}", fontsize=8.8, va="center", weight="bold")
    axis.text(99, 13.5, "predicted scores\nagainst those of\nreal models", fontsize=8.8, va="center", ha="right")
    return figure


def _lattice(axis, codes: tuple[str, ...], strong: str, shade: str, known: int = -1) -> None:

    place = {}
    for size in range(len(codes) + 1):
        found = list(combinations(codes, size))
        for i, subset in enumerate(found):
            place[frozenset(subset)] = (34 + 11.6 * (i - (len(found) - 1) / 2), 4 + 8.4 * size)
    for low, (x, y) in place.items():
        for code in sorted(set(codes) - low):
            (x2, y2), own = place[low | {code}], code == strong
            look = (
                {"color": shade, "linewidth": 2.4, "zorder": 2}
                if own
                else {"color": "#CFCFCF", "linewidth": 0.9, "zorder": 1}
            )
            axis.plot([x, x2], [y, y2], **look)
    frame = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "#888888", "linewidth": 0.8}
    for subset, (x, y) in place.items():
        name = "+".join(c for c in codes if c in subset) or "none"
        fill = {"facecolor": ORANGE[0], "edgecolor": ORANGE[1]} if len(subset) <= known else {}
        axis.text(x, y, name, ha="center", va="center", fontsize=8.3, zorder=3, bbox=frame | fill)


IDEAS = {
    "01_generate": generate,
    "02_inspect": inspect,
    "03_train": train,
    "04_score": score,
    "05_influence": influence,
    "06_predict": predict,
}


def write(folder: str | Path) -> list[Path]:
    """Write every drawing to ``folder`` as PNG, the same bytes each time; return the files."""

    paths = []
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, draw in IDEAS.items():
        with style():
            figure = draw()
            paths.append(Path(folder) / f"{name}.png")
            figure.savefig(paths[-1], dpi=180, facecolor="white", metadata={"Software": None})
            plt.close(figure)
    return paths


if __name__ == "__main__":
    write(ROOT / "notebooks" / "ideas")
