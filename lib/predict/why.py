"""Why does a category help or harm a set? What its texts do in the models with and without the category.

For every category and set the model trained with that category alone is compared with the one trained with none, on
the same texts (``lib.predict.geometry``). ``lib.predict.explain`` judges what comes of it; ``case`` shows the texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.design import CODES, read_triplets
from lib.common.files import KitError
from lib.generate.overlap import words
from lib.influence.scores import Study
from lib.params.params import Params
from lib.predict import geometry
from lib.predict.explain import RULER, Truth, left_out, rows_of, wide
from lib.predict.geometry import Sample
from lib.score import hub, suites
from lib.score.encoder import instruction_of
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
LONGEST = 140  # characters of a text that is shown
MOST = 2000  # triplets of a category that are read for words and lengths


# ── what is measured ─────────────────────────────────────────────────────────────────────────────────────────
def samples(params: Params, embedder, limit: int, wanted: Sequence[str]) -> tuple[list[Sample], dict[str, str]]:
    """Return at most ``limit`` texts of each of the ``wanted`` sets, and {set left out: why}."""
    mode, found = params.scoring.instructions, []
    tasks = [task for task in suites.tasks(params.scoring.suite) if task.metadata.name in wanted]
    with suites.kept_random_state():
        ready, left = hub.prepare(tasks, params.scoring.data_dir)
        for task in ready:
            name, task = task.metadata.name, suites.leaves(task)[0]
            hub.load(task)
            try:
                one = geometry.sample(
                    task,
                    limit,
                    lambda text, side, m=task.metadata: embedder.text_of(text, instruction_of(m, side, mode)),
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
                    {
                        "task": one.name,
                        "type": one.type,
                        "factor": code,
                        "seed": seed,
                        "vocabulary": len(vocabulary & known[code]) / max(len(vocabulary), 1),
                        "lengths": float(np.linalg.norm(_shape(one) - _shape(its))),
                        **{name: value - here[name] for name, value in _state(one, moved).items()},
                        "drift": 1 - geometry.cka(was, moved),
                        "agreement": geometry.agreement(was, moved, one.pairs),
                        "spill-over": geometry.spill(moved - was, after[code] - before[code]),
                        RULER: scores[code, seed][at] - scores[NONE, seed][at],
                    }  # fmt: skip
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


# ── cases in full ────────────────────────────────────────────────────────────────────────────────────────────
def extremes(table: pd.DataFrame, effects: pd.DataFrame, fact: Truth, name: str, factors: Sequence[str]):
    """Return three cells to look at: the surest help, the surest harm, and the one that ``name`` gets most wrong.

    One row each: ``shown`` (why), the columns of ``lib.influence.effects``, and what ``name`` ``predicted`` of the set
    when it was left out (points; NaN for the only set of a type). Surest: the largest and the smallest t (effect, where
    there are no errors).
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
    words = ["surest help", "surest harm", f"{name} errs most"]
    return rows.loc[chosen].assign(shown=words, predicted=lambda r: r["effect"] - r["off"]).reset_index()


def case(one: Sample, before: Sequence[np.ndarray], after: Sequence[np.ndarray], sign: float) -> pd.DataFrame:
    """Return two texts of a set that are to find another one, and what is nearest to them without and with a category.

    Cosines are means over the seeds. By rule: the text whose right one gained (``sign`` > 0; else lost) most on all
    others that could be found, and the median text. Columns: text, right, cosine, place (before and after, as text),
    nearest without, nearest with.
    """
    was, now = (np.mean([v @ v.T for v in models], axis=0) for models in (before, after))
    rows = []
    for at in np.unique(one.pairs[:, 0]):
        others = one.documents[one.documents != at]
        right = one.pairs[one.pairs[:, 0] == at, 1]
        right = right[np.argmax(was[at, right])]
        gain = (now - was)[at, right] - (now - was)[at, others].mean()
        rows.append((sign * gain, at, right, others))
    rows.sort(key=lambda row: -row[0])
    return pd.DataFrame([_told(one, was, now, *row[1:]) for row in (rows[0], rows[len(rows) // 2])])


def _told(one: Sample, was: np.ndarray, now: np.ndarray, at: int, right: int, others: np.ndarray) -> dict[str, str]:
    place = [1 + int((cosines[at, others] > cosines[at, right]).sum()) for cosines in (was, now)]
    nearest = [one.texts[others[np.argmax(cosines[at, others])]] for cosines in (was, now)]
    found = {
        "text": one.texts[at],
        "right": one.texts[right],
        "cosine": f"{was[at, right]:.2f} to {now[at, right]:.2f}",
    }
    found |= {"place": f"{place[0]} to {place[1]}", "nearest without": nearest[0], "nearest with": nearest[1]}
    return {name: text if len(text) <= LONGEST else f"{text[:LONGEST]} ..." for name, text in found.items()}
