"""Is what stands on the disk still what was made? Looked at before every run of a grid, by content and not by time.

Snakemake runs a job again when its result is missing at the end of a chain, older than what it was made of, or of
other parameters. It does not see a result that is damaged, nor one that is missing in the middle of a chain.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from lib.common.files import KitError, digest_file, read_json
from lib.embedder.adapters import WEIGHTS, spoilt
from lib.grid.identity import stale
from lib.grid.jobs import stage_files
from lib.params.params import Params


def unsound(params: Params) -> dict[Path, str]:
    """Return {result file: what is wrong with it} of all jobs that must run again; "" where the file is just not there.

    A missing result counts only when something that is made of it exists: else its turn has not come yet.
    """
    files = stage_files(params)
    inspect, influence = files["inspect"]["inspect"], files["influence"]["influence"]
    results, found = params.results_file, stale(params)
    collected = results.exists() or influence.exists()
    for job, path in files["train"].items():
        if not path.exists():
            found |= {path: ""} if collected or files["score"][job].exists() else {}
        elif wrong := _adapter(path):
            found[path] = wrong  # damage is said first
    for path in files["score"].values():
        if not path.exists():
            found |= {path: ""} if collected else {}
        elif wrong := _scores(path):
            found[path] = wrong
    manifest = files["generate"]["generate"]
    if not manifest.exists():
        found |= {manifest: ""} if any(path.exists() for path in (inspect, *files["train"].values())) else {}
    for path in (manifest, inspect, influence):
        if path.exists() and not _json(path):
            found[path] = "is damaged"
    if collected and not found:
        found |= _results(params, results, influence)
    return found


def date_back(params: Params) -> None:
    """Date results that a clock set since then has left in the future as of now.

    Snakemake refuses a new result that is older than what it was made of, and deletes it.
    """
    results = [path for jobs in stage_files(params).values() for path in jobs.values()]
    for path in (*results, params.results_file):
        if path.exists() and path.stat().st_mtime > time.time():
            os.utime(path)


def _json(path: Path) -> bool:
    try:
        return isinstance(read_json(path), dict)
    except KitError:
        return False


def _adapter(record: Path) -> str:
    """Say what is wrong with a finished training, by the digests in its record."""
    if not _json(record):
        return "is damaged"
    file = spoilt(record.parent, read_json(record))
    if file is None and not (record.parent / WEIGHTS).exists():
        file = record.parent / WEIGHTS
    return f"was written for another {file.name} than the one beside it" if file else ""


def _scores(path: Path) -> str:
    from lib.grid.results import read_scores
    from lib.score.scorefile import check_scores

    try:
        check_scores(path)
        read_scores(path)
    except KitError:
        return "is damaged"
    return ""


def _results(params: Params, results: Path, influence: Path) -> dict[Path, str]:
    """Look at what is made of all score files together, which are all there and sound."""
    from lib.grid.results import tables

    for path, text in tables(params).items():
        if not path.exists():
            return {results: ""}
        if path.read_bytes() != text.encode("utf-8"):
            return {results: f"and its like are not what the score files give ({path.name} differs)"}
    if not influence.exists():
        return {}
    known = read_json(influence).get("inputs", {}).get(results.name)
    return {influence: "was made of other results"} if known not in (None, digest_file(results)) else {}
