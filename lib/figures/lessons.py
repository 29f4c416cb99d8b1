"""Pictures of notebooks 03 and 04, which explain one run: a batch and its push, padding, the loss, two scorers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from scipy.stats import binomtest

from lib.common.design import CODES, POINTS
from lib.embedder.packing import padding_table
from lib.figures.base import GAIN, INK, LOSS, NEUTRAL, WIDTH, heights, mark, points, rows, style
from lib.figures.matrix import diverging, frame, heatmap
from lib.figures.texts import CATEGORY_COLOURS, by_type
from lib.train import fixed

PUSH_FORMATS = {"temperature": "{:g}"} | dict.fromkeys(("right answer", "nearest wrong one", "nearest three"), "{:.0%}")
_KINDS = {"other positive": "#56B4E9", "other hard negative": NEUTRAL, "own hard negative": LOSS}


@style()
def matrix_picture(panels: Mapping[str, np.ndarray], count: int, size: int = 10):
    """Draw {title: (n, count + m) matrix} of ``size`` queries with positives (left) and hard negatives (right).

    Values from 0 to 1 in blue; a title with "change" gets a scale of its own. Boxes are the right pairs.
    """
    size = min(size, count)
    figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, 0.45 + 1.75 * len(panels)), squeeze=False)
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


@style()
def padding_picture(embedder, pools: Mapping[str, Sequence], max_length: int, count: int = 150, budget: int = 1024):
    """Draw tokens computed per real token for each way of batching ``count`` triplets of every source."""
    table = {}
    for source, pool in pools.items():
        texts = [text for t in pool[:count] for text in (t.query, t.positive, t.negative) if text]
        lengths = [len(row) for row in embedder.tokenize(texts, max_length)]
        table[source.replace("_", "-")] = padding_table(lengths, budget)
    table = pd.DataFrame(table)
    table = table.rename_axis("way").reset_index().melt("way", var_name="source", value_name="tokens")
    figure, axis = plt.subplots(figsize=(WIDTH + 1, 2.6))
    look = {"palette": [LOSS, "#E69F00", "#56B4E9", GAIN], "saturation": 1, "width": 0.84, "gap": 0.08}
    sns.barplot(table, x="source", y="tokens", hue="way", ax=axis, **look)
    for bars in axis.containers:
        axis.bar_label(bars, fmt="%.1f", fontsize=7)
    axis.axhline(1, color=INK, linewidth=0.7)
    axis.set(xlabel="", ylabel="tokens computed per real token")
    axis.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.2))
    return _done(figure)


@style()
def loss_picture(log: Sequence[Mapping], before: Mapping[str, float], after: Mapping[str, float], unseen: Mapping):
    """Draw every step's loss, and per source a fixed batch's before and after, with its triplets not trained on."""
    shades = {source.replace("_", "-"): CATEGORY_COLOURS.get(CODES.get(source, source), NEUTRAL) for source in before}
    steps = pd.DataFrame(list(log)).assign(source=lambda t: t["source"].str.replace("_", "-"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 1, 2.9), width_ratios=(1.15, 1))
    look = {"hue_order": list(shades), "palette": shades, "s": 24, "linewidth": 0}
    sns.scatterplot(steps, x="step", y="loss", hue="source", ax=left, **look)
    left.set(xlabel="optimizer step", ylabel="loss of the batch", ylim=(0, None))
    left.set_title("in training: every batch is another test")
    left.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.24), columnspacing=1, handletextpad=0.2)
    for y, ((source, one), shade) in enumerate(zip(before.items(), shades.values(), strict=True)):
        arrow = {"arrowstyle": "-|>", "color": shade, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
        right.annotate("", (after[source], y), (one, y), arrowprops=arrow)
        told = f"{one:.2f} to {after[source]:.2f}"
        right.text((one + after[source]) / 2, y - 0.22, told, fontsize=7, ha="center")
    points(right, list(before.values()), range(len(before)), list(shades.values()), False, s=25, linewidth=1)
    values = [*before.values(), *after.values()]
    room = 0.15 * max(max(values) - min(values), 0.1)
    rows(right, range(len(before)), [f"{source.replace('_', '-')}\n({unseen[source]} unseen)" for source in before])
    right.set(xlabel="loss", xlim=(max(0.0, min(values) - room), max(values) + room))
    right.set_title("the same fixed batch, before to after")
    return _done(figure)


@style()
def bars(table: pd.DataFrame):
    """Draw changes against the untrained base per set, with their intervals: see ``lib.score.comparison.changes``."""
    table = by_type(table, "task")
    change, low, high = (POINTS * table[name] for name in ("change", "low", "high"))
    clear, y = (low > 0) | (high < 0), heights(table["type"])
    figure, axis = plt.subplots(figsize=(WIDTH, 0.8 + 0.2 * y.max()))
    axis.barh(y, change, 0.65, color=np.select([clear & (change > 0), clear], [GAIN, LOSS], "#D0D0D0"), alpha=0.8)
    axis.hlines(y, low, high, color=INK, linewidth=0.8)
    axis.axvline(0, color=INK, linewidth=0.7)
    axis.set_xlabel("change against the untrained base, points (line: 95 % interval; pale grey bar: it holds 0)")
    rows(axis, y, table["task"], types=table["type"])
    return figure


def push_table(batch: fixed.Vectors, temperatures: Sequence[float]) -> pd.DataFrame:
    """Return how the push on wrong answers is shared out (see ``fixed.push``), with and without hard negatives."""
    choices = {"all": batch.cosines, "positives only": batch.cosines[:, : len(batch.positives)]}
    rows = [(name, tau, *fixed.push(cosines, tau)) for name, cosines in choices.items() for tau in temperatures]
    return pd.DataFrame(rows, columns=["choices", *PUSH_FORMATS])


@style()
def push_picture(batch: fixed.Vectors, held: fixed.Held, temperatures: Sequence[float]):
    """Draw the gradient of the loss for every wrong answer of a fixed batch, p / temperature, against its cosine."""
    count, hard = len(batch.queries), [i for i, triplet in enumerate(held.triplets) if triplet.negative]
    own = np.r_[np.arange(count), hard] == np.arange(count)[:, None]
    wrong = ~np.eye(*own.shape, dtype=bool)
    kind = np.where(np.arange(own.shape[1]) < count, 0, 1 + own)[wrong]
    columns = {f"push at {t:g}": fixed.softmax(batch.cosines.astype(float), t)[wrong] / t for t in temperatures}
    table = pd.DataFrame({"query": np.nonzero(wrong)[0], "kind": np.array(list(_KINDS))[kind]})
    table = table.assign(cosine=batch.cosines[wrong].astype(float).round(4), **columns)
    figure, axes = plt.subplots(1, len(columns), figsize=(WIDTH + 1, 3.2), sharey=True, squeeze=False)
    shown, look = table.iloc[np.argsort(kind, kind="stable")], {"palette": _KINDS, "s": 9, "linewidth": 0}
    for axis, tau, column in zip(axes[0], temperatures, columns, strict=True):
        sns.scatterplot(shown, x="cosine", y=column, hue="kind", ax=axis, legend=False, rasterized=True, **look)
        share = table[column][kind == 2].sum() / table[column].sum()
        told = f"{(kind == 2).mean():.1%} of the wrong answers, {share:.0%} of the push"
        axis.set_title(f"temperature {tau:g}: own hard negatives are\n{told}")
        axis.set(yscale="log", xlabel="cosine of query and wrong answer")
        axis.set_ylabel("push per unit of cosine, p / temperature")
    pushes = table[list(columns)].to_numpy()
    axes[0, 0].set_ylim(max(1e-9, pushes.min() / 2), 2 * pushes.max())
    figure.legend(handles=[mark(*each) for each in _KINDS.items()], loc="outside lower center", ncols=3)
    return _done(figure), table.assign(**{name: table[name].map("{:.4g}".format).astype(float) for name in columns})


@style()
def two_scorers(learner, taught: tuple[pd.DataFrame, np.ndarray], asked: tuple[pd.DataFrame, np.ndarray], top: int = 6):
    """Grade the same vectors by a fitted classifier and by the label of the nearest training text; draw one dispute.

    ``taught`` and ``asked``: (rows with text, label and label_text, their unit vectors). Returns (2 x 2 table of texts,
    sentences, figure, table of the figure's bars).
    """
    (known, vectors), (test, new) = taught, asked
    name = dict(zip(known["label"], known.get("label_text", known["label"].astype(str)), strict=True))
    cosines, odds = new @ vectors.T, learner.predict_proba(new)
    labels, truth = known["label"].to_numpy(), test["label"].to_numpy()
    said, found = learner.classes_[odds.argmax(1)], labels[cosines.argmax(1)]
    one, two = said == truth, found == truth
    words = {True: "right", False: "wrong"}
    counts = [(words[a], words[b], int(np.sum((one == a) & (two == b)))) for a in words for b in words]
    # the surest of those that only the classifier gets right, else only the search, else any
    case = int(np.argmax(odds.max(1) + 2 * (one & ~two) + (two & ~one)))
    best, near = np.argsort(-odds[case])[:top], np.argsort(-cosines[case], kind="stable")[:top]
    classes, texts = learner.classes_[best], [f"{name[labels[i]]}: {known['text'].iloc[i]}" for i in near]
    sides = {"scorer": "classifier, probability of the label", "what": [name[each] for each in classes]}
    left = pd.DataFrame(sides | {"value": odds[case, best], "right": classes == truth[case]})
    sides = {"scorer": "search, cosine to the training text", "what": texts}
    sides |= {"value": cosines[case, near].astype(float), "right": labels[near] == truth[case]}
    table = pd.concat([left, pd.DataFrame(sides)], ignore_index=True)
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 3.4), sharex=True)
    for axis, (side, own) in zip(axes, table.groupby("scorer"), strict=True):
        axis.barh(range(len(own)), own["value"], 0.65, color=np.where(own["right"], GAIN, "#D0D0D0"))
        rows(axis, range(len(own)), [text if len(text) < 58 else text[:56] + " …" for text in own["what"]])
        axis.set_title(f"{side} (blue: right)")
    few, differ = min(counts[1][2], counts[2][2]), counts[1][2] + counts[2][2]
    chance = binomtest(few, differ).pvalue if differ else 1.0
    told = f"{test['text'].iloc[case]!r} is {name[truth[case]]}; classifier {name[said[case]]}, search "
    told += f"{name[found[case]]}\nthey differ in who is right on {differ} of {len(test)} texts (equally often each: "
    tally = pd.DataFrame(counts, columns=["classifier", "nearest text", "texts"])
    return tally, f"{told}p = {chance:.1g})", _done(figure), table.drop(columns="right")


def _done(figure):
    """Close a figure, so that a notebook shows it once: where it is displayed."""
    plt.close(figure)
    return figure
