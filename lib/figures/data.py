"""What the data are: what was asked and kept, lengths against their slots, word overlap, languages, counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from lib.common.bundled import reference
from lib.common.design import CODES, LABELS
from lib.common.files import read_json
from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, mark, need, points, rows, style
from lib.figures.texts import CATEGORY_COLOURS, category_name, order_factors, palette

MARKERS = {"query": "o", "positive": "s", "negative": "^"}
_SLOT = ["code", "text", "asked"]  # the columns that say which slot a text answers
_MARKS = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
_LOST = {"cannot be read": "", "break a rule": "//", "duplicates": "xx", "contaminated": ".."}


def _panels(table: pd.DataFrame, labels: list[str], height: float):
    """One panel per generator with a row per label: the figure, and [(axes, rows of the generator)]."""
    parts = dict(list(table.groupby("generator", sort=False)))
    fig, axes = plt.subplots(1, len(parts), figsize=(WIDTH, height), sharey=True, sharex=True, squeeze=False)
    for ax, name in zip(axes[0], parts, strict=True):
        ax.set_title(name if len(parts) > 1 else "")
        rows(ax, range(len(labels)), labels)
    return fig, list(zip(axes[0], parts.values(), strict=True))


def _stacked(ax, y, parts: pd.DataFrame, looks: list[dict], words: list[str]) -> None:
    """Draw bars of `parts` (rows, parts) end to end at the heights `y`, one look per part, with words at their ends."""
    ends = parts.cumsum(axis=1)
    for name, look in zip(parts, looks, strict=True):
        ax.barh(y, parts[name].where(parts[name] > 0), 0.62, ends[name] - parts[name], **look)
    for at, end, text in zip(y, ends.iloc[:, -1], words, strict=True):
        ax.annotate(text, (end, at), (4, 0), textcoords="offset points", va="center", fontsize=7.5)


def _spread(ax, table: pd.DataFrame, value: str, marker: str) -> None:
    """Of every row `y` the middle nine tenths as a thin line, the middle half as a thick one, the median as a ring."""
    shades = palette(table["code"])
    look = {"x": value, "y": "y", "hue": "code", "palette": shades, "orient": "h", "native_scale": True, "ax": ax}
    look |= {"estimator": "median", "linestyle": "none", "legend": False, "marker": "none"}
    sns.pointplot(table, errorbar=("pi", 90), err_kws={"linewidth": 0.9}, **look)
    sns.pointplot(table, errorbar=("pi", 50), err_kws={"linewidth": 2.6, "solid_capstyle": "butt"}, **look)
    found = table.groupby(["y", "code"], as_index=False)[value].median()
    points(ax, found[value], found["y"], found["code"].map(shades), False, marker=marker, s=25, linewidth=1, zorder=4)
    ax.set(xlabel="", ylabel="")


def _quantiles(table: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """What `_spread` draws, by generator and height: per group the number of texts and five quantiles of `value`."""
    place = table["generator"].map(list(dict.fromkeys(table["generator"])).index)
    groups = table.assign(place=place).sort_values(["place", "y"]).groupby(["generator", *keys], sort=False)
    found = pd.DataFrame({"texts": groups[value].count()})
    found = found.assign(**{name: groups[value].quantile(q) for name, q in _MARKS.items()})
    if "fits" in table:
        found["fits"] = groups["fits"].mean()
    return found.reset_index().rename(columns={"code": "category"})


@style()
def where_it_goes(counts: Mapping[str, Mapping], public: int):
    """Draw, per category, how many answers became triplets with and without a negative, and how many were lost."""
    found = {LABELS[category]: counts[category] for category in CODES if category in counts}
    shades = {"triplets": GAIN, "no safe negative found": "#56B4E9", "not readable": LOSS, "cleaned away": "#E69F00"}
    parts = pd.DataFrame(index=list(found), columns=list(shades), dtype=float)
    for label, n in found.items():
        lost = [sum(n["rejected"].values()), sum(n["cleaned"].values()) + n["duplicates"]]
        parts.loc[label] = [n["valid"] - n["without_negative"], n["without_negative"], *lost]
    parts = parts.loc[:, parts.any()]
    figure, axis = plt.subplots(figsize=(8, 0.4 * len(found) + 1.2))
    looks = [{"color": shades[part], "label": part} for part in parts]
    _stacked(axis, range(len(found)), parts, looks, [f"{n['valid']} of {n['asked']}" for n in found.values()])
    rows(axis, range(len(found)), found)
    axis.set(xlim=(0, 1.12 * parts.sum(axis=1).max()), xlabel="answers")
    total = sum(n["valid"] for n in found.values())
    axis.set_title(f"{total:,} triplets; {public:,} public pairs beside them", fontsize=9.5)
    figure.legend(loc="outside upper right", ncols=len(looks))
    plt.close(figure)  # a notebook shows it once: where it is displayed
    return figure


@style()
def funnel(stages: pd.DataFrame):
    """Answers asked for and triplets kept, per category (Table 2 of this study)."""
    codes = order_factors(stages["code"])
    steps = ["asked", "parsed", "rules", "duplicates", "contamination"]
    lost = pd.DataFrame({name: stages[a] - stages[b] for name, a, b in zip(_LOST, steps, steps[1:], strict=False)})
    lost = lost.loc[:, lost.any()]
    hatched = {"facecolor": "white", "edgecolor": INK, "linewidth": 0.6}
    fig, panels = _panels(stages, [category_name(code) for code in codes], 0.3 * len(codes) + 1.0)
    for ax, part in panels:
        parts = pd.concat([part[["kept"]], lost.loc[part.index].iloc[:, ::-1]], axis=1)
        looks = [{"color": [CATEGORY_COLOURS.get(code, NEUTRAL) for code in part["code"]]}]
        looks += [hatched | {"hatch": _LOST[name]} for name in parts.columns[1:]]
        words = [f"{kept:,} of {asked:,}" for kept, asked in zip(part["kept"], part["asked"], strict=True)]
        _stacked(ax, part["code"].map(codes.index), parts, looks, words)
        ax.set_xlim(0, stages["asked"].max() * (1 + 0.2 * len(panels)))
    boxes = [plt.Rectangle((0, 0), 1, 1, label=name, hatch=_LOST[name], **hatched) for name in lost]
    fig.legend(handles=boxes, loc="outside upper center", ncols=4)
    fig.supxlabel("answers asked for; coloured: kept as triplets")
    return fig, stages


@style()
def lengths(slots: pd.DataFrame):
    """Words per text against what its slot asked for (grey band)."""
    top = slots["words"].quantile(0.999) * 1.5
    order = {"code": order_factors(slots["code"]).index, "text": list(MARKERS).index}
    wanted = slots.drop_duplicates(_SLOT)[[*_SLOT, "low", "high"]]
    keys = ["code", "text", "low", "high"]
    wanted = wanted.sort_values(keys, key=lambda c: c.map(order.get(c.name, float)), ignore_index=True)
    wanted["y"], wanted["width"] = wanted.index, wanted["high"].clip(upper=top) - wanted["low"]
    # where a slot is a number, its words are the band that this number asks for
    asked = [f"{w.low:g} to {w.high:g} words" if w.asked.isdigit() else w.asked for w in wanted.itertuples()]
    labels = [f"{category_name(w.code)}, {w.text}: {a}" for w, a in zip(wanted.itertuples(), asked, strict=True)]
    slots = slots.drop(columns=["low", "high"]).merge(wanted, on=_SLOT)
    key = "words (log scale); grey: asked for; line: 9 texts in 10, thick: middle half;\n"
    key += "circle query, square positive, triangle negative"
    if "ls" in set(slots["code"]):
        key += "\nnot shown, as no length was asked for: the labels of long-short, and negatives that were mined"
    fig, panels = _panels(slots, labels, 0.185 * len(wanted) + 1.0)
    for ax, part in panels:
        ax.set(xscale="log", xlim=(0.9, top))
        ax.barh(wanted["y"], wanted["width"], left=wanted["low"], color="#E3E3E3", zorder=0)
        for text, own in part.groupby("text"):
            _spread(ax, own, "words", MARKERS[text])
        ax.set_xticks([1, 2, 5, 10, 20, 50, 100, 200, 500][: 7 if top < 200 else 9])
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    fig.supxlabel(key)
    slots["fits"] = slots["words"].between(slots["low"], slots["high"])
    return fig, _quantiles(slots, [*_SLOT, "low", "high"], "words")


@style()
def overlaps(data: pd.DataFrame):
    """Share of the shorter text's words that query and positive, query and negative have in common."""
    codes, kinds = order_factors(data["code"]), {"positive": -0.17, "negative": 0.17}
    parts = [data[["generator", "code"]].assign(pair=kind, share=data[f"overlap_{kind}"]) for kind in kinds]
    long = pd.concat(parts).dropna(subset="share")
    long["y"] = long["code"].map(codes.index) + long["pair"].map(kinds)
    fig, panels = _panels(long, [category_name(code) for code in codes], 0.42 * len(codes) + 0.95)
    for ax, part in panels:
        for kind, own in part.groupby("pair"):
            _spread(ax, own, "share", MARKERS[kind])
        ax.set_xlim(-0.03, 1.03)
    fig.supxlabel("share of the shorter text's words found in the other")
    key = [mark(f"query and {kind}", marker=MARKERS[kind], filled=False, markersize=6) for kind in kinds]
    fig.legend(handles=key, loc="outside upper center", ncols=2)
    return fig, _quantiles(long, ["code", "pair"], "share")


@style()
def languages(table: pd.DataFrame):
    """Texts asked for per language, how many are long enough to judge, how many of those are in another language."""
    asked = table.groupby("language", sort=False)["texts"].sum().sort_values(ascending=False, kind="stable")
    names, shade = list(asked.index)[:25], CATEGORY_COLOURS["sl"]
    fig, panels = _panels(table, names, 0.19 * len(names) + 0.95)
    for ax, part in panels:
        part = part[part["language"].isin(names)]
        y = part["language"].map(names.index)
        points(ax, part["texts"], y, NEUTRAL, False, s=25, linewidth=1)
        points(ax, part["judged"].where(part["judged"] > 0), y, shade, s=16, zorder=3)
        for at, row in zip(y, part.itertuples(), strict=True):
            note = f"{row.agree:,} of {row.judged:,} agree" if row.judged else "too short to judge"
            ax.annotate(note, (row.texts, at), (6, 0), textcoords="offset points", va="center", fontsize=6.5)
        ax.set(xscale="log", xlim=(0.8, asked.max() * 5))
        ax.xaxis.set_major_formatter("{x:,.0f}")
    fig.supxlabel("texts (log scale)")
    key = [mark("asked for", NEUTRAL, filled=False, markersize=5), mark("long enough to judge", shade)]
    fig.legend(handles=key, loc="outside upper center", ncols=3)
    return fig, table


def data_counts(data: Path | None) -> pd.DataFrame:
    """Valid triplets per category of this run and its public pairs: columns source, category (code), rows."""
    found = {}
    if data is not None and (data / "generation.json").is_file():
        made = read_json(data / "generation.json")["categories"]
        found = {CODES[name]: numbers["valid"] for name, numbers in made.items()}
    if data is not None and (data / "public.jsonl").is_file():
        with open(data / "public.jsonl", encoding="utf-8") as lines:
            found["public"] = sum(1 for line in lines if line.strip())
    rows = [("this study", category, count) for category, count in found.items()]
    return pd.DataFrame(rows, columns=["source", "category", "rows"])


@style()
def counts(data: Path | None):
    """Examples per category of this run's data and in publications (Table 2), a marker per source."""
    ours = data_counts(data)
    need(len(ours) > 0, "no training data beside these results (data/generation.json), so nothing to count")
    table = pd.concat([ours, reference("published_counts")], ignore_index=True)
    sources, codes = (list(dict.fromkeys(table[name])) for name in ("source", "category"))
    markers = dict(zip(sources, "osD^v" * len(sources), strict=False))
    fig, ax = plt.subplots(figsize=(WIDTH, 0.3 * len(codes) + 0.95))
    for source, own in table.groupby("source", sort=False):
        y, shades = own["category"].map(codes.index), own["category"].map(palette(codes))
        look = {"s": 34, "marker": markers[source], "linewidth": 1, "zorder": 3}
        points(ax, own["rows"], y, shades, source == sources[0], **look)
        for at, n in zip(y, own["rows"], strict=True):
            ax.annotate(f"{n:,.0f}", (n, at), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7)
    rows(ax, range(len(codes)), [category_name(code) for code in codes])
    ends = max(0.8, table["rows"].min() / 2), table["rows"].max() * 4
    ax.set(xscale="log", xlabel="examples (log scale)", xlim=ends)
    key = [mark(name, INK, markers[name], name == sources[0], markersize=6) for name in sources]
    fig.legend(handles=key, loc="outside upper center", ncols=3)
    return fig, table
