"""Pictures of notebooks 01, 03 and 04: where answers went, a batch and its push, padding, the loss, two scorers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from lib.common.design import CODES, LABELS
from lib.common.numbers import POINTS
from lib.embedder.packing import padding_table
from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, by_type, colour, diverging, style, type_name
from lib.figures.marks import points, rows, stacked
from lib.figures.matrix import frame, heatmap
from lib.train import fixed

PUSH_FORMATS = {"temperature": "{:g}"} | dict.fromkeys(("right answer", "nearest wrong one", "nearest three"), "{:.0%}")
_KINDS = {"positive of another query": "#56B4E9", "another query's hard negative": NEUTRAL, "own hard negative": LOSS}


def where_it_goes(counts: Mapping[str, Mapping], public: int):
    """Draw, per category, how many answers became triplets with and without a negative, and how many were lost."""
    names = [category for category in CODES if category in counts]
    found = {LABELS[name]: counts[name] for name in names}
    parts = pd.DataFrame()
    for label, n in found.items():
        parts.loc[label, "triplets"] = n["valid"] - n["without_negative"]
        parts.loc[label, "no safe negative found"] = n["without_negative"]
        parts.loc[label, "not readable"] = sum(n["rejected"].values())
        parts.loc[label, "cleaned away"] = sum(n["cleaned"].values()) + n["duplicates"]
    shades = dict(zip(parts, (GAIN, "#56B4E9", LOSS, "#E69F00"), strict=True))
    parts = parts.loc[:, parts.any()]
    looks = [{"color": shades[part], "label": part} for part in parts]
    with style():
        figure, axis = plt.subplots(figsize=(8, 0.4 * len(names) + 1.2))
        stacked(axis, range(len(found)), parts, looks, [f"{n['valid']} of {n['asked']}" for n in found.values()])
        rows(axis, range(len(found)), found)
        axis.set(xlim=(0, 1.12 * parts.sum(axis=1).max()), xlabel="answers")
        total = sum(n["valid"] for n in found.values())
        axis.set_title(f"{total:,} triplets; {public:,} public pairs beside them", fontsize=9.5)
        figure.legend(loc="outside upper right", ncols=len(looks))
    return _done(figure)


def matrix_picture(panels: Mapping[str, np.ndarray], count: int, size: int = 10):
    """Draw matrices of ``size`` queries with the positives (left) and hard negatives (right) of the same triplets.

    ``panels``: {title: (n, count + m) matrix}. Values from 0 to 1 in blue; a title with "change" gets a scale of its
    own, from orange through white to blue. Boxes are the right pairs.
    """
    size = min(size, count)
    with style():
        height = 0.45 + 1.75 * len(panels)
        figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, height), squeeze=False)
        for axis, (title, matrix) in zip(axes[:, 0], panels.items(), strict=True):
            gap = np.full((size, 1), np.nan)
            shown = pd.DataFrame(np.hstack([matrix[:size, :size], gap, matrix[:size, count : count + size]]))
            names = [f"p{j + 1}" for j in range(size)] + [""] + [f"n{j + 1}" for j in range(shown.shape[1] - size - 1)]
            change = "change" in title
            limit = float(shown.abs().max(axis=None)) if change else 1.0
            look = {"cmap": diverging()} if change else {"cmap": "Blues", "vmin": 0}
            look |= {"xticklabels": names, "yticklabels": [f"q{i + 1}" for i in range(size)]}
            look |= {"linewidths": 0, "cbar": True, "cbar_kws": {"aspect": 10, "pad": 0.01}}
            heatmap(axis, shown, limit, blank=shown.isna().to_numpy(), **look)
            for place in range(size):
                frame(axis, place, place, colour=INK if change else LOSS)
            axis.tick_params(labelsize=6.5, rotation=0)
            axis.set_title(title)
    return _done(figure)


def token_counts(embedder, pools: Mapping[str, Sequence], max_length: int, count: int = 150) -> dict[str, list[int]]:
    """Return the lengths in tokens of the texts of each source's first ``count`` triplets."""
    texts = {
        source: [text for t in pool[:count] for text in (t.query, t.positive, t.negative) if text]
        for source, pool in pools.items()
    }
    return {source: [len(row) for row in embedder.tokenize(own, max_length)] for source, own in texts.items()}


def padding_picture(lengths: Mapping[str, Sequence[int]], budget: int):
    """Draw tokens computed per real token for each source and way of batching (see ``padding_table``)."""
    table = pd.DataFrame({_name(source): padding_table(values, budget) for source, values in lengths.items()})
    table = table.rename_axis("way").reset_index().melt("way", var_name="source", value_name="tokens")
    with style():
        figure, axis = plt.subplots(figsize=(WIDTH + 1, 2.6))
        shades = [LOSS, "#E69F00", "#56B4E9", GAIN]
        look = {"palette": shades, "saturation": 1, "width": 0.84, "gap": 0.08}
        sns.barplot(table, x="source", y="tokens", hue="way", ax=axis, **look)
        for bars in axis.containers:
            axis.bar_label(bars, fmt="%.1f", fontsize=7)
        axis.axhline(1, color=INK, linewidth=0.7)
        axis.set(xlabel="", ylabel="tokens computed per real token")
        axis.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.2))
    return _done(figure)


def loss_picture(log: Sequence[Mapping], before: Mapping[str, float], after: Mapping[str, float], unseen: Mapping):
    """Draw the loss of every step, points of one source in one colour, and that of the fixed batches before and after.

    ``before`` and ``after``: {source: loss}; ``unseen``: {source: triplets of its fixed batch not trained on}.
    """
    shades = {_name(source): colour(CODES.get(source, source)) for source in before}
    steps = pd.DataFrame(list(log)).assign(source=lambda t: t["source"].map(_name))
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 1, 2.9), width_ratios=(1.15, 1))
        look = {"hue_order": list(shades), "palette": shades, "s": 24, "linewidth": 0}
        sns.scatterplot(steps, x="step", y="loss", hue="source", ax=left, **look)
        left.set(xlabel="optimizer step", ylabel="loss of the batch", ylim=(0, None))
        left.set_title("in training: every batch is another test")
        left.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.24), columnspacing=1, handletextpad=0.2)
        for y, ((source, one), shade) in enumerate(zip(before.items(), shades.values(), strict=True)):
            arrow = {"arrowstyle": "-|>", "color": shade, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
            two = after[source]
            right.annotate("", (two, y), (one, y), arrowprops=arrow)
            right.text((one + two) / 2, y - 0.22, f"{one:.2f} to {two:.2f}", fontsize=7, ha="center")
        points(right, list(before.values()), range(len(before)), list(shades.values()), False, s=25, linewidth=1)
        values = [*before.values(), *after.values()]
        room = 0.15 * max(max(values) - min(values), 0.1)
        rows(right, range(len(before)), [f"{_name(source)}\n({unseen[source]} unseen)" for source in before])
        right.set(xlabel="loss", xlim=(max(0.0, min(values) - room), max(values) + room))
        right.set_title("the same fixed batch, before to after")
    return _done(figure)


def bars(table: pd.DataFrame):
    """Draw the changes in points against the untrained base per set, grouped by type, with their intervals.

    ``table``: columns task, type, change, low, high (0 to 1), see ``lib.score.comparison.changes``.
    """
    table = by_type(table, "task")
    change, low, high = (POINTS * table[name] for name in ("change", "low", "high"))
    clear, kinds, y = (low > 0) | (high < 0), table["type"], np.arange(len(table))
    shades = np.select([clear & (change > 0), clear], [GAIN, LOSS], "#D0D0D0")
    with style():
        figure, axis = plt.subplots(figsize=(WIDTH, 0.6 + 0.22 * len(table)))
        axis.barh(y, change, 0.65, color=shades, alpha=0.8)
        spread = [(change - low).clip(lower=0), (high - change).clip(lower=0)]
        axis.errorbar(change, y, xerr=spread, fmt="none", ecolor=INK, elinewidth=0.8, capsize=2)
        axis.axvline(0, color="#555555", linewidth=0.7)
        axis.set_xlabel("change against the untrained base, points (line: 95 % interval; pale grey bar: it holds 0)")
        rows(axis, y, table["task"])
        for kind, own in table.groupby("type").groups.items():
            beside = {"transform": axis.get_yaxis_transform(), "va": "center", "fontsize": 7.5}
            axis.text(1.01, own.to_numpy().mean(), type_name(kind), **beside)
        for first in np.flatnonzero(kinds != kinds.shift())[1:]:
            axis.axhline(first - 0.5, color="#BBBBBB", linewidth=0.7)
    return figure


def push_table(batch: fixed.Vectors, temperatures: Sequence[float]) -> pd.DataFrame:
    """Return how the push on wrong answers is shared out (see ``fixed.push``), with and without hard negatives."""
    choices = {"all": batch.cosines, "positives only": batch.cosines[:, : len(batch.positives)]}
    rows = [(name, tau, *fixed.push(cosines, tau)) for name, cosines in choices.items() for tau in temperatures]
    return pd.DataFrame(rows, columns=["choices", *PUSH_FORMATS])


def push_picture(batch: fixed.Vectors, held: fixed.Held, temperatures: Sequence[float]):
    """Draw the gradient of the loss for every wrong answer of a fixed batch, p / temperature, against its cosine.

    One panel per temperature; its title says what the queries' own hard negatives are of the choices and of the push.
    Returns (figure, table: temperature, query, kind, cosine, push), a row per query and wrong answer.
    """
    count, hard = len(batch.queries), [i for i, triplet in enumerate(held.triplets) if triplet.negative]
    owner = np.r_[np.arange(count), hard]
    own = owner == np.arange(count)[:, None]
    kind = np.where(np.arange(len(owner)) < count, 0, 1 + own)
    wrong = ~np.eye(count, len(owner), dtype=bool)
    query, names = np.nonzero(wrong)[0], np.array(list(_KINDS))[kind[wrong]]
    flat = {"query": query, "kind": names, "cosine": batch.cosines[wrong].astype(float)}
    parts = [pd.DataFrame({"temperature": t} | flat | {"push": _push(batch, t)[wrong]}) for t in temperatures]
    with style():
        figure, axes = plt.subplots(1, len(parts), figsize=(WIDTH + 1, 3.2), sharex=True, sharey=True)
        for axis, tau, part in zip(np.atleast_1d(axes), temperatures, parts, strict=True):
            look = {"palette": _KINDS, "hue_order": list(_KINDS), "s": 9, "linewidth": 0, "alpha": 0.7}
            sns.scatterplot(part.sort_values("kind", key=lambda k: k.map(list(_KINDS).index)), x="cosine", y="push",
                            hue="kind", ax=axis, legend=tau == temperatures[0], rasterized=True, **look)  # fmt: skip
            ours = part["kind"] == "own hard negative"
            share = part["push"][ours].sum() / part["push"].sum()
            axis.set_title(f"temperature {tau:g}: own hard negatives are\n{ours.mean():.1%} of the wrong answers, "
                           f"{share:.0%} of the push")  # fmt: skip
            axis.set(
                yscale="log",
                xlabel="cosine of query and wrong answer",
                ylabel="push per unit of cosine, p / temperature",
            )
        pushes = pd.concat(parts)["push"]
        axis.set_ylim(max(1e-9, pushes.min() / 2), 2 * pushes.max())
        if legend := np.atleast_1d(axes)[0].get_legend():
            handles, labels = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
            legend.remove()
            figure.legend(handles, labels, loc="outside lower center", ncols=3, markerscale=1.5)
    return _done(figure), pd.concat(parts, ignore_index=True)


def _push(batch: fixed.Vectors, temperature: float) -> np.ndarray:
    return fixed.softmax(batch.cosines.astype(float), temperature) / temperature


def two_scorers(learner, taught: tuple[pd.DataFrame, np.ndarray], asked: tuple[pd.DataFrame, np.ndarray], top: int = 6):
    """Grade the same vectors by a fitted classifier and by the label of the nearest training text; draw one dispute.

    ``taught`` and ``asked``: (rows with text and label, their unit vectors). The text drawn is that of which the
    classifier is surest where it is right and the nearest text wrong (else the reverse, else any). Returns (2 x 2
    table of shares, sentence, figure, table of the figure's bars).
    """
    (known, vectors), (test, new) = taught, asked
    cosines, odds = new @ vectors.T, learner.predict_proba(new)
    labels, truth = known["label"].to_numpy(), test["label"].to_numpy()
    said, found = learner.classes_[odds.argmax(1)], labels[cosines.argmax(1)]
    one, two = said == truth, found == truth
    words = {True: "right", False: "wrong"}
    shares = [(words[a], words[b], f"{np.mean((one == a) & (two == b)):.1%}") for a in words for b in words]
    tally = pd.DataFrame(shares, columns=["classifier", "nearest text", "of the test texts"])
    case = int(np.argmax(odds.max(1) + 2 * (one & ~two) + (two & ~one)))
    best, near = np.argsort(-odds[case])[:top], np.argsort(-cosines[case], kind="stable")[:top]
    parts = {
        "classifier: probability": (learner.classes_[best].astype(str), odds[case, best]),
        "search: cosine": ([f"{labels[i]}: {known['text'].iloc[i]}" for i in near], cosines[case, near]),
    }
    numbers = pd.concat([pd.DataFrame({"scorer": name, "what": names, "value": values.astype(float)})
                         for name, (names, values) in parts.items()], ignore_index=True)  # fmt: skip
    right = [learner.classes_[best] == truth[case], labels[near] == truth[case]]
    with style():
        figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 3.6), height_ratios=(1, 1))
        for axis, (name, (names, values)), good in zip(axes, parts.items(), right, strict=True):
            axis.barh(range(len(values)), values, 0.65, color=np.where(good, GAIN, "#D0D0D0"))
            rows(axis, range(len(values)), [text if len(text) < 62 else text[:60] + " …" for text in names])
            axis.set(xlabel=name + " (blue: the right label)", xlim=(0, 1))
    sentence = f"{test['text'].iloc[case]!r} is {truth[case]};\nclassifier {said[case]}, nearest text {found[case]}"
    return tally, sentence, _done(figure), numbers


def _name(source: str) -> str:
    return source.replace("_", "-")


def _done(figure):
    """Close a figure, so that a notebook shows it once: where it is displayed."""
    plt.close(figure)
    return figure
