"""Two studies: what the first one found and what a second one, with fresh runs, found of it again.

The table of the second study has the columns `level` (task, type or overall), `task, type, factor, first, first_se,
first_p, second, second_se, second_p, marked_first, returned`; effects in points. `lib.influence.replication` makes it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.common.numbers import minus
from lib.figures.base import INK, WIDTH, category_name, order_factors, palette, style
from lib.influence.replication import slope

COLUMNS = ("level", "task", "type", "factor", "first", "first_se", "second", "second_se", "marked_first", "returned")
TRUE = {"true", "1", "1.0", "yes"}
KEYS = ["level", "task", "type", "factor"]


def read(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Return the checked table of a second study. Raises KitError for a table without its columns."""
    table = source.copy() if isinstance(source, pd.DataFrame) else pd.read_csv(source, keep_default_na=False, dtype=str)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise KitError(f"the table of the second study has no column {missing[0]!r}; run `make replicate` again")
    for name in {"marked_first", "returned", "same_sign"} & set(table):
        table[name] = table[name].astype(str).str.lower().isin(TRUE)
    for name in set(table) & {"first", "first_se", "first_p", "second", "second_se", "second_p"}:
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table.fillna({"task": "", "type": ""})


def about(table: pd.DataFrame, effects: pd.DataFrame) -> bool:
    """Whether the table's first study is the one of these effects (half a standard error is another machine's rounding)."""
    ours = effects[[*KEYS, "effect"]].fillna({"task": "", "type": ""})
    both = table.merge(ours, on=KEYS, how="inner")
    if both.empty or len(both) < 0.5 * len(table):
        return False
    apart = (both["first"] - both["effect"]).abs()
    return bool(apart.median() <= max(0.005, 0.5 * float(np.nan_to_num(both["first_se"].median()))))


def merged(rows: pd.DataFrame, table: pd.DataFrame, overall: str) -> pd.DataFrame:
    """Add `second, second_se, returned` to rows of types (and the name of all sets, `overall`) and categories."""
    own = table[table["level"].isin(["type", "overall"])]
    own = own.assign(type=own["type"].where(own["level"] == "type", overall))
    wide = rows.merge(own[["type", "factor", "second", "second_se", "returned"]], on=["type", "factor"], how="left")
    return wide.assign(
        returned=wide["returned"].map(lambda value: value if isinstance(value, bool) else None).astype(object)
    )


def agreement(table: pd.DataFrame) -> dict[str, float]:
    """How well two studies agree: correlation `r`, `slope` of the second on the first through zero, signs that agree, marks, returned."""
    both = table.dropna(subset=["first", "second"])
    marked = both[both["marked_first"]]
    enough = len(both) > 2 and both["first"].std() > 0 and both["second"].std() > 0
    return {
        "n": len(both),
        "r": float(both["first"].corr(both["second"])) if enough else np.nan,
        "slope": slope(both) if enough else np.nan,
        "same_sign": float((np.sign(both["first"]) == np.sign(both["second"])).mean()) if len(both) else np.nan,
        "marked": len(marked),
        "marked_same_sign": int((np.sign(marked["first"]) == np.sign(marked["second"])).sum()),
        "returned": int(marked["returned"].sum()),
    }


def replication(table: pd.DataFrame, alpha: float = 0.05):
    """First study against second, for types and for sets: a point on the line came back at its full size.

    Bars: about 95 % (two standard errors) of either study. Returns (figure, table).
    """
    import matplotlib.pyplot as plt

    table = read(table)
    panels = [(level, words) for level, words in (("type", "means of task types"), ("task", "single evaluation sets"))
              if (table["level"] == level).any()]  # fmt: skip
    if not panels:
        raise KitError("the table of the second study has neither types nor sets")
    shade = palette(order_factors(table["factor"]))
    with style():
        size = (WIDTH if len(panels) == 2 else 4.6, 4.5 if len(panels) == 2 else 5.2)
        fig, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
        for ax, (level, words) in zip(axes[0], panels, strict=True):
            _panel(ax, table[table["level"] == level], shade, words)
        axes[0, 0].set_ylabel("the same effect in the second study (points)")
        _legend(fig, shade)
    return fig, table


def _panel(ax, own: pd.DataFrame, shade: dict[str, str], words: str) -> None:
    ends = own[["first", "second"]].abs().to_numpy().max()
    bars = (own[["first", "second"]].abs().to_numpy() + 2 * own[["first_se", "second_se"]].fillna(0).to_numpy()).max()
    limit = 1.06 * min(bars, 1.6 * ends)
    ax.axhline(0, color=INK, linewidth=0.6)
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.plot([-limit, limit], [-limit, limit], color=INK, linewidth=0.8, linestyle=":")
    told = agreement(own)
    if np.isfinite(told["slope"]):
        end = limit * told["slope"]
        ax.plot([-limit, limit], [-end, end], color=INK, linewidth=1.1)
    for row in own.sort_values("marked_first", kind="stable").itertuples():
        strong = row.marked_first
        alpha = 0.9 if strong else 0.22
        ax.errorbar(row.first, row.second, xerr=2 * row.first_se, yerr=2 * row.second_se, fmt="none",
                    ecolor=shade[row.factor], elinewidth=1.1 if strong else 0.5, alpha=alpha, zorder=2)  # fmt: skip
        ax.plot(row.first, row.second, "o", markersize=5.5 if strong else 3, color=shade[row.factor],
                markerfacecolor=shade[row.factor] if row.returned or not strong else "white",
                markeredgecolor=INK if strong else "none", alpha=1 if strong else 0.55, zorder=4 if strong else 3)  # fmt: skip
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="effect in the first study (points)")
    ax.set_box_aspect(1)
    ax.grid()
    ax.set_title(f"{words} ({told['n']})\n{sentence(told)}", fontsize=7)


def sentence(told: dict[str, float]) -> str:
    """What a panel says in words: correlation, shrinkage, marks."""
    parts = []
    if np.isfinite(told["r"]):
        parts.append(f"correlation {minus(told['r'], 2)}; 1 point came back as {minus(told['slope'], 2)}")
    parts.append(f"{told['marked']} marked: same sign {told['marked_same_sign']}, found again {told['returned']}")
    return "\n".join(parts)


def _legend(fig, shade: dict[str, str]) -> None:
    """Every sign of the figure."""
    from matplotlib.lines import Line2D

    dot = {"marker": "o", "linestyle": "none"}
    handles = [
        Line2D([], [], color=tone, markersize=5, label=category_name(code), **dot) for code, tone in shade.items()
    ]
    handles += [
        Line2D([], [], markersize=5.5, color=INK, label="marked in the first study, found again", **dot),
        Line2D(
            [], [], markersize=5.5, markerfacecolor="white", markeredgecolor=INK, label="marked, not found again", **dot
        ),
        Line2D([], [], markersize=3, color=INK, alpha=0.5, label="not marked", **dot),
        Line2D([], [], color=INK, linestyle=":", linewidth=0.9, label="perfect agreement"),
        Line2D([], [], color=INK, linewidth=1.1, label="what came back (least squares)"),
        Line2D([], [], color=INK, linewidth=0.6, label="bars: ± 2 standard errors"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=6.5, handletextpad=0.5)
