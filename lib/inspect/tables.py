"""Inspection: tables that say what the generated data are, for one generator or several side by side.

Everything is computed from the files of a run's data folder: ``responses/`` (raw answers) and ``triplets/`` (what
is trained on). The rejection funnel is run again rather than read back, so it also checks what was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lib.common.bundled import ROOT
from lib.common.design import CODES, LABELS, Triplet, read_triplets
from lib.common.files import KitError, read_json, read_jsonl, write_json
from lib.generate.cleaning import LANGUAGES, REASONS, clean, detect, judgeable, wanted
from lib.generate.overlap import count_words, find, overlap
from lib.generate.parsing import Rejection, read_answer, to_triplets

if TYPE_CHECKING:
    from lib.params.params import Params

STAGES = ("asked", "parsed", "rules", "duplicates", "contamination", "kept")


def folders(params: Params, compare: Sequence[str] = ()) -> dict[str, Path]:
    """Return {generator: data folder} of this run and of those to compare with (profiles or folders).

    Raises KitError when a folder holds no triplets.
    """
    found: dict[str, Path] = {}
    for entry in ("", *compare):
        near = [Path(entry), ROOT / entry, ROOT / params.paths.runs / entry / "data"] if entry else [params.data_dir]
        folder = next((place for place in near if (place / "triplets").is_dir()), None)
        if folder is None:
            raise KitError(f"there are no triplets in {near[-1]}; run notebook 01 for that profile first")
        report = folder / "generation.json"
        name = read_json(report)["generator"] if report.exists() else folder.parent.name
        name = "bundled answers" if name == "replay" else name.split("/")[-1]
        found[f"{name} ({folder.parent.name})" if name in found else name] = folder
    return found


def written(folder: Path) -> Iterator[tuple[str, Triplet]]:
    """Yield (category, triplet) of all triplets of a data folder, categories in the kit's order."""
    for category in CODES:
        path = folder / "triplets" / f"{category}.jsonl"
        if path.exists():
            yield from ((category, triplet) for triplet in read_triplets(path))


def load(places: Mapping[str, Path]) -> pd.DataFrame:
    """Return one row per triplet of every generator.

    Columns: generator, code, category, task, language, id, query, positive, negative, their word counts words_query and
    so on (0: no negative), and overlap_positive, overlap_negative: the share of the shorter text's words that the query
    and either have in common.
    """
    found = [(name, category, triplet) for name, folder in places.items() for category, triplet in written(folder)]
    if not found:
        raise KitError("the triplet files are empty; run notebook 01 again")
    columns = ["generator", "code", "category", "task", "language", "id", "query", "positive", "negative"]
    data = pd.DataFrame(
        [
            (name, CODES[category], LABELS[category], t.instruction, t.language, t.id, t.query, t.positive, t.negative)
            for name, category, t in found
        ],
        columns=columns,
    )
    for name in ("query", "positive", "negative"):
        data[f"words_{name}"] = data[name].map(count_words)
    data["overlap_positive"] = [overlap(t.query, t.positive) for *_, t in found]
    data["overlap_negative"] = [overlap(t.query, t.negative) if t.negative else np.nan for *_, t in found]
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


def funnel(
    places: Mapping[str, Path], params: Params, suites: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, dict[str, dict]]]:
    """Parse and clean every raw answer again, and count what is left after each stage.

    Returns (stages, rejected, reports). stages: one row per generator and category with the counts of STAGES.
    rejected: one row per rejected answer (generator, category, id, reason, meaning, detail). reports:
    {generator: {category: report of ``lib.generate.cleaning.clean``, plus ``kept_ids``}}.
    """
    stages, rejected, reports = [], [], {generator: {} for generator in places}
    for generator, folder in places.items():
        for category in CODES:
            asked, report, unread = _report(folder, category, params, suites)
            if not asked:
                continue
            reports[generator][category] = report
            named = {"generator": generator, "category": LABELS[category]}
            reasons = report["reasons"]
            copies, leaked = (
                reasons.get("duplicate", 0) + reasons.get("near_duplicate", 0),
                reasons.get("contaminated", 0),
            )
            rules = report["asked"] - (sum(reasons.values()) - copies - leaked)
            kept = rules - copies - leaked
            left = zip(STAGES, (asked, report["asked"], rules, rules - copies, kept, kept), strict=True)
            stages.append({"generator": generator, "code": CODES[category], "category": LABELS[category], **dict(left)})
            rejected += [{**named, **row, "meaning": "the answer cannot be read"} for row in unread]
            rejected += [{**row, **named, "meaning": REASONS[row["reason"]]} for row in report["rejected"]]
    rejected = pd.DataFrame(rejected, columns=["generator", "category", "id", "reason", "meaning", "detail"])
    return pd.DataFrame(stages), rejected, reports


def _report(
    folder: Path, category: str, params: Params, suites: Mapping[str, Sequence[str]]
) -> tuple[int, dict, list[dict]]:
    """Return (answers asked for, cleaning report with ``kept_ids``, answers that cannot be read) of one category.

    Triplets that others released have no answers to read again: their report is the one that notebook 01 wrote.
    """
    answers, triplets = folder / "responses" / f"{category}.jsonl", folder / "triplets" / f"{category}.jsonl"
    if answers.exists():
        rows = read_jsonl(answers)
        slots = {row["id"]: row.get("slots") or {} for row in rows}
        kept, report = clean(to_triplets(category, rows)[0], params.cleaning, slots, suites)
        read = [(row["id"], read_answer(category, row)) for row in rows]
        unread = [{"id": name, **asdict(answer)} for name, answer in read if isinstance(answer, Rejection)]
        return len(rows), {**report, "kept_ids": [triplet.id for triplet in kept]}, unread
    if not triplets.exists():
        return 0, {}, []
    report = read_json(folder / "cleaning" / f"{category}.json")
    return report["asked"], {**report, "kept_ids": [triplet.id for triplet in read_triplets(triplets)]}, []


def contamination(reports: Mapping[str, Mapping[str, dict]]) -> pd.DataFrame:
    """Return per generator and evaluation set: its texts, how many are touched, by how many triplets, an example."""
    rows = [
        (generator, name, found["texts"], found["texts_touched"], found["triplets"], found["example"])
        for generator, by_category in reports.items()
        for report in by_category.values()
        for name, found in report["contamination"].items()
    ]
    table = pd.DataFrame(rows, columns=["generator", "set", "texts", "texts touched", "triplets", "shared words"])
    how = {"texts": "first", "texts touched": "sum", "triplets": "sum"}
    how["shared words"] = lambda found: next(filter(None, found), "")
    return table.groupby(["generator", "set"], sort=False).agg(how).reset_index()


def shared_runs(places: Mapping[str, Path], suites: Mapping[str, Sequence[str]], n: int) -> pd.DataFrame:
    """Return (generator, set, triplets that share a run of ``n`` words with it) for the triplets on disk."""
    rows = []
    for generator, folder in places.items():
        sets = find([triplet for _, triplet in written(folder)], suites, n)[1]
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
        paths = [folder / "responses" / f"{category}.jsonl" for category in CODES]
        slots = {row["id"]: row.get("slots") or {} for path in paths if path.exists() for row in read_jsonl(path)}
        for category, triplet in written(folder):
            given = slots.get(triplet.id, {})
            for part, slot, (low, high) in wanted(category, given):
                words = count_words(getattr(triplet, part))
                mined = part == "negative" and category not in ("short_long", "sts", "bitext")
                if words and not mined:
                    row = (generator, CODES[category], LABELS[category], part, slot, str(given[slot]), low, high, words)
                    rows.append((*row, low <= words <= high))
    columns = ["generator", "code", "category", "text", "slot", "asked", "low", "high", "words", "fits"]
    return pd.DataFrame(rows, columns=columns)


def languages(data: pd.DataFrame, min_chars: int = 60) -> pd.DataFrame:
    """Return how often each requested language was asked for, and how often the detector agrees.

    Columns: generator, language, texts (asked for), judged (long enough, and known to the detector), agree.
    """
    rows = []
    for row in data.itertuples():
        source, _, target = row.language.partition(" -> ")
        for text, language in ((row.query, source), (row.positive, target or source)):
            judged = language in LANGUAGES and judgeable(text, min_chars)
            rows.append(
                (row.generator, language or "not stated", 1, judged, judged and detect(text) in LANGUAGES[language])
            )
    names = ["generator", "language", "texts", "judged", "agree"]
    table = pd.DataFrame(rows, columns=names).groupby(names[:2], sort=False).sum().astype(int).reset_index()
    table["order"] = table["generator"].map({name: place for place, name in enumerate(data["generator"].unique())})
    table = table.sort_values(["order", "texts", "language"], ascending=[True, False, True], ignore_index=True)
    return table[names]
