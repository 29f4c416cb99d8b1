"""One run's score file: tidy rows with the design's factors and where each number comes from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lib.common.design import BASE, levels, parse_run
from lib.common.files import KitError, changed, read_json, write_digests, write_json, write_text
from lib.embedder.adapters import corrupted
from lib.params.params import Params
from lib.params.provenance import COLUMNS, decisive, provenance
from lib.score.score import draws as draws_of
from lib.score.suites import BUNDLED, suite_folder


def adapter_folder(params: Params, subset: str, seed: int) -> Path | None:
    """Return the adapter's folder of a run, None for the untrained base.

    Raises KitError when there is none yet, or when its bytes are not those that training wrote.
    """
    if subset == BASE:
        return None
    folder = _folder(params, subset, seed)
    notebook = f"notebook 03 with subset={subset!r} and seed={seed}"
    if not (folder / "adapter_model.safetensors").is_file():
        raise KitError(f"{folder} holds no adapter yet; run {notebook}, or `make reproduce`")
    if file := corrupted(folder, _training(params, subset, seed)):
        raise KitError(
            f"{file} is not what training wrote (its digest differs), so it is not scored; run `make reproduce`, which "
            f"trains it again, or delete {folder} and run {notebook}"
        )
    return folder


def _folder(params: Params, subset: str, seed: int) -> Path:
    """Return a run's adapter folder; the study's adapters are scored on other sets too, not only new ones."""
    run = Path(subset) / f"seed{seed}"
    own = (params.models_dir / run).is_dir() or any(not name.startswith("scoring.") for name in params.other("model"))
    return (params.models_dir if own else params.study_dir / "models") / run


def _training(params: Params, subset: str, seed: int) -> dict:
    """Return what a run's training wrote about itself; {} if nothing."""
    path = _folder(params, subset, seed) / "train.json"
    return read_json(path) if path.is_file() else {}


def origin(params: Params, subset: str, seed: int) -> dict[str, object]:
    """Return the factors and the provenance columns of a run: what its training wrote, completed by this process."""
    if subset == BASE:
        chosen, public = (), False
        trained = {"world_size": 1, "effective_batch": 0, "steps": 0, "seconds": 0.0}
    else:
        chosen, public = parse_run(subset)
        trained = _training(params, subset, seed)
    known = {**provenance(params), **trained}
    factors = {"subset": subset, "public": int(public), **levels(chosen, params.study.categories), "seed": seed}
    return factors | {column: known.get(column, "") for column in COLUMNS}


def write_scores(params: Params, subset: str, seed: int, table: pd.DataFrame) -> Path:
    """Write a table of ``lib.score.score.score`` as ``scores/<subset>/seed<k>.csv``; return its path.

    Beside it lie its draws, their digests and the record of ``write_record``. Raises KitError naming the failed tasks,
    and writes nothing, unless ``scoring.allow_missing`` is set.
    """
    failed = table.attrs.get("failed", {})
    if failed and not params.scoring.allow_missing or table.empty:
        name, reason = next(iter(failed.items()), ("the suite", "nothing was scored"))
        raise KitError(
            f"{len(failed)} tasks of {subset} seed {seed} have no score ({name}: {reason}); run again to retry "
            "them, or set scoring.allow_missing true to go on without them"
        )
    row = origin(params, subset, seed)
    first = [name for name in row if name not in COLUMNS]
    last = [*COLUMNS, "score_seconds"]
    full = table.assign(**row, score_seconds=table.attrs["seconds"])[first + list(table.columns) + last]
    draws = draws_of(table).assign(subset=subset, seed=seed)[["subset", "seed", "task", "draw", "score"]]
    path = params.scores_dir / subset / f"seed{seed}.csv"
    files = {path.with_suffix(".draws.csv"): draws, path: full}
    for file, content in files.items():
        write_text(file, content.to_csv(index=False, lineterminator="\n"))
    write_record(params, subset, seed)
    write_digests(_manifest(path), files)
    return path


def write_record(params: Params, subset: str, seed: int) -> Path:
    """Write ``seed<k>.made.json``: the parameters that made a score file, and the digest of the adapter it scores."""
    base = subset == BASE
    made = {
        "made_of": decisive(params, "base" if base else "score"),
        "adapter": None if base else _training(params, subset, seed).get("adapter"),
    }
    return write_json(record_of(params.scores_dir / subset / f"seed{seed}.csv"), made)


def record_of(path: Path) -> Path:
    """Return the record beside a score file."""
    return path.with_suffix(".made.json")


def wanted_sets(params: Params) -> set[str] | None:
    """Return the names of the suite's sets, None where only mteb could say (which takes long to load)."""
    suite = params.scoring.suite
    if suite != BUNDLED and not (isinstance(suite, str) and Path(suite).is_dir()):
        return None
    folder = suite_folder() if suite == BUNDLED else Path(suite)
    return {path.stem for path in folder.glob("*.y*ml")} - set(params.scoring.exclude)


def check_scores(path: Path) -> None:
    """Raise KitError when a score file or its draws are not what ``write_scores`` wrote (where it left digests).

    A table that lost its last lines is still a table, so only its digest can tell.
    """
    if _manifest(path).is_file() and (file := changed(_manifest(path))):
        raise KitError(
            f"{file} is not what notebook 04 wrote (its digest differs); delete {path} and run again "
            "to have it made anew from the scores that are kept"
        )


def _manifest(path: Path) -> Path:
    return path.with_suffix(".manifest.json")
