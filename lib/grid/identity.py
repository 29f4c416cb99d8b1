"""Is what stands on the disk what these parameters would make? Told by the records that lie beside the results.

Every result records the decisive parameters that made it (``made_of``), and digests of what it was made from. So a file
that other parameters left, one copied in from elsewhere, and a parameter file edited since are all noticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.common.design import BASE
from lib.common.files import KitError, read_json
from lib.grid.jobs import stage_files
from lib.grid.workload import shown
from lib.params.params import Params
from lib.params.provenance import MADE, data_hash
from lib.params.stages import ABSENT, decisive, differences
from lib.score.scorefile import record_of, wanted_sets

NO_RECORD = "has no record of the parameters that made it"


def stale(params: Params) -> dict[Path, str]:
    """Return {result file: why} of all that exist and are not of these parameters; "" where that follows from another."""
    files, found = stage_files(params), {}
    manifest = files["generate"]["generate"]
    data = _difference(_record(manifest.with_name(MADE)), decisive(params, "data")) if manifest.exists() else {}
    if data:
        found[manifest] = _why(params, data)
    wanted, sets, made = decisive(params, "model"), wanted_sets(params), data_hash(params.data_dir)
    score, base = decisive(params, "score"), decisive(params, "base")
    known: dict[str, dict] = {}
    for job, path in files["train"].items():
        if not path.exists():
            continue
        record = _record(path)
        known[job] = record
        differs = _difference(record, wanted) if "made_of" in record or "key" in record else {}
        if differs:
            found[path] = _why(params, _new(differs, data))
        elif record.get("data_hash", made) != made and made != "none":
            found[path] = "was trained on other data"
    for job, path in files["score"].items():
        if not path.exists():
            continue
        above = {} if job.startswith(f"{BASE}/") else _difference(known.get(job, {}), wanted)
        differs = _difference(_record(record_of(path)), base if job.startswith(f"{BASE}/") else score)
        if differs:
            found[path] = _why(params, _new(differs, {**data, **above}))
        elif "adapter" in known.get(job, {}) and _record(record_of(path)).get("adapter") != known[job]["adapter"]:
            found[path] = "" if files["train"][job] in found else "was scored with another adapter"
        elif sets is not None and (lost := sets - _tasks(path)):
            if not params.scoring.allow_missing:
                found[path] = f"lacks {len(lost)} of {len(sets)} evaluation sets ({', '.join(sorted(lost)[:3])})"
    influence = files["influence"]["influence"]
    if "made_of" in (record := _record(influence)):
        if differs := _difference(record, decisive(params, "influence")):
            found[influence] = _why(params, differs)
    return found


def sentences(params: Params, found: Mapping[Path, str]) -> list[str]:
    """Return one line per reason, naming the jobs as people do: ``train ss+ll seed 1: ... 0.001 on disk, ...``."""
    names = {path: _name(stage, job) for stage, jobs in stage_files(params).items() for job, path in jobs.items()}
    reasons: dict[tuple[str, str], list[str]] = {}
    for path, why in found.items():
        if why:
            name = names.get(path, shown(path))
            reasons.setdefault((name.split(" ")[0], why), []).append(name)
    lines = []
    for (_, why), jobs in reasons.items():
        joint = ":" if " on disk, " in why else ""
        lines.append(f"{listed(jobs)}{joint} {why}")
    return lines


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return names in a row, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _name(stage: str, job: str) -> str:
    return stage if stage == job else f"{stage} {job.replace('/seed', ' seed ')}"


def _record(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path) if path.is_file() else {}
    except KitError:
        return {}
    return found if isinstance(found, dict) else {}


def _difference(record: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    if "made_of" not in record:
        return {NO_RECORD: (None, None)}
    return differences(record["made_of"], wanted)


def _new(differs: dict, said: Mapping) -> dict:
    """Return what was not said of the stage before already."""
    return {name: pair for name, pair in differs.items() if said.get(name) != pair}


def _why(params: Params, differs: Mapping[str, tuple[Any, Any]]) -> str:
    if NO_RECORD in differs:
        return NO_RECORD
    values = [
        f"{name} is {_value(there)} on disk, {_value(here)} in {params.file}" for name, (there, here) in differs.items()
    ]
    return "; ".join(values[:4]) + (f"; and {len(values) - 4} parameters more" if len(values) > 4 else "")


def _value(value: Any) -> str:
    return ABSENT if value == ABSENT else repr(value)[:80]


def _tasks(path: Path) -> set[str]:
    try:
        return set(pd.read_csv(path, usecols=["task"], keep_default_na=False)["task"])
    except (OSError, ValueError):
        return set()
