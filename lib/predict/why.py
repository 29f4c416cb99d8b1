"""Why does a category help or harm a set? What its texts do in the model of that category alone and in that of none.

``lib.predict.explain`` judges what comes of it; ``case`` shows the texts.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.linalg import norm
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from lib.common.design import CODES, read_triplets
from lib.common.files import digest, write_bytes
from lib.generate.overlap import words
from lib.influence.scores import Study
from lib.params.params import Params
from lib.predict.explain import RULER, Truth, left_out, rows_of, wide
from lib.predict.sets import Sample
from lib.score.score import adapter_folder, merged

NONE = "none"
EXPLANATIONS = {
    "vocabulary": "share of the set's words that the category's triplets have too",
    "lengths": "how unlike in length (log words) its pairs are to the category's queries and positives",
    "alignment": "change of the distance of texts that belong together",
    "uniformity": "change of how evenly all texts are spread (higher: less)",
    "anisotropy": "change of the mean cosine of all texts",
    "length bias": "change of how far unlike lengths lie apart",
    "drift": "how much the texts moved against each other (1 - linear CKA)",
    "agreement": "whether the texts moved where their pairs want them",
    "spill-over": "whether they moved as the category's own texts did",
}


# ── measures of vectors, (n, d) unit rows ────────────────────────────────────────────────────────────────────
def spread(vectors: np.ndarray, pairs: np.ndarray, words: np.ndarray) -> dict[str, float]:
    """Return how texts lie, given ``pairs`` (m, 2) of those that belong together and their lengths ``words`` (n,).

    Alignment and uniformity are those of Wang and Isola (2020).
    """
    apart, unlike = pdist(vectors, "sqeuclidean"), pdist(np.log(words)[:, None])
    return {
        "alignment": float(((vectors[pairs[:, 0]] - vectors[pairs[:, 1]]) ** 2).sum(axis=1).mean()),  # 0, a point, to 4
        "uniformity": float(np.log(np.exp(-2 * apart).mean())),  # 0, one point, down to -4, even on the sphere
        "anisotropy": float(1 - apart.mean() / 2),  # mean cosine
        # rank correlation of distance with unlikeness of length; positive: short and long texts lie apart
        "length bias": float(spearmanr(apart, unlike).statistic) if np.ptp(unlike) > 0 else 0.0,
    }


def cka(one: np.ndarray, two: np.ndarray) -> float:
    """Return the linear CKA (Kornblith et al. 2019) of two models' vectors of the same texts: 1 for a rotation."""
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    return float(norm(one.T @ two) ** 2 / (norm(one.T @ one) * norm(two.T @ two)))


def agreement(before: np.ndarray, after: np.ndarray, pairs: np.ndarray) -> float:
    """Return the mean cosine of each text's step with the one that its set wants: to its own, away from the mean."""
    both = np.vstack([pairs, pairs[:, ::-1]])
    at, wanted = before[both[:, 0]], before[both[:, 1]] - before.mean(axis=0)
    along = wanted - (wanted * at).sum(axis=1, keepdims=True) * at  # along the sphere
    return float(_cosines((after - before)[both[:, 0]], along).mean())


def spill(step: np.ndarray, own: np.ndarray) -> float:
    """Return the cosine of the mean step of a set's texts (n, d) with that of the category's own texts (m, d)."""
    return float(_cosines(step.mean(axis=0)[None], own.mean(axis=0)[None])[0])


def _cosines(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    size = norm(one, axis=1) * norm(two, axis=1)
    return (one * two).sum(axis=1) / np.where(size > 0, size, 1)


# ── texts and vectors ────────────────────────────────────────────────────────────────────────────────────────
def own_texts(params: Params, embedder, limit: int) -> dict[str, Sample]:
    """Return {category's code: a sample of its triplets}: queries and positives of ``limit`` / 2, drawn by seed."""
    found = {}
    for category in params.study.categories:
        rows = read_triplets(params.data_dir / "triplets" / f"{category}.jsonl")
        rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:2000]]  # for words and lengths
        texts = tuple(text for row in rows for text in (row.query, row.positive))
        half = rows[: limit // 2]
        written = [w for r in half for w in (embedder.text_of(r.query, r.instruction), embedder.text_of(r.positive))]
        pairs, code = np.arange(len(texts)).reshape(-1, 2), CODES[category]
        found[code] = Sample(code, "category", texts, tuple(written), pairs, pairs[:, 1])
    return found


def encode(
    params: Params, embedder, sets: Sequence[Sample], own: Mapping[str, Sample], seeds, folder: Path
) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """Return {(run, seed): {sample: vectors}} of the model without categories and of those with one; kept in folder."""
    found = {}
    for seed, run in product(seeds, (NONE, *own)):
        embedder.load_adapter(adapter_folder(params, run, seed))
        wanted = [*sets, *(own.values() if run == NONE else [own[run]])]
        with merged(embedder):
            found[run, seed] = vectors(embedder, wanted, folder / f"{run}-seed{seed}.npz")
    return found


def vectors(embedder, samples: Sequence[Sample], path: Path) -> dict[str, np.ndarray]:
    """Return {sample: (n, d) unit vectors} by the active adapter; kept in ``path`` for the same texts and settings."""
    texts = [text for one in samples for text in one.written]
    stamp, found = digest([embedder.fingerprint(), embedder.adapter_digest(), texts]), None
    try:
        with np.load(path) as kept:
            found = kept["vectors"] if str(kept["stamp"]) == stamp else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # nothing there, or cut off
    if found is None:
        found, file = embedder.encode_written(texts, progress=True).astype(np.float16), io.BytesIO()
        np.savez(file, vectors=found, stamp=stamp)
        write_bytes(path, file.getvalue())
    found = found.astype(np.float32)
    found /= norm(found, axis=1, keepdims=True)
    ends = np.cumsum([len(one.written) for one in samples])
    return {one.name: part for one, part in zip(samples, np.split(found, ends[:-1]), strict=True)}


def cells(study: Study, sets: Sequence[Sample], own: Mapping[str, Sample], found: Mapping) -> pd.DataFrame:
    """Return one row per set, category and seed: the explanations, and ``score``, the change of score in points."""
    scores = dict(zip(zip(study.runs["subset"], study.runs["seed"], strict=True), 100 * study.y, strict=True))
    known = {code: {word for text in one.texts for word in words(text)} for code, one in own.items()}
    # mean log words of the first and the second texts of the pairs
    lengths = {one.name: np.log(one.words)[one.pairs].mean(axis=0) for one in (*sets, *own.values())}
    rows = []
    for one, seed in product(sets, dict.fromkeys(seed for _, seed in found)):
        at, vocabulary = study.tasks.index(one.name), {word for text in one.texts for word in words(text)}
        before, was = found[NONE, seed], found[NONE, seed][one.name]
        here = spread(was, one.pairs, one.words)
        for code in own:
            now = found[code, seed][one.name]
            row = {"task": one.name, "type": one.type, "factor": code, "seed": seed}
            row["vocabulary"] = len(vocabulary & known[code]) / max(len(vocabulary), 1)
            row["lengths"] = float(norm(lengths[one.name] - lengths[code]))
            row |= {name: value - here[name] for name, value in spread(now, one.pairs, one.words).items()}
            row["drift"], row["agreement"] = 1 - cka(was, now), agreement(was, now, one.pairs)
            row["spill-over"] = spill(now - was, found[code, seed][code] - before[code])
            rows.append(row | {RULER: scores[code, seed][at] - scores[NONE, seed][at]})
    return pd.DataFrame(rows)


# ── cases in full ────────────────────────────────────────────────────────────────────────────────────────────
def extremes(table: pd.DataFrame, effects: pd.DataFrame, fact: Truth, name: str, factors: Sequence[str]):
    """Return the surest help, the surest harm (by t, or effect), and the cell that ``name`` errs most on, a row each.

    ``shown`` (why), the columns of ``effects``, and what ``name`` ``predicted`` when the set was left out (points).
    """
    types = table.drop_duplicates("task")["type"]
    seeds, y = fact.parts[0]
    (y, strata), (x, _) = (rows_of("sets", part, list(types)) for part in (y, wide(table, name, seeds, factors)))
    kept = table["task"].unique()[(types.groupby(types).transform("size") > 1).to_numpy()]
    index = pd.MultiIndex.from_product([kept, factors], names=["task", "factor"])
    off = pd.Series(left_out(x, strata, len(factors)) @ y.ravel(), index, name="off")
    rows = effects[(effects["level"] == "task") & effects["task"].isin(table["task"])].set_index(["task", "factor"])
    rows = rows.join(off)
    size = rows["t"] if rows["t"].notna().any() else rows["effect"]
    sure = [size.idxmax(), size.idxmin()]
    chosen = [*sure, rows["off"].drop(sure).abs().idxmax()]
    shown = ["surest help", "surest harm", f"{name} errs most"]
    return rows.loc[chosen].assign(shown=shown, predicted=lambda r: r["effect"] - r["off"]).reset_index()


def case(one: Sample, before: Sequence[np.ndarray], after: Sequence[np.ndarray], sign: float) -> pd.DataFrame:
    """Return two texts of a set that are to find another one, and what is nearest to them without and with a category.

    By rule: the text whose right one gained (``sign`` > 0; else lost) most on all others that could be found, and the
    median text. Cosines are means over the seeds.
    """
    was, now = (np.mean([v @ v.T for v in models], axis=0) for models in (before, after))
    found = []
    for at in np.unique(one.pairs[:, 0]):
        others = one.documents[one.documents != at]
        right = one.pairs[one.pairs[:, 0] == at, 1]
        right = right[np.argmax(was[at, right])]
        gain = (now - was)[at, right] - (now - was)[at, others].mean()
        found.append((sign * gain, at, right, others))
    found.sort(key=lambda row: -row[0])
    rows = []
    for _, at, right, others in (found[0], found[len(found) // 2]):
        places = [str(1 + int((cosines[at, others] > cosines[at, right]).sum())) for cosines in (was, now)]
        nearest = [one.texts[others[np.argmax(cosines[at, others])]] for cosines in (was, now)]
        row = {"text": one.texts[at], "right": one.texts[right]}
        row |= {"cosine": f"{was[at, right]:.2f} to {now[at, right]:.2f}", "place": " to ".join(places)}
        row |= {"nearest without": nearest[0], "nearest with": nearest[1]}
        rows.append({name: text if len(text) <= 140 else f"{text[:140]} ..." for name, text in row.items()})
    return pd.DataFrame(rows)
