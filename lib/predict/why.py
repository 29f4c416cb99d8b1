"""Why does a category help or harm a set? Explanations measured on trained models, and judged on sets left out.

A cell is a category and a set; what is to be explained is the category's main effect on the set, and how it differs
from the category's effect on other sets: every fit has the categories' means, and only what an explanation adds to
them counts. It is fitted without a set (or a type) and asked for that set. The null is that the sets' effects belong to
other sets: whole sets are exchanged, so that what the four cells of a set have in common is no evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.design import CODES
from lib.common.files import KitError
from lib.common.triplets import read_triplets
from lib.generate.overlap import words
from lib.influence.errors import main_effects
from lib.influence.outcomes import outcomes
from lib.influence.regression import adjust
from lib.influence.scores import Study
from lib.params.params import Params
from lib.predict import geometry
from lib.predict.geometry import Sample
from lib.score import hub, suites
from lib.score.encoder import Instructions
from lib.score.score import merged
from lib.score.scorefile import adapter_folder

NONE, RULER = "none", "score"
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
BEFOREHAND = ("vocabulary", "lengths")  # these need no training
MOST = 2000  # triplets of a category that are read for words and lengths


@dataclass(frozen=True)
class Truth:
    """What is to be explained: effects (sets, factors) in points, each beside the seeds whose adapters explain it."""

    name: str
    parts: tuple[tuple[tuple[int, ...], np.ndarray], ...]
    ceiling: float  # what a perfect explanation would reach: the reliability of the effects within categories


# ── what is measured ─────────────────────────────────────────────────────────────────────────────────────────
def samples(params: Params, embedder, limit: int, wanted: Sequence[str]) -> tuple[list[Sample], dict[str, str]]:
    """Return at most ``limit`` texts of each of the ``wanted`` sets, and {set left out: why}."""
    rule, found = Instructions(params.scoring.instructions, dict(params.scoring.instruction_overrides)), []
    tasks = [task for task in suites.tasks(params.scoring.suite) if task.metadata.name in wanted]
    with suites.kept_random_state():
        ready, left = hub.prepare(tasks, params.scoring.data_dir)
        for task in ready:
            name, task = task.metadata.name, suites.leaves(task)[0]
            hub.load(task)
            try:
                one = geometry.sample(
                    task, limit, lambda text, side, m=task.metadata: embedder.text_of(text, rule.of(m, side))
                )
                found.append(one if one.name == name else Sample(name, *list(vars(one).values())[1:]))
            except (LookupError, TypeError) as error:
                left[name] = f"its texts have another form ({error})"
    if len(found) < 3:
        raise KitError(f"{len(found)} sets can be looked at, and this needs three; have more in scoring.suite")
    return found, left


def own_texts(params: Params, embedder, limit: int) -> dict[str, Sample]:
    """Return {category's code: a sample of its triplets}: queries and positives of ``limit`` / 2, drawn by seed."""
    found = {}
    for category in params.study.categories:
        rows = read_triplets(params.data_dir / "triplets" / f"{category}.jsonl")
        rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:MOST]]
        texts = [text for row in rows for text in (row.query, row.positive)]
        written = [w for r in rows for w in (embedder.text_of(r.query, r.instruction), embedder.text_of(r.positive))]
        pairs = np.arange(len(texts)).reshape(-1, 2)
        found[CODES[category]] = Sample(
            CODES[category], "category", tuple(texts), tuple(written[: 2 * (limit // 2)]), pairs, pairs[:, 1]
        )
    return found


def encode(
    params: Params, embedder, sets: Sequence[Sample], own: Mapping[str, Sample], seeds, folder: Path, progress=True
) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """Return {(run, seed): {sample: vectors}} of the model without categories and of those with one; kept in folder.

    Raises KitError for an adapter that is not there.
    """
    found = {}
    for seed in seeds:
        for run in (NONE, *own):
            embedder.load_adapter(adapter_folder(params, run, seed))
            wanted = [*sets, *(own.values() if run == NONE else [own[run]])]
            with merged(embedder):
                found[run, seed] = geometry.vectors(embedder, wanted, folder / f"{run}-seed{seed}.npz", progress)
    return found


def cells(study: Study, sets: Sequence[Sample], own: Mapping[str, Sample], found: Mapping) -> pd.DataFrame:
    """Return one row per set, category and seed: the explanations, and ``score``, the change of score in points."""
    scores = dict(zip(zip(study.runs["subset"], study.runs["seed"], strict=True), 100 * study.y, strict=True))
    known = {code: {word for text in one.texts for word in words(text)} for code, one in own.items()}
    rows = []
    for one in sets:
        at, vocabulary = study.tasks.index(one.name), {word for text in one.texts for word in words(text)}
        for seed in dict.fromkeys(seed for _, seed in found):
            before, here = found[NONE, seed], _state(one, found[NONE, seed][one.name])
            for code, its in own.items():
                after = found[code, seed]
                moved, was = after[one.name], before[one.name]
                rows.append(
                    {"task": one.name, "type": one.type, "factor": code, "seed": seed,
                     "vocabulary": len(vocabulary & known[code]) / max(len(vocabulary), 1),
                     "lengths": float(np.linalg.norm(_shape(one) - _shape(its))),
                     **{name: value - here[name] for name, value in _state(one, moved).items()},
                     "drift": 1 - geometry.cka(was, moved),
                     "agreement": geometry.agreement(was, moved, one.pairs),
                     "spill-over": geometry.spill(moved - was, after[code] - before[code]),
                     RULER: scores[code, seed][at] - scores[NONE, seed][at]}  # fmt: skip
                )
    return pd.DataFrame(rows)


def _state(one: Sample, vectors: np.ndarray) -> dict[str, float]:
    return {
        "alignment": geometry.alignment(vectors, one.pairs),
        "uniformity": geometry.uniformity(vectors),
        "anisotropy": geometry.anisotropy(vectors),
        "length bias": geometry.length_bias(vectors, one.words),
    }


def _shape(one: Sample) -> np.ndarray:
    """Mean log words of the first and the second texts of the pairs."""
    return np.log(one.words)[one.pairs].mean(axis=0)


# ── how it is judged ─────────────────────────────────────────────────────────────────────────────────────────
def truths(study: Study, tasks: Sequence[str], seeds: Sequence[int], second: pd.DataFrame | None = None) -> list[Truth]:
    """Return the effects to be explained: of all runs, of runs with other seeds than the adapters, of a second study.

    The last two share no run with what explains them. ``second``: rows of ``lib.influence.replication`` (or None).
    """
    at, y = [study.tasks.index(task) for task in tasks], outcomes(study).y
    whole = main_effects(study, y)
    found = [Truth("these runs", ((tuple(seeds), whole.effect.T[at]),), _own_reliability(whole, at))]
    ran = study.runs["seed"].to_numpy()
    apart = {seed: main_effects(study.only(ran != seed), y[ran != seed]).effect.T[at] for seed in seeds if set(ran) - {seed}}
    if len(apart) > 1:
        one, two = list(apart.values())[:2]
        half = max(_within(one, two), 0.0)
        found[0] = Truth("these runs", found[0].parts, 2 * half / (1 + half))
        found.append(Truth("other seeds", tuple(((seed,), effect) for seed, effect in apart.items()), half))
    if second is not None:
        wide = second[second["level"] == "task"].pivot(index="task", columns="factor", values="second")
        again = wide.reindex(index=list(tasks), columns=list(study.factors)).to_numpy(float)
        r = max(_within(found[0].parts[0][1], again), 0.0)
        found[0] = Truth("these runs", found[0].parts, r)
        found.append(Truth("second study", ((tuple(seeds), again),), r))
    return found


def _within(one: np.ndarray, two: np.ndarray) -> float:
    """Correlation over cells (sets, factors), the categories' means taken out."""
    return float(np.corrcoef((one - one.mean(axis=0)).ravel(), (two - two.mean(axis=0)).ravel())[0, 1])


def _own_reliability(found, at) -> float:
    effect, se = found.effect[:, at], found.se[:, at]
    return float(max(0.0, 1 - (se**2).mean() / effect.var(axis=1, ddof=1).mean()))


def wide(table: pd.DataFrame, name: str, seeds: Sequence[int], tasks, factors) -> np.ndarray:
    """Return a column of ``cells`` as (sets, factors), the mean over seeds."""
    part = table[table["seed"].isin(seeds)].groupby(["task", "factor"])[name].mean().unstack()
    return part.reindex(index=list(tasks), columns=list(factors)).to_numpy(float)


def rows_of(level: str, table: np.ndarray, types: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows, factors) and each row's stratum, of types with two sets or more: their sets, or their means.

    ``table``: (sets, factors). At level "sets" a stratum is a type; at "types" all rows are one.
    """
    kind, count = np.unique(types, return_inverse=True, return_counts=True)[1:]
    kept = [i for i in range(len(count)) if count[i] > 1]
    if level == "sets":
        rows = np.isin(kind, kept)
        return table[rows], kind[rows]
    return np.array([table[kind == i].mean(axis=0) for i in kept]), np.zeros(len(kept), int)


def left_out(x: np.ndarray | None, strata: np.ndarray, factors: int) -> np.ndarray:
    """Return the matrix (n, n) that turns effects (rows x factors, flat) into errors of predicting rows left out.

    The model is a mean per stratum and factor, and one slope for ``x`` (rows, factors; None: means alone). The cells of
    a row are predicted by the fit without that row.
    """
    rows = len(strata)
    design = np.kron(strata[:, None] == np.unique(strata), np.eye(factors))
    if x is not None:
        x = _centred(x, strata).ravel()
        design = np.column_stack([design, x / max(float(x.std()), 1e-12)])
    rest = np.eye(rows * factors) - design @ np.linalg.pinv(design)
    own = rest.reshape(rows, factors, rows, factors)[np.arange(rows), :, np.arange(rows)]
    return (np.linalg.pinv(own) @ rest.reshape(rows, factors, -1)).reshape(rest.shape)


def judge(
    explanations: Mapping[str, Sequence[np.ndarray]], effects: Sequence[np.ndarray], strata, draws: int = 4999, seed=0
) -> pd.DataFrame:
    """Return one row per explanation: ``r2`` on rows left out, its null, and p for "no better than by chance".

    ``explanations``: {name: one (rows, factors) array beside each of ``effects``}; r2 is 1 - squared error / that of the
    means (below 0: worse than these), averaged over the pairs. ``null``: its 95th percentile where the rows of a stratum
    have exchanged their effects; ``p_holm``: over all explanations but the RULER. ``slope``: points per standard
    deviation, over all rows.
    """
    strata, (count, factors), rng = np.asarray(strata), effects[0].shape, np.random.default_rng(seed)
    keys = rng.random((draws, count)) + strata  # sorted within strata: a random order of each stratum's rows
    home = np.argsort(strata, kind="stable")
    orders = np.empty((draws + 1, count), int)
    orders[:, home] = np.vstack([home, np.argsort(keys, axis=1)])
    shuffled = [effect[orders].reshape(len(orders), -1).T for effect in effects]
    means = [((left_out(None, strata, factors) @ y) ** 2).sum(axis=0) for y in shuffled]
    rows = []
    for name, xs in explanations.items():
        left = [((left_out(x, strata, factors) @ y) ** 2).sum(axis=0) for x, y in zip(xs, shuffled, strict=True)]
        r2 = np.mean([1 - a / b for a, b in zip(left, means, strict=True)], axis=0)
        slope = np.mean([_slope(_centred(x, strata), _centred(y, strata)) for x, y in zip(xs, effects, strict=True)])
        p = float((r2 >= r2[0] - 1e-12).mean())
        rows.append({"explanation": name, "r2": r2[0], "null": np.quantile(r2[1:], 0.95), "p": p, "slope": slope})
    table = pd.DataFrame(rows)
    own = table["explanation"] != RULER
    return table.assign(p_holm=pd.Series(adjust(table.loc[own, "p"], "holm"), table.index[own]))


def _centred(table: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """A table (rows, factors) without the means of each stratum and factor."""
    which = strata[:, None] == np.unique(strata)
    return table - which @ (which.T @ table / which.sum(axis=0)[:, None])


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float((x * y).sum() / max(x.std(), 1e-12) / x.size)
