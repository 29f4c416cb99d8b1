"""The results table, and whether what stands on the disk is what these parameters would make, and whole.

Told by content, never by time: every result records the decisive parameters that made it (``made_of``), and digests of
what it was made from. So a file that other parameters left, one copied in from elsewhere, a damaged one, and a
parameter file edited since are all noticed. Snakemake itself sees only what is missing or older than its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.common.bundled import DATA, shown
from lib.common.design import BASE, generator_of
from lib.common.files import KitError, digest_file, read_json, write_text
from lib.embedder.models import WEIGHTS, corrupted
from lib.generate.dataset import cost_table, share_out
from lib.grid.jobs import answers, listed, spoken, stage_files
from lib.params.params import Params, answering, generators, of_run
from lib.params.provenance import ABSENT, MADE, data_hash, decisive, differences
from lib.score.score import check_scores, wanted_sets

# Times differ from run to run, so they are kept in timing.csv: results.csv is the same bytes for the same study.
_TIMES = {"seconds": "first", "score_seconds": "sum"}


def read_scores(path: Path) -> pd.DataFrame:
    """Read one run's score file. Raises KitError when it is broken or holds a score that is not a number."""
    try:
        table = pd.read_csv(path, dtype={"subset": str}, keep_default_na=False, na_values=["", "nan", "NaN"])
    except (OSError, ValueError) as error:
        raise KitError(f"{path} cannot be read ({error}); delete it and run again to have it scored anew") from None
    whole = {"subset", "seed", "task", "type", "score"} <= set(table.columns) and len(table)
    if not whole or pd.to_numeric(table["score"], errors="coerce").isna().any():
        raise KitError(f"{path} lacks scores or columns; delete it and run again to have it scored anew")
    return table


def tables(params: Params, present: Sequence[Path] = ()) -> dict[Path, str]:
    """Return {file: content} of ``results.csv``, ``draws.csv`` and ``timing.csv``, made of all score files or some.

    Of compared generators ``costs.csv`` too: what their answers took, before they were cut to equal shares.
    """
    present = list(present) or list(stage_files(params)["score"].values())
    table = pd.concat([read_scores(path) for path in present], ignore_index=True)
    if named := generators(params):
        table.insert(1, "generator", table["subset"].map(generator_of))
    times = {name: how for name, how in _TIMES.items() if name in table}
    found = {"timing": table.groupby(["subset", "seed"], sort=False)[list(times)].agg(times).reset_index()}
    if draws := [file for path in present if (file := path.with_suffix(".draws.csv")).exists()]:
        found["draws"] = pd.concat([pd.read_csv(file, keep_default_na=False) for file in draws])
    if named:
        found["costs"] = pd.concat([_costs(answering(params, name), name) for name in named])
    found["results"] = table.drop(columns=list(times))
    folder = params.results_file.parent
    return {folder / f"{name}.csv": each.to_csv(index=False, lineterminator="\n") for name, each in found.items()}


def _costs(asked: Params, name: str) -> pd.DataFrame:
    """Return the costs of a generator's answers; of bundled ones the seconds that their record tells, if it does."""
    table = cost_table(asked.data_dir).assign(generator=name)
    if asked.generation.backend == "replay":  # what replaying took says nothing
        record = _record(DATA / "generators" / asked.generation.model_dump().get("bundle", "") / "made.json")
        known = record.get("measured", {}).get(asked.study.category, {})
        table["seconds"] = known["seconds"] * table["asked"] / known["asked"] if known else float("nan")
    return table


def collect(params: Params, allow_missing: bool = False) -> list[str]:
    """Write ``results.csv`` and the tables beside it from the score files; return sentences to print.

    Raises KitError for a file that is damaged or not of these parameters, and one naming the missing runs, unless
    ``allow_missing``: then the sentences name them, and the table does without.
    """
    files, old = stage_files(params)["score"], stale(params)
    missing = [spoken(job) for job, path in files.items() if not path.exists()]
    present, notes = [], []
    for path in (path for path in files.values() if path.exists()):
        try:
            check_scores(path)
            if path in old:
                raise KitError(f"{shown(path)} is not of these parameters; `make reproduce` makes it again")
            present.append(path)
        except KitError as error:
            if not allow_missing:
                raise
            notes.append(f"Left out of this table: {error}.")
    if missing and not allow_missing or not present:
        count = f"{len(files) - len(present)} of {len(files)}"
        raise KitError(f"{count} runs have no scores yet ({listed(missing, 3)}); run `make reproduce` to make them")
    for path, content in tables(params, present).items():
        write_text(path, content)
    return ([f"Missing from this table: {', '.join(missing)}."] if missing else []) + notes


# ── is it what these parameters would make? ──────────────────────────────────────────────────────────────
def stale(params: Params) -> dict[Path, str]:
    """Return {result file: why} of all that are not of these parameters; "" where that follows from another."""
    share_out(params)
    files, asked, sets = stage_files(params), answers(params), wanted_sets(params)
    own = {name: of_run(params, f"@{name}") for name in ("", *generators(params))}
    of = {name: {s: decisive(each, s) for s in ("model", "score", "base", "influence")} for name, each in own.items()}
    data = {name: data_hash(each.data_dir) for name, each in own.items()}
    found: dict[Path, str] = {}
    said: dict[str, tuple[Any, Any]] = {}  # what differs in an earlier stage is not told again of the later ones
    trained: dict[str, dict] = {}
    for stage in ("generate", "train", "score", "influence"):
        here: dict[str, tuple[Any, Any]] = {}
        for job, path in files[stage].items():
            if not path.exists():
                continue
            name = generator_of(job)
            if stage == "generate":
                record, wanted = _record(path.with_name(MADE)), decisive(asked[job], "data")
            elif stage == "score":
                record = _record(path.with_suffix(".made.json"))
                wanted = of[name]["base" if job.startswith(f"{BASE}/") else stage]
            else:
                record, wanted = _record(path), of[name]["model" if stage == "train" else stage]
                record.setdefault("made_of", wanted)
                trained[job] = record
            adapter = trained.get(job, {}).get("adapter")
            if "made_of" not in record:
                found[path] = "has no record of the parameters that made it"
            elif differs := differences(record["made_of"], wanted):
                here |= differs
                found[path] = _why(
                    {name: pair for name, pair in differs.items() if said.get(name) != pair}, params.file
                )
            elif stage == "train" and data[name] not in ("none", record.get("data_hash", data[name])):
                found[path] = "was trained on other data"
            elif stage == "score" and adapter not in (None, record.get("adapter")):
                found[path] = "" if files["train"][job] in found else "was scored with another adapter"
            elif stage == "score" and sets and (lost := sets - _sets_of(path)):
                found[path] = f"lacks {len(lost)} of {len(sets)} evaluation sets ({', '.join(sorted(lost)[:3])})"
        said |= here
    return found


def to_redo(params: Params) -> dict[Path, str]:
    """Return {result file: why} of all jobs that must run again: stale, damaged, or ("") missing inside a chain.

    A missing result counts only when something that is made of it exists: else its turn has not come yet.
    """
    files, found, results = stage_files(params), stale(params), params.results_file
    inspect, influence = files["inspect"]["inspect"], files["influence"]["influence"]
    collected = results.exists() or influence.exists()
    begun = any(path.exists() for path in (inspect, *files["train"].values()))
    for stage, jobs in files.items():
        for job, path in jobs.items():
            scored = stage == "train" and files["score"][job].exists()
            needed = begun if stage == "generate" else scored or collected and stage in ("train", "score")
            if path.exists() and (wrong := _damage(stage, path)):
                found[path] = wrong
            elif needed and not path.exists():
                found[path] = ""
    if found or not collected:
        return found
    for path, text in tables(params).items():
        if not path.exists() or path.read_bytes() != text.encode("utf-8"):
            why = f"and its like are not what the score files give ({path.name} differs)"
            return {results: why if path.exists() else ""}
    known = _record(influence).get("inputs", {}).get(results.name)
    return {influence: "was made of other results"} if known not in (None, digest_file(results)) else {}


def sentences(params: Params, found: Mapping[Path, str]) -> list[str]:
    """Return one line per reason, naming the jobs as people do: ``train ss+ll seed 1: ... 0.001 on disk, ...``."""
    stages = stage_files(params).items()
    names = {path: (stage, spoken(job, stage)) for stage, jobs in stages for job, path in jobs.items()}
    reasons: dict[tuple[str, str], list[str]] = {}
    for path, why in found.items():
        stage, job = names.get(path, ("results", shown(path)))
        reasons.setdefault((stage, why), []).append(job)
    return [f"{listed(jobs)}{':' if ' on disk, ' in why else ''} {why}" for (_, why), jobs in reasons.items() if why]


def _record(path: Path) -> dict[str, Any]:
    """Return what a record holds, {} where there is none or it cannot be read."""
    try:
        found = read_json(path) if path.is_file() else {}
    except KitError:
        return {}
    return found if isinstance(found, dict) else {}


def _why(differs: Mapping[str, tuple[Any, Any]], file: str) -> str:
    pairs = {name: [value if value == ABSENT else repr(value)[:80] for value in pair] for name, pair in differs.items()}
    told = [f"{name} is {there} on disk, {here} in {file}" for name, (there, here) in pairs.items()]
    return "; ".join(told[:4]) + (f"; and {len(told) - 4} parameters more" if len(told) > 4 else "")


def _sets_of(path: Path) -> set[str]:
    try:
        return set(pd.read_csv(path, usecols=["task"], keep_default_na=False)["task"])
    except (OSError, ValueError):
        return set()


def _damage(stage: str, path: Path) -> str:
    """Say what is wrong with a result file, by the digests that were written with it; "" where nothing is."""
    try:
        if stage == "score":
            check_scores(path)
            read_scores(path)
        elif not isinstance(record := read_json(path), dict):
            return "is damaged"
        elif stage == "train" and (
            wrong := corrupted(path.parent, record) or not (path.parent / WEIGHTS).exists() and path.with_name(WEIGHTS)
        ):
            return f"was written for another {wrong.name} than the one beside it"
    except KitError:
        return "is damaged"
    return ""
