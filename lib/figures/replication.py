"""Two studies: what the first one found and what a second one, with fresh runs, found of it again.

The table of the second study has the columns `level` (task, type or overall), `task, type, factor, first, first_se,
first_p, second, second_se, second_p, marked_first, returned`; effects in points. `lib.influence.replication` makes it.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib.common.display import minus
from lib.common.files import KitError
from lib.figures.base import INK, WIDTH, category_name, palette, style
from lib.figures.marks import line, mark, points
from lib.influence.replication import slope

KEYS = ["level", "task", "type", "factor"]
COLUMNS = (*KEYS, "first", "first_se", "second", "second_se", "marked_first", "returned")


def read(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Return the checked table of a second study. Raises KitError for a table without its columns."""
    table = source.copy() if isinstance(source, pd.DataFrame) else pd.read_csv(source, keep_default_na=False, dtype=str)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise KitError(f"the table of the second study has no column {missing[0]!r}; run `make replicate` again")
    for name in {"marked_first", "returned", "same_sign"} & set(table):
        table[name] = table[name].astype(str).str.lower().isin({"true", "1", "1.0", "yes"})
    for name in {"first", "first_se", "first_p", "second", "second_se", "second_p"} & set(table):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table.fillna({"task": "", "type": ""})


def about(table: pd.DataFrame, effects: pd.DataFrame) -> bool:
    """Whether its first study is the one of these effects (half a standard error is another machine's rounding)."""
    ours = effects[[*KEYS, "effect"]].fillna({"task": "", "type": ""})
    both = table.merge(ours, on=KEYS, how="inner")
    if both.empty or len(both) < 0.5 * len(table):
        return False
    apart = (both["first"] - both["effect"]).abs()
    return bool(apart.median() <= max(0.005, 0.5 * float(np.nan_to_num(both["first_se"].median()))))


def merged(rows: pd.DataFrame, table: pd.DataFrame, overall: str) -> pd.DataFrame:
    """Add `second, second_se, returned` to rows of types (and the name of all sets, `overall`) and categories."""
    own = table[table["level"].isin(["type", "overall"])]
    own = own.assign(type=own["type"].where(own["level"] == "type", overall), returned=own["returned"].astype(object))
    return rows.merge(own[["type", "factor", "second", "second_se", "returned"]], on=["type", "factor"], how="left")


def agreement(table: pd.DataFrame) -> dict[str, float]:
    """How well two studies agree: correlation `r`, `slope` of the second on the first, marks, returns."""
    both = table.dropna(subset=["first", "second"])
    same = np.sign(both["first"]) == np.sign(both["second"])
    enough = len(both) > 2 and both["first"].std() > 0 and both["second"].std() > 0
    return {
        "n": len(both),
        "r": float(both["first"].corr(both["second"])) if enough else np.nan,
        "slope": slope(both) if enough else np.nan,
        "marked": int(both["marked_first"].sum()),
        "marked_same_sign": int((same & both["marked_first"]).sum()),
        "returned": int((both["returned"] & both["marked_first"]).sum()),
    }


def replication(table: pd.DataFrame, names: tuple[str, str] = ("the first study", "the second study"), ceilings=None):
    """One study against another, for types and for sets: a point on the line came back at its full size.

    Bars: about 95 % (two standard errors) of either study. `names` stand on the axes. `ceilings` (level: correlation
    that two studies of their reliabilities can have) are for studies of two models, whose effects need not be of one
    size: each axis has its own scale then, and no line of what came back. Returns (figure, table).
    """
    table = read(table)
    panels = {"type": "means of task types", "task": "single evaluation sets"}
    panels = {level: words for level, words in panels.items() if (table["level"] == level).any()}
    if not panels:
        raise KitError("the table of the second study has neither types nor sets")
    shades = palette(table["factor"])
    with style():
        size = (WIDTH, 4.5) if len(panels) == 2 else (4.6, 5.2)
        fig, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False)
        for ax, (level, words) in zip(axes[0], panels.items(), strict=True):
            _panel(ax, table[table["level"] == level], shades, words, ceilings and ceilings.get(level, np.nan))
            ax.set_xlabel(f"effect in {names[0]} (points)")
        axes[0, 0].set_ylabel(f"the same effect in {names[1]} (points)")
        handles = [mark(category_name(code), shade, markersize=5) for code, shade in shades.items()]
        handles += [
            mark(f"marked in {names[0]}, found again", markersize=5.5),
            mark("marked, not found again", filled=False, markersize=5.5),
            mark("not marked", alpha=0.5, markersize=3),
            line("perfect agreement", 0.9, ":"),
            *([] if ceilings else [line("what came back (least squares)", 1.1)]),
            line("bars: ± 2 standard errors", 0.6),
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=6.5, handletextpad=0.5)
    return fig, table


def _panel(ax, own: pd.DataFrame, shades: dict[str, str], words: str, ceiling: float | None) -> None:
    size = own[["first", "second"]].abs()
    bars = size + 2 * own[["first_se", "second_se"]].fillna(0).to_numpy()
    limits = 1.06 * np.minimum(bars.max(), 1.6 * size.max()) if ceiling is not None else None
    limit = 1.06 * min(bars.to_numpy().max(), 1.6 * size.to_numpy().max()) if limits is None else limits.max()
    ax.axhline(0, color=INK, linewidth=0.6)
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.plot([-limit, limit], [-limit, limit], color=INK, linewidth=0.8, linestyle=":")
    told = agreement(own)
    if ceiling is None and np.isfinite(told["slope"]):
        end = limit * told["slope"]
        ax.plot([-limit, limit], [-end, end], color=INK, linewidth=1.1)
    for strong, rows in own.groupby("marked_first"):
        colours = rows["factor"].map(shades)
        bars = {"elinewidth": 1.1, "alpha": 0.9} if strong else {"elinewidth": 0.5, "alpha": 0.22}
        far = 2 * rows["second_se"], 2 * rows["first_se"]
        ax.errorbar(rows["first"], rows["second"], *far, fmt="none", ecolor=colours, zorder=2, **bars)
        look = {"s": 30, "edge": INK, "linewidth": 1} if strong else {"s": 9, "alpha": 0.55, "linewidth": 0}
        points(ax, rows["first"], rows["second"], colours, rows["returned"] | (not strong), zorder=3 + strong, **look)
    wide, high = (limit, limit) if limits is None else limits
    ax.set(xlim=(-wide, wide), ylim=(-high, high), ylabel="")
    ax.set_box_aspect(1)
    ax.grid()
    ax.set_title(f"{words} ({told['n']})\n{sentence(told, ceiling)}", fontsize=7)


def sentence(told: dict[str, float], ceiling: float | None = None) -> str:
    """What a panel says in words: correlation, and what came back of one point or what it could be at most; marks."""
    marks = f"{told['marked']} marked: same sign {told['marked_same_sign']}, found again {told['returned']}"
    if not np.isfinite(told["r"]):
        return marks
    more = f"; 1 point came back as {minus(told['slope'], 2)}" if ceiling is None else f" of at most {ceiling:.2f}"
    return f"correlation {minus(told['r'], 2)}{more}\n{marks}"
