"""Is what stands on the disk what these parameters would make, and is it whole? Told by content, never by time.

Every result records the decisive parameters that made it (``made_of``), and digests of what it was made from. So a file
that other parameters left, one copied in from elsewhere, a damaged one, and a parameter file edited since are all
noticed. Snakemake itself sees only results that are missing at the end of a chain, or older than their inputs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lib.common.bundled import shown
from lib.common.design import BASE, generator_of
from lib.common.files import KitError, digest_file, read_json
from lib.embedder.models import WEIGHTS, corrupted
from lib.generate.dataset import share_out
from lib.grid.jobs import answers, listed, spoken, stage_files
from lib.grid.results import read_scores, tables
from lib.params.params import Params, generators, of_run
from lib.params.provenance import ABSENT, MADE, data_hash, decisive, differences
from lib.score.score import check_scores, record_of, wanted_sets

NO_RECORD = "has no record of the parameters that made it"
Differences = dict[str, tuple[Any, Any]]  # parameter -> (value on the disk, value wanted)


def stale(params: Params) -> dict[Path, str]:
    """Return {result file: why} of all that are not of these parameters; "" where that follows from another."""
    files, found = stage_files(params), {}
    influence, data = files["influence"]["influence"], {}
    for job, asked in answers(params).items():
        manifest = files["generate"][job]
        differs = _difference(_record(manifest.with_name(MADE)), decisive(asked, "data")) if manifest.exists() else {}
        if differs:
            found[manifest], data = _why(params, differs), data | differs
    share_out(params)
    trained = {job: _record(path) for job, path in files["train"].items() if path.exists()}
    found |= _stale_trainings(params, files["train"], trained, data)
    found |= _stale_scores(params, files, trained, data, found)
    made = _record(influence)
    if "made_of" in made and (differs := _difference(made, decisive(params, "influence"))):
        found[influence] = _why(params, differs)
    return found


def _stale_trainings(
    params: Params, files: Mapping[str, Path], trained: Mapping[str, dict], data: Differences
) -> dict[Path, str]:
    """Look at the trainings; what is said of the data (``data``) is not said again of each of them."""
    found = {}
    of = {name: of_run(params, f"@{name}") for name in ("", *generators(params))}
    wanted = {name: (decisive(each, "model"), data_hash(each.data_dir)) for name, each in of.items()}
    for job, record in trained.items():
        known, (model, made) = "made_of" in record or "key" in record, wanted[generator_of(job)]
        if known and (differs := _difference(record, model)):
            found[files[job]] = _why(params, _without(differs, data))
        elif made not in ("none", record.get("data_hash", made)):
            found[files[job]] = "was trained on other data"
    return found


def _stale_scores(
    params: Params, files: dict[str, dict[str, Path]], trained: Mapping[str, dict], data: Differences, stale: Mapping
) -> dict[Path, str]:
    """Look at the score files; what is said of the data or of their training is not said again."""
    sets, found = wanted_sets(params), {}
    of_base, of = decisive(params, "base"), {}
    for name in ("", *generators(params)):
        of[name] = [decisive(of_run(params, f"@{name}"), stage) for stage in ("score", "model")]
    for job, path in files["score"].items():
        if not path.exists():
            continue
        base, record, (of_runs, of_model) = job.startswith(f"{BASE}/"), _record(record_of(path)), of[generator_of(job)]
        above = {} if base else _difference(trained.get(job, {}), of_model)
        if differs := _difference(record, of_base if base else of_runs):
            found[path] = _why(params, _without(differs, data | above))
        elif "adapter" in trained.get(job, {}) and record.get("adapter") != trained[job]["adapter"]:
            found[path] = "" if files["train"][job] in stale else "was scored with another adapter"
        elif sets is not None and (lost := sets - _sets_of(path)):
            found[path] = f"lacks {len(lost)} of {len(sets)} evaluation sets ({', '.join(sorted(lost)[:3])})"
    return found


def to_redo(params: Params) -> dict[Path, str]:
    """Return {result file: why} of all jobs that must run again: stale, damaged, or ("") missing inside a chain.

    A missing result counts only when something that is made of it exists: else its turn has not come yet.
    """
    files, found = stage_files(params), stale(params)
    inspect, influence, results = files["inspect"]["inspect"], files["influence"]["influence"], params.results_file
    collected, answered = results.exists() or influence.exists(), files["generate"].values()
    used = {
        **dict.fromkeys(answered, any(path.exists() for path in (inspect, *files["train"].values()))),
        **{path: collected or files["score"][job].exists() for job, path in files["train"].items()},
        **dict.fromkeys(files["score"].values(), collected),
    }
    found |= {path: "" for path, needed in used.items() if needed and not path.exists()}
    looks = dict.fromkeys((*answered, inspect, influence), _damaged) | dict.fromkeys(files["train"].values(), _adapter)
    looks |= dict.fromkeys(files["score"].values(), _scores)
    found |= {path: wrong for path, look in looks.items() if path.exists() and (wrong := look(path))}
    if collected and not found:
        found |= _collected(params, results, influence)
    return found


def sentences(params: Params, found: Mapping[Path, str]) -> list[str]:
    """Return one line per reason, naming the jobs as people do: ``train ss+ll seed 1: ... 0.001 on disk, ...``."""
    names = {path: (stage, job) for stage, jobs in stage_files(params).items() for job, path in jobs.items()}
    reasons: dict[tuple[str, str], list[str]] = {}
    for path, why in found.items():
        if why:
            stage, job = names.get(path, (shown(path), shown(path)))
            reasons.setdefault((stage, why), []).append(stage if stage == job else f"{stage} {spoken(job)}")
    return [f"{listed(jobs)}{':' if ' on disk, ' in why else ''} {why}" for (_, why), jobs in reasons.items()]


def date_back(params: Params) -> None:
    """Date results that a clock set since then has left in the future as of now.

    Snakemake refuses a new result that is older than what it was made of, and deletes it.
    """
    results = [path for jobs in stage_files(params).values() for path in jobs.values()]
    for path in (*results, params.results_file):
        if path.exists() and path.stat().st_mtime > time.time():
            os.utime(path)


def _record(path: Path) -> dict[str, Any]:
    """Return what a record holds, {} where there is none or it cannot be read."""
    try:
        found = read_json(path) if path.is_file() else {}
    except KitError:
        return {}
    return found if isinstance(found, dict) else {}


def _difference(record: Mapping[str, Any], wanted: Mapping[str, Any]) -> Differences:
    return differences(record["made_of"], wanted) if "made_of" in record else {NO_RECORD: (None, None)}


def _without(differs: Differences, said: Differences) -> Differences:
    return {name: pair for name, pair in differs.items() if said.get(name) != pair}


def _why(params: Params, differs: Differences) -> str:
    if NO_RECORD in differs:
        return NO_RECORD
    values = [
        f"{name} is {_value(there)} on disk, {_value(here)} in {params.file}" for name, (there, here) in differs.items()
    ]
    return "; ".join(values[:4]) + (f"; and {len(values) - 4} parameters more" if len(values) > 4 else "")


def _value(value: Any) -> str:
    return ABSENT if value == ABSENT else repr(value)[:80]


def _sets_of(path: Path) -> set[str]:
    try:
        return set(pd.read_csv(path, usecols=["task"], keep_default_na=False)["task"])
    except (OSError, ValueError):
        return set()


def _damaged(path: Path) -> str:
    try:
        return "" if isinstance(read_json(path), dict) else "is damaged"
    except KitError:
        return "is damaged"


def _adapter(record: Path) -> str:
    """Say what is wrong with a finished training, by the digests in its record."""
    if _damaged(record):
        return "is damaged"
    weights = record.parent / WEIGHTS
    file = corrupted(record.parent, read_json(record)) or (None if weights.exists() else weights)
    return f"was written for another {file.name} than the one beside it" if file else ""


def _scores(path: Path) -> str:
    try:
        check_scores(path)
        read_scores(path)
    except KitError:
        return "is damaged"
    return ""


def _collected(params: Params, results: Path, influence: Path) -> dict[Path, str]:
    """Look at what is made of all score files together, which are all there and valid."""
    for path, text in tables(params).items():
        if not path.exists():
            return {results: ""}
        if path.read_bytes() != text.encode("utf-8"):
            return {results: f"and its like are not what the score files give ({path.name} differs)"}
    known = _record(influence).get("inputs", {}).get(results.name)
    return {influence: "was made of other results"} if known not in (None, digest_file(results)) else {}
