"""Inspection: tables that say what the generated data are, for one generator or several side by side.

Everything is computed from the files of a run's data folder: ``responses/`` (raw answers) and ``triplets/`` (what
is trained on). The rejection funnel is run again rather than read back, so it also checks what was written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lib.common.bundled import ROOT
from lib.common.design import CODES, LABELS, Triplet, read_triplets
from lib.common.files import KitError, read_json, read_jsonl, write_json
from lib.generate.cleaning import REASONS, clean
from lib.generate.overlap import count_words, find, overlap
from lib.generate.parsing import Rejection, read_answer, to_triplets
from lib.generate.rules import LANGUAGES, detect, judgeable, wanted

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

    Columns: generator, code, category, task, language, id, query, positive, negative, the word counts
    words_query, words_positive, words_negative (0: no negative), and the word overlaps (share of the shorter
    text's words) overlap_positive and overlap_negative of the query with either.
    """
    rows = [
        {
            "generator": generator,
            "code": CODES[category],
            "category": LABELS[category],
            "task": t.instruction,
            "language": t.language,
            "id": t.id,
            "query": t.query,
            "positive": t.positive,
            "negative": t.negative,
            "words_query": count_words(t.query),
            "words_positive": count_words(t.positive),
            "words_negative": count_words(t.negative),
            "overlap_positive": overlap(t.query, t.positive),
            "overlap_negative": overlap(t.query, t.negative) if t.negative else float("nan"),
        }
        for generator, folder in places.items()
        for category, t in written(folder)
    ]
    if not rows:
        raise KitError("the triplet files are empty; run notebook 01 again")
    return pd.DataFrame(rows)


def counts(data: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's Table 2 for this data: per generator and category examples, tasks, languages, mean lengths."""
    grouped = data.groupby(["generator", "category"], sort=False)
    table = grouped.agg(
        examples=("id", "size"),
        tasks=("task", "nunique"),
        # a translation names two languages
        languages=("language", lambda names: len({one for both in names for one in both.split(" -> ")})),
        query_words=("words_query", "mean"),
        positive_words=("words_positive", "mean"),
    )
    table["with negative"] = grouped["negative"].agg(lambda texts: int((texts != "").sum()))
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
            stages.append(
                {"generator": generator, "code": CODES[category], "category": LABELS[category]} | _stages(asked, report)
            )
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
    if not answers.exists():
        if not triplets.exists():
            return 0, {}, []
        report = read_json(folder / "cleaning" / f"{category}.json")
        return report["asked"], {**report, "kept_ids": [triplet.id for triplet in read_triplets(triplets)]}, []
    rows = read_jsonl(answers)
    slots = {row["id"]: row.get("slots") or {} for row in rows}
    kept, report = clean(to_triplets(category, rows)[0], params.cleaning, slots, suites)
    unread = [
        {"id": row["id"], "reason": answer.reason, "detail": answer.detail}
        for row in rows
        if isinstance(answer := read_answer(category, row), Rejection)
    ]
    return len(rows), {**report, "kept_ids": [triplet.id for triplet in kept]}, unread


def _stages(asked: int, report: dict) -> dict[str, int]:
    """Return what is left after each of STAGES, from the counts of the cleaning report."""
    reasons = report["reasons"]
    copies = reasons.get("duplicate", 0) + reasons.get("near_duplicate", 0)
    leaked = reasons.get("contaminated", 0)
    rules = report["asked"] - (sum(reasons.values()) - copies - leaked)
    left = (asked, report["asked"], rules, rules - copies, rules - copies - leaked, rules - copies - leaked)
    return dict(zip(STAGES, left, strict=True))


def contamination(reports: Mapping[str, Mapping[str, dict]]) -> pd.DataFrame:
    """Return per generator and evaluation set: its texts, how many are touched, by how many triplets, an example."""
    rows: dict[tuple[str, str], dict] = {}
    for generator, by_category in reports.items():
        for report in by_category.values():
            for name, found in report["contamination"].items():
                zero = {"generator": generator, "set": name, "texts": found["texts"], "texts touched": 0, "triplets": 0}
                row = rows.setdefault((generator, name), {**zero, "shared words": ""})
                row["texts touched"] += found["texts_touched"]
                row["triplets"] += found["triplets"]
                row["shared words"] = row["shared words"] or found["example"]
    return pd.DataFrame(rows.values())


def shared_runs(places: Mapping[str, Path], suites: Mapping[str, Sequence[str]], n: int) -> pd.DataFrame:
    """Return (generator, set, triplets that share a run of ``n`` words with it) for the triplets on disk."""
    rows = []
    for generator, folder in places.items():
        found = find([triplet for _, triplet in written(folder)], suites, n)
        rows += [(generator, name, row["triplets"]) for name, row in found.sets.items()]
    return pd.DataFrame(rows, columns=["generator", "set", f"triplets, runs of {n}"])


def write(path: str | Path, stages: pd.DataFrame, rejected: pd.DataFrame, sets: pd.DataFrame) -> Path:
    """Write what the inspection found as JSON: the funnel, the reasons, the contamination per set. Returns the path."""
    reasons = rejected.groupby(["generator", "category", "reason"], sort=False).size().rename("answers").reset_index()
    tables = {"funnel": stages, "rejected": reasons, "contamination": sets}
    return write_json(path, {name: table.to_dict("records") for name, table in tables.items()})


def slot_lengths(places: Mapping[str, Path]) -> pd.DataFrame:
    """Return one row per text whose prompt asked for a length.

    Columns: generator, code, category, text (query, positive, negative), slot, asked (the slot's value), low, high
    (words), words (what came), fits (within the bounds exactly).
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
    tally: dict[tuple[str, str], Counter] = {}
    for row in data.itertuples():
        source, _, target = row.language.partition(" -> ")
        for text, language in ((row.query, source), (row.positive, target or source)):
            count = tally.setdefault((row.generator, language or "not stated"), Counter())
            count["texts"] += 1
            if language in LANGUAGES and judgeable(text, min_chars):
                count["judged"] += 1
                count["agree"] += detect(text) in LANGUAGES[language]
    order = list(dict.fromkeys(data["generator"]))
    rows = [(*names, count["texts"], count["judged"], count["agree"]) for names, count in tally.items()]
    rows.sort(key=lambda row: (order.index(row[0]), -row[2], row[1]))
    return pd.DataFrame(rows, columns=["generator", "language", "texts", "judged", "agree"])
