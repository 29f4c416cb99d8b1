"""Inspection: what the generated data are, for one generator or several side by side, in tables and single examples.

Everything is computed from a run's ``responses/`` (raw answers) and ``triplets/`` (what is trained on). The funnel is
run again rather than read back, so it also checks what was written.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.bundled import ROOT
from lib.common.design import CODES, LABELS, Triplet, read_triplets
from lib.common.files import KitError, read_json, read_jsonl, write_json
from lib.generate.cleaning import LANGUAGES, REASONS, clean, detect, judgeable, wanted
from lib.generate.overlap import count_words, find, overlap, shingles
from lib.generate.parsing import Rejection, read_answer, to_triplets
from lib.params.params import Params

STAGES = ("asked", "parsed", "rules", "duplicates", "contamination", "kept")


def folders(params: Params, compare: Sequence[str] = ()) -> dict[str, Path]:
    """Return {generator: data folder} of this run and of those to compare with (profiles or folders)."""
    found: dict[str, Path] = {}
    for entry in ("", *compare):
        near = [ROOT / entry, ROOT / params.paths.runs / entry / "data"] if entry else [params.data_dir]
        folder = next((place for place in near if (place / "triplets").is_dir()), None)
        if folder is None:
            raise KitError(f"there are no triplets in {near[-1]}; run notebook 01 for that profile first")
        report = folder / "generation.json"
        name = read_json(report)["generator"] if report.exists() else folder.parent.name
        name = "bundled answers" if name == "replay" else name.split("/")[-1]
        found[f"{name} ({folder.parent.name})" if name in found else name] = folder
    return found


def _written(folder: Path) -> list[tuple[str, Triplet]]:
    """Return (category, triplet) of all triplets of a data folder, categories in the kit's order."""
    paths = {category: folder / "triplets" / f"{category}.jsonl" for category in CODES}
    return [(name, triplet) for name, path in paths.items() if path.exists() for triplet in read_triplets(path)]


def _answers(folder: Path, category: str) -> list[dict]:
    path = folder / "responses" / f"{category}.jsonl"
    return read_jsonl(path) if path.exists() else []


def load(places: Mapping[str, Path]) -> pd.DataFrame:
    """Return one row per triplet of every generator.

    Columns: generator, code, category, task, language, id, query, positive, negative, their word counts words_query and
    so on (0: no negative), and overlap_positive, overlap_negative (``overlap`` with the query).
    """
    rows = [
        {"generator": name, "code": CODES[category], "category": LABELS[category], "task": t.instruction}
        | {key: getattr(t, key) for key in ("language", "id", "query", "positive", "negative")}
        for name, folder in places.items()
        for category, t in _written(folder)
    ]
    if not rows:
        raise KitError("the triplet files are empty; run notebook 01 again")
    data = pd.DataFrame(rows)
    for name in ("query", "positive", "negative"):
        data[f"words_{name}"] = data[name].map(count_words)
    for name in ("positive", "negative"):
        pairs = zip(data["query"], data[name], strict=True)
        data[f"overlap_{name}"] = [overlap(query, text) if text else np.nan for query, text in pairs]
    return data


def counts(data: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's Table 2 for this data: per generator and category examples, tasks, languages, mean lengths."""
    table = data.groupby(["generator", "category"], sort=False).agg(
        examples=("id", "size"),
        tasks=("task", "nunique"),
        # a translation names two languages
        languages=("language", lambda names: len({one for both in names for one in both.split(" -> ")})),
        query_words=("words_query", "mean"),
        positive_words=("words_positive", "mean"),
        **{"with negative": ("negative", lambda texts: int((texts != "").sum()))},
    )
    return table.round(1).reset_index()


def funnel(places: Mapping[str, Path], params: Params, suites: Mapping) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Parse and clean every raw answer again; return (stages, rejected, reports).

    stages: what is left after each of STAGES, a row per generator and category. rejected: one row per rejected answer
    (generator, category, id, reason, meaning, detail). reports: {generator: {category: ``clean``'s + ``kept_ids``}}.
    """
    stages, rejected, reports = [], [], {generator: {} for generator in places}
    for generator, folder in places.items():
        for category in CODES:
            rows, unread, triplets = _answers(folder, category), [], folder / "triplets" / f"{category}.jsonl"
            if rows:
                slots = {row["id"]: row["slots"] for row in rows}
                kept, report = clean(to_triplets(category, rows)[0], params.cleaning, slots, suites)
                read = [(row["id"], read_answer(category, row)) for row in rows]
                unread = [{"id": name, **asdict(answer)} for name, answer in read if isinstance(answer, Rejection)]
            elif triplets.exists():  # released by others: no answers to read again, the report is notebook 01's
                kept, report = read_triplets(triplets), read_json(folder / "cleaning" / f"{category}.json")
            else:
                continue
            reports[generator][category] = {**report, "kept_ids": [triplet.id for triplet in kept]}
            named = {"generator": generator, "code": CODES[category], "category": LABELS[category]}
            parsed, lost = report["asked"], Counter(report["reasons"])
            left = parsed - lost.total()
            single = left + lost["contaminated"]
            ruled = single + lost["duplicate"] + lost["near_duplicate"]
            steps = (parsed + len(unread), parsed, ruled, single, left, left)
            stages.append(named | dict(zip(STAGES, steps, strict=True)))
            rejected += [{**named, **row, "meaning": "the answer cannot be read"} for row in unread]
            rejected += [{**row, **named, "meaning": REASONS[row["reason"]]} for row in report["rejected"]]
    rejected = pd.DataFrame(rejected, columns=["generator", "category", "id", "reason", "meaning", "detail"])
    return pd.DataFrame(stages), rejected, reports


def contamination(reports: Mapping[str, Mapping[str, dict]]) -> pd.DataFrame:
    """Return per generator and evaluation set: its texts, how many are touched, by how many triplets, an example."""
    rows = [
        (generator, name, found["texts"], found["texts_touched"], found["triplets"], found["example"])
        for generator, by_category in reports.items()
        for report in by_category.values()
        for name, found in report["contamination"].items()
    ]
    how = {"texts": "first", "texts touched": "sum", "triplets": "sum"}
    how["shared words"] = lambda found: next(filter(None, found), "")
    table = pd.DataFrame(rows, columns=["generator", "set", *how])
    return table.groupby(["generator", "set"], sort=False).agg(how).reset_index()


def shared_runs(places: Mapping[str, Path], suites: Mapping[str, Sequence[str]], n: int) -> pd.DataFrame:
    """Return (generator, set, triplets that share a run of ``n`` words with it) for the triplets on disk."""
    rows = []
    for generator, folder in places.items():
        sets = find([triplet for _, triplet in _written(folder)], suites, n)[1]
        rows += [(generator, name, row["triplets"]) for name, row in sets.items()]
    return pd.DataFrame(rows, columns=["generator", "set", f"triplets, runs of {n}"])


def write(path: str | Path, stages: pd.DataFrame, rejected: pd.DataFrame, sets: pd.DataFrame) -> Path:
    """Write what the inspection found as JSON: the funnel, the reasons, the contamination per set. Returns the path."""
    reasons = rejected.groupby(["generator", "category", "reason"], sort=False).size().rename("answers").reset_index()
    tables = {"funnel": stages, "rejected": reasons, "contamination": sets}
    return write_json(path, {name: table.to_dict("records") for name, table in tables.items()})


def slot_lengths(places: Mapping[str, Path]) -> pd.DataFrame:
    """Return one row per text whose prompt asked for a length, in ``asked``: ``low`` to ``high`` words.

    Columns: generator, code, category, text (query, positive, negative), slot, asked, low, high, words, fits.
    """
    rows = []
    for generator, folder in places.items():
        slots = {row["id"]: row["slots"] for category in CODES for row in _answers(folder, category)}
        for category, triplet in _written(folder):
            given = slots.get(triplet.id, {})
            for part, slot, (low, high) in wanted(category, given):  # which name no negative that is mined
                if words := count_words(getattr(triplet, part)):
                    row = (generator, CODES[category], LABELS[category], part, slot, str(given[slot]), low, high, words)
                    rows.append((*row, low <= words <= high))
    columns = "generator code category text slot asked low high words fits".split()
    return pd.DataFrame(rows, columns=columns)


def languages(data: pd.DataFrame, min_chars: int = 60) -> pd.DataFrame:
    """Return per generator and language: ``texts`` asked for, ``judged`` (long enough, language known), ``agree``."""
    rows = []
    for row in data.itertuples():
        source, _, target = row.language.partition(" -> ")
        for text, language in ((row.query, source), (row.positive, target or source)):
            judged = language in LANGUAGES and judgeable(text, min_chars)
            agree = judged and detect(text) in LANGUAGES[language]
            rows.append((row.generator, language or "not stated", 1, judged, agree))
    names = ["generator", "language", "texts", "judged", "agree"]
    table = pd.DataFrame(rows, columns=names).groupby(names[:2], sort=False).sum().astype(int).reset_index()
    table["generator"] = pd.Categorical(table["generator"], data["generator"].unique())
    table = table.sort_values(["generator", "texts", "language"], ascending=[True, False, True], ignore_index=True)
    return table.astype({"generator": str})


def closest(data: pd.DataFrame, threshold: float = 0.25, limit: int = 5000) -> pd.DataFrame:
    """Return the most similar pair of each generator's and category's first ``limit`` examples, from ``threshold`` on.

    Exact Jaccard similarity of word trigrams; cleaning has removed pairs above ``cleaning.near_duplicate``.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    rows = []
    for (generator, category), part in data.groupby(["generator", "category"], sort=False):
        part = part.head(limit)
        texts = list(part["query"] + "\n" + part["positive"])
        members = CountVectorizer(analyzer=shingles, dtype=np.int32).fit_transform(texts)
        sizes, both = members.sum(axis=1).A1, (members @ members.T).tocoo()
        one, other, shared = both.row, both.col, both.data
        score = np.where(one < other, shared / (sizes[one] + sizes[other] - shared), 0.0)
        best = np.lexsort((other, one, -score))[0]
        if score[best] >= threshold:
            i, j = one[best], other[best]
            rows.append((generator, category, round(score[best], 2), texts[i][:90], texts[j][:90]))
    return pd.DataFrame(rows, columns=["generator", "category", "similarity", "one", "other"])


def corrupt(triplets: Sequence[Triplet], n: int = 12, seed: int = 0) -> tuple[list[Triplet], dict[int, str]]:
    """Return a copy with ``n`` triplets corrupted in known ways, and {position: reason that must be found}."""
    copy, expected = list(triplets), {}
    for number, position in enumerate(sorted(random.Random(seed).sample(range(len(copy)), min(n, len(copy))))):
        triplet = copy[position]
        reason, change = (
            ("refusal", {"positive": "I'm sorry, but I can't help with that."}),
            ("query_equals_positive", {"positive": triplet.query}),
            ("positive_equals_negative", {"negative": triplet.positive.upper()}),
            ("empty", {"query": " ... "}),
        )[number % 4]
        copy[position], expected[position] = replace(triplet, **change), reason
    return copy, expected


def page(data: pd.DataFrame, n: int = 1, seed: int = 0) -> str:
    """Return ``n`` random examples per category as Markdown, generators one after the other, to be read."""
    blocks = []
    for code in CODES.values():
        for generator, part in data[data["code"] == code].groupby("generator", sort=False):
            for row in part.sample(min(n, len(part)), random_state=seed).to_dict("records"):
                lines = [f"**{row['category']}**, {generator}, `{row['id']}`, {row['language']}\n\n*{row['task']}*\n"]
                for name in ("query", "positive", "negative"):
                    text = " ".join(row[name].split()) or "none, in-batch negatives only"
                    lines.append(f"- **{name}** ({row[f'words_{name}']} words): {text}")
                blocks.append("\n".join(lines))
    return "\n\n---\n\n".join(blocks)


def word_cheats(data: pd.DataFrame) -> pd.DataFrame:
    """Return how often a positive shares more words (or fewer) with the query than its negative; a tie is neither.

    Two rules that cannot read, per generator and category; triplets without a negative are left out.
    """
    both = data.dropna(subset=["overlap_positive", "overlap_negative"])
    gap = both["overlap_positive"] - both["overlap_negative"]
    rules = {"most words wins": gap > 0, "fewest words wins": gap < 0}
    return both.assign(**rules).groupby(["generator", "category"], sort=False)[[*rules]].mean().reset_index()
