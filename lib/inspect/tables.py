"""Inspection: tables that say what the generated data are, for one generator or several side by side.

Everything is computed from the files of a run's data folder: ``responses/`` (raw answers) and ``triplets/`` (what
is trained on). The rejection funnel is run again rather than read back, so it also checks what was written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lib.common.design import CODES, LABELS
from lib.common.files import KitError, read_json, read_jsonl, write_json
from lib.common.triplets import read_triplets
from lib.generate.cleaning import REASONS, clean
from lib.generate.duplicates import count_words, overlap
from lib.generate.rules import wanted

if TYPE_CHECKING:
    from lib.params.params import Params

STAGES = ("asked", "parsed", "rules", "duplicates", "contamination", "kept")
_DUPLICATES, _CONTAMINATED = ("duplicate", "near_duplicate"), ("contaminated",)


def folders(params: Params, compare: Sequence[str] = ()) -> dict[str, Path]:
    """Return {generator: data folder} of this run and of those to compare with (profiles or folders).

    Raises KitError when a folder holds no triplets, or when two runs have the same generator's name.
    """
    from lib.common.bundled import ROOT

    found: dict[str, Path] = {}
    for entry in ("", *compare):
        places = (
            [params.data_dir] if not entry else [Path(entry), ROOT / entry, ROOT / params.paths.runs / entry / "data"]
        )
        folder = next((place for place in places if (place / "triplets").is_dir()), None)
        if folder is None:
            raise KitError(f"there are no triplets in {places[-1]}; run notebook 01 for that profile first")
        report = folder / "generation.json"
        name = read_json(report)["generator"] if report.exists() else folder.parent.name
        name = "bundled answers" if name == "replay" else name.split("/")[-1]
        if name in found:
            name = f"{name} ({folder.parent.name})"
        found[name] = folder
    return found


def load(places: Mapping[str, Path]) -> pd.DataFrame:
    """Return one row per triplet of every generator.

    Columns: generator, code, category, task, language, id, query, positive, negative, the word counts
    words_query, words_positive, words_negative (0: no negative), and the word overlaps (share of the shorter
    text's words) overlap_positive and overlap_negative of the query with either.
    """
    rows = []
    for generator, folder in places.items():
        for category, code in CODES.items():
            path = folder / "triplets" / f"{category}.jsonl"
            for t in read_triplets(path) if path.exists() else ():
                rows.append(
                    {
                        "generator": generator,
                        "code": code,
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
                )
    if not rows:
        raise KitError("the triplet files are empty; run notebook 01 again")
    return pd.DataFrame(rows)


def counts(data: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's Table 2 for this data: per generator and category examples, tasks, languages, mean lengths."""
    grouped = data.groupby(["generator", "category"], sort=False, observed=True)
    table = grouped.agg(
        examples=("id", "size"),
        tasks=("task", "nunique"),
        languages=("language", _spoken),
        query_words=("words_query", "mean"),
        positive_words=("words_positive", "mean"),
    )
    table["with negative"] = grouped["negative"].agg(lambda texts: int((texts != "").sum()))
    return table.round(1).reset_index()


def _spoken(languages: pd.Series) -> int:
    """Count the different languages; a translation names two."""
    return len({one for both in languages for one in both.split(" -> ")})


def funnel(
    places: Mapping[str, Path], params: Params, suites: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, dict[str, dict]]]:
    """Parse and clean every raw answer again, and count what is left after each stage.

    Returns (stages, rejected, reports). stages: one row per generator and category with the counts of STAGES.
    rejected: one row per rejected answer (generator, category, id, reason, meaning, detail). reports:
    {generator: {category: report of ``lib.generate.cleaning.clean``, plus ``kept_ids``}}.
    """
    stages, rejected, reports = [], [], {}
    for generator, folder in places.items():
        reports[generator] = {}
        for category in CODES:
            asked, report, unread = _report(folder, category, params, suites)
            if not asked:
                continue
            reports[generator][category] = report
            stages.append(
                {
                    "generator": generator,
                    "code": CODES[category],
                    "category": LABELS[category],
                    **_stages(asked, report["asked"], report["reasons"]),
                }
            )
            named = {"generator": generator, "category": LABELS[category]}
            rejected += [{**named, **row, "meaning": "the answer cannot be read"} for row in unread]
            rejected += [
                {
                    **named,
                    "id": row["id"],
                    "reason": row["reason"],
                    "meaning": REASONS[row["reason"]],
                    "detail": row["detail"],
                }
                for row in report["rejected"]
            ]
    columns = ["generator", "category", "id", "reason", "meaning", "detail"]
    return pd.DataFrame(stages), pd.DataFrame(rejected, columns=columns), reports


def _report(
    folder: Path, category: str, params: Params, suites: Mapping[str, Sequence[str]]
) -> tuple[int, dict, list[dict]]:
    """Return (answers asked for, cleaning report with ``kept_ids``, answers that cannot be read) of one category.

    Triplets that others released have no answers to read again: their report is the one that notebook 01 wrote.
    """
    from lib.generate.generate import read_answer, to_triplets
    from lib.generate.parsing import Rejection

    answers, written = folder / "responses" / f"{category}.jsonl", folder / "triplets" / f"{category}.jsonl"
    if not answers.exists():
        if not written.exists():
            return 0, {}, []
        report = read_json(folder / "cleaning" / f"{category}.json")
        return report["asked"], {**report, "kept_ids": [triplet.id for triplet in read_triplets(written)]}, []
    rows = read_jsonl(answers)
    triplets, _ = to_triplets(category, rows)
    kept, report = clean(triplets, params.cleaning, {row["id"]: row.get("slots") or {} for row in rows}, suites)
    unread = [
        {"id": row["id"], "reason": answer.reason, "detail": answer.detail}
        for row in rows
        if isinstance(answer := read_answer(category, row), Rejection)
    ]
    return len(rows), {**report, "kept_ids": [triplet.id for triplet in kept]}, unread


def _stages(asked: int, parsed: int, reasons: Mapping[str, int]) -> dict[str, int]:
    copies = sum(reasons.get(reason, 0) for reason in _DUPLICATES)
    leaked = sum(reasons.get(reason, 0) for reason in _CONTAMINATED)
    after_rules = parsed - (sum(reasons.values()) - copies - leaked)
    return {
        "asked": asked,
        "parsed": parsed,
        "rules": after_rules,
        "duplicates": after_rules - copies,
        "contamination": after_rules - copies - leaked,
        "kept": after_rules - copies - leaked,
    }


def contamination(reports: Mapping[str, Mapping[str, dict]]) -> pd.DataFrame:
    """Return per generator and evaluation set: its texts, how many are touched, by how many triplets, an example."""
    rows: dict[tuple[str, str], dict] = {}
    for generator, by_category in reports.items():
        for report in by_category.values():
            for name, found in report["contamination"].items():
                row = rows.setdefault(
                    (generator, name),
                    {
                        "generator": generator,
                        "set": name,
                        "texts": found["texts"],
                        "texts touched": 0,
                        "triplets": 0,
                        "shared words": "",
                    },
                )
                row["texts touched"] += found["texts_touched"]
                row["triplets"] += found["triplets"]
                row["shared words"] = row["shared words"] or found["example"]
    return pd.DataFrame(rows.values())


def shared_runs(places: Mapping[str, Path], suites: Mapping[str, Sequence[str]], n: int) -> pd.DataFrame:
    """Return (generator, set, triplets that share a run of ``n`` words with it) for the triplets on disk."""
    from lib.generate.contamination import find

    rows = []
    for generator, folder in places.items():
        triplets = [
            t
            for category in CODES
            if (path := folder / "triplets" / f"{category}.jsonl").exists()
            for t in read_triplets(path)
        ]
        rows += [(generator, name, row["triplets"]) for name, row in find(triplets, suites, n).sets.items()]
    return pd.DataFrame(rows, columns=["generator", "set", f"triplets, runs of {n}"])


def write(path: str | Path, stages: pd.DataFrame, rejected: pd.DataFrame, sets: pd.DataFrame) -> Path:
    """Write what the inspection found as JSON: the funnel, the reasons, the contamination per set. Returns the path."""
    reasons = rejected.groupby(["generator", "category", "reason"], sort=False).size().rename("answers").reset_index()
    return write_json(
        path,
        {
            name: table.to_dict("records")
            for name, table in (("funnel", stages), ("rejected", reasons), ("contamination", sets))
        },
    )


def slot_lengths(places: Mapping[str, Path]) -> pd.DataFrame:
    """Return one row per text whose prompt asked for a length.

    Columns: generator, code, category, text (query, positive, negative), slot, asked (the slot's value), low, high
    (words), words (what came), fits (within the bounds exactly).
    """
    rows = []
    for generator, folder in places.items():
        for category, code in CODES.items():
            answers = folder / "responses" / f"{category}.jsonl"
            if not answers.exists():
                continue
            slots = {row["id"]: row.get("slots") or {} for row in read_jsonl(answers)}
            for triplet in read_triplets(folder / "triplets" / f"{category}.jsonl"):
                for part, slot, (low, high) in wanted(category, slots.get(triplet.id, {})):
                    mined = part == "negative" and category not in ("short_long", "sts", "bitext")
                    words = count_words(getattr(triplet, part))
                    if words and not mined:
                        rows.append(
                            {
                                "generator": generator,
                                "code": code,
                                "category": LABELS[category],
                                "text": part,
                                "slot": slot,
                                "asked": str(slots[triplet.id][slot]),
                                "low": low,
                                "high": high,
                                "words": words,
                                "fits": low <= words <= high,
                            }
                        )
    columns = ["generator", "code", "category", "text", "slot", "asked", "low", "high", "words", "fits"]
    return pd.DataFrame(rows, columns=columns)


def languages(data: pd.DataFrame, min_chars: int = 60) -> pd.DataFrame:
    """Return how often each requested language was asked for, and how often the detector agrees.

    Columns: generator, language, texts (asked for), judged (long enough, and known to the detector), agree.
    """
    from lib.generate.languages import CODES as KNOWN
    from lib.generate.languages import detect, judgeable

    tally: dict[tuple[str, str], Counter] = {}
    for row in data.itertuples():
        source, _, target = row.language.partition(" -> ")
        for text, language in ((row.query, source), (row.positive, target or source)):
            count = tally.setdefault((row.generator, language or "not stated"), Counter())
            count["texts"] += 1
            if language in KNOWN and judgeable(text, min_chars):
                count["judged"] += 1
                count["agree"] += detect(text) in KNOWN[language].split()
    table = pd.DataFrame(
        [
            {
                "generator": generator,
                "language": language,
                "texts": count["texts"],
                "judged": count["judged"],
                "agree": count["agree"],
            }
            for (generator, language), count in tally.items()
        ]
    )
    place = {generator: number for number, generator in enumerate(dict.fromkeys(data["generator"]))}
    table = table.assign(place=table["generator"].map(place))
    table = table.sort_values(["place", "texts", "language"], ascending=[True, False, True], ignore_index=True)
    return table.drop(columns="place")
