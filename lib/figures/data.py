"""Figures of notebook 02: what was asked and kept, lengths against their slots, word overlap, languages."""

from __future__ import annotations

import pandas as pd

from lib.figures.base import INK, LOSS, NEUTRAL, WIDTH, category_name, colour, order_factors, style

PARTS = {"query": ("o", "query"), "positive": ("s", "positive"), "negative": ("^", "negative")}
_BAND = "#E3E3E3"
_SLOT = ["code", "text", "asked"]  # the columns that say which slot a text answers
_MARKS = ["p5", "p25", "median", "p75", "p95"]


def _generators(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(table["generator"]))


def _panels(generators: list[str], height: float):
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        1, len(generators), figsize=(WIDTH, height), layout="constrained", sharey=True, sharex=True, squeeze=False
    )
    if len(generators) > 1:
        for ax, name in zip(axes[0], generators, strict=True):
            ax.set_title(name)
    return fig, axes[0]


def _rows(ax, labels: list[str]) -> None:
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")


def _interval(
    ax, low: float, first: float, middle: float, third: float, high: float, y: float, shade: str, marker: str
) -> None:
    """A thin line from the 5th to the 95th percentile, a thick one between the quartiles, the median as a marker."""
    ax.plot([low, high], [y, y], color=shade, linewidth=0.9, zorder=2)
    ax.plot([first, third], [y, y], color=shade, linewidth=2.6, solid_capstyle="butt", zorder=3)
    ax.plot(middle, y, marker=marker, markersize=5, markerfacecolor="white", markeredgecolor=shade, zorder=4)


def _quantiles(values: pd.Series) -> list[float]:
    return list(values.quantile([0.05, 0.25, 0.5, 0.75, 0.95]))


def funnel(stages: pd.DataFrame):
    """Answers asked for and triplets kept, per category (Table 2 of this study). Returns (figure, table)."""
    generators, codes = _generators(stages), order_factors(stages["code"])
    lost = [
        ("asked", "parsed", "cannot be read", ""),
        ("parsed", "rules", "break a rule", "//"),
        ("rules", "duplicates", "duplicates", "xx"),
        ("duplicates", "contamination", "contaminated", ".."),
    ]
    with style():
        fig, axes = _panels(generators, 0.3 * len(codes) + 1.0)
        for ax, generator in zip(axes, generators, strict=True):
            part = stages[stages["generator"] == generator].set_index("code")
            for y, code in enumerate(codes):
                if code not in part.index:
                    continue
                row = part.loc[code]
                ax.barh(y, row["kept"], height=0.62, color=colour(code), zorder=2)
                start = row["kept"]
                for before, after, _, hatch in reversed(lost):
                    width = row[before] - row[after]
                    if not width:
                        continue
                    ax.barh(y, width, left=start, height=0.62, color="white", edgecolor=INK, hatch=hatch, linewidth=0.6)
                    start += width
                ax.annotate(
                    f"{row['kept']:,} of {row['asked']:,}",
                    (row["asked"], y),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7.5,
                )
            _rows(ax, [category_name(code) for code in codes])
            ax.set_xlim(0, stages["asked"].max() * (1 + 0.2 * len(generators)))
        seen = [(name, hatch) for before, after, name, hatch in lost if (stages[before] > stages[after]).any()]
        if seen:
            from matplotlib.patches import Patch

            boxes = [Patch(facecolor="white", edgecolor=INK, hatch=hatch, label=name) for name, hatch in seen]
            fig.legend(handles=boxes, loc="outside upper center", ncols=len(seen))
        fig.supxlabel("answers asked for; coloured: kept as triplets", fontsize=8)
    return fig, stages


def lengths(slots: pd.DataFrame):
    """Words per text against what its slot asked for (grey band). Returns (figure, table of the intervals drawn)."""
    generators, wanted = _generators(slots), _wanted(slots)
    labels = [f"{category_name(w.code)}, {w.text}: {_asked(w)}" for w in wanted.itertuples()]
    rows = []
    with style():
        fig, axes = _panels(generators, 0.185 * len(wanted) + 0.9)
        top = slots["words"].quantile(0.999) * 1.5
        for ax, generator in zip(axes, generators, strict=True):
            part = slots[slots["generator"] == generator]
            for y, want in enumerate(wanted.itertuples()):
                words = part.loc[(part[_SLOT] == [want.code, want.text, want.asked]).all(axis=1), "words"]
                ax.barh(y, min(want.high, top) - want.low, left=want.low, height=0.8, color=_BAND, zorder=0)
                if len(words):
                    marks = _quantiles(words)
                    _interval(ax, *marks, y, colour(want.code), PARTS[want.text][0])
                    fits = ((words >= want.low) & (words <= want.high)).mean()
                    slot = [want.code, want.text, want.asked, want.low, want.high]
                    rows.append([generator, *slot, len(words), *marks, fits])
            _rows(ax, labels)
            ax.set(xscale="log", xlim=(0.9, top))
            ax.set_xticks([1, 2, 5, 10, 20, 50, 100, 200, 500][: 7 if top < 200 else 9])
            ax.xaxis.set_major_formatter("{x:g}")
            ax.minorticks_off()
        fig.supxlabel(_key(slots), fontsize=8)
    columns = ["generator", "category", "text", "asked", "low", "high", "texts", *_MARKS, "fits"]
    return fig, pd.DataFrame(rows, columns=columns)


def _asked(want) -> str:
    """The words of a slot; where it is a number, the band that this number asks for."""
    return f"{want.low:g} to {want.high:g} words" if want.asked.isdigit() else want.asked


def _key(slots: pd.DataFrame) -> str:
    """What the marks mean, and which texts are missing because nobody asked for a length."""
    lines = [
        "words (log scale); grey: asked for; line: 9 texts in 10, thick: middle half; "
        "circle query, square positive, triangle negative"
    ]
    if "ls" in set(slots["code"]):
        lines.append("not shown, as no length was asked for: the labels of long-short, and negatives that were mined")
    return "\n".join(lines)


def _wanted(slots: pd.DataFrame) -> pd.DataFrame:
    """The different slots, in the order in which they are drawn: by category, part of the triplet, and length."""
    wanted = slots.drop_duplicates(_SLOT).assign(
        place=lambda t: t["code"].map({code: i for i, code in enumerate(order_factors(t["code"]))}),
        part=lambda t: t["text"].map({name: i for i, name in enumerate(PARTS)}),
    )
    return wanted.sort_values(["place", "part", "low", "high"]).reset_index(drop=True)


def overlaps(data: pd.DataFrame):
    """Share of the shorter text's words that query and positive, query and negative have in common.

    Returns (figure, table of the intervals drawn).
    """
    generators, codes = _generators(data), order_factors(data["code"])
    rows = []
    with style():
        fig, axes = _panels(generators, 0.42 * len(codes) + 0.95)
        for ax, generator in zip(axes, generators, strict=True):
            part = data[data["generator"] == generator]
            for y, code in enumerate(codes):
                for shift, kind in ((-0.17, "positive"), (0.17, "negative")):
                    values = part.loc[part["code"] == code, f"overlap_{kind}"].dropna()
                    if len(values):
                        marks = _quantiles(values)
                        _interval(ax, *marks, y + shift, colour(code), PARTS[kind][0])
                        rows.append([generator, code, kind, len(values), *marks])
            _rows(ax, [category_name(code) for code in codes])
            ax.set_xlim(-0.03, 1.03)
        fig.supxlabel("share of the shorter text's words found in the other", fontsize=8)
        for kind in ("positive", "negative"):
            axes[0].plot([], [], PARTS[kind][0], color=INK, markerfacecolor="white", label=f"query and {kind}")
        fig.legend(loc="outside upper center", ncols=2)
    return fig, pd.DataFrame(rows, columns=["generator", "category", "pair", "texts", *_MARKS])


def languages(table: pd.DataFrame, top: int = 25):
    """Texts asked for per language, how many are long enough to judge, and how many of those are in another language.

    Returns (figure, table). Languages beyond the ``top`` most frequent are in the table only.
    """
    generators = _generators(table)
    asked = table.groupby("language", sort=False)["texts"].sum().sort_values(ascending=False, kind="stable")
    names = list(asked.index)[:top]
    missed, shade = table["judged"] > table["agree"], colour("sl")
    with style():
        fig, axes = _panels(generators, 0.19 * len(names) + 0.95)
        for ax, generator in zip(axes, generators, strict=True):
            part = table[table["generator"] == generator].set_index("language")
            for y, name in enumerate(names):
                if name not in part.index:
                    continue
                row = part.loc[name]
                ax.plot(row["texts"], y, "o", markersize=5, color=NEUTRAL, markerfacecolor="white")
                if row["judged"]:
                    ax.plot(row["judged"], y, "o", markersize=4, color=shade)
                if row["judged"] > row["agree"]:
                    ax.plot(row["judged"] - row["agree"], y, "x", markersize=5, color=LOSS, markeredgewidth=1.4)
                note = f"{row['agree']:,} of {row['judged']:,} agree" if row["judged"] else "too short to judge"
                ax.annotate(
                    note, (row["texts"], y), xytext=(6, 0), textcoords="offset points", va="center", fontsize=6.5
                )
            _rows(ax, names)
            ax.set(xscale="log", xlim=(0.8, asked.max() * 5))
            ax.xaxis.set_major_formatter("{x:,.0f}")
        fig.supxlabel("texts (log scale)", fontsize=8)
        marks = [("o", NEUTRAL, "white", "asked for"), ("o", shade, shade, "long enough to judge")]
        for marker, edge, face, label in marks + [("x", LOSS, LOSS, "found in another language")] * bool(missed.any()):
            axes[0].plot([], [], marker, color=edge, markerfacecolor=face, label=label)
        fig.legend(loc="outside upper center", ncols=3)
    return fig, table
