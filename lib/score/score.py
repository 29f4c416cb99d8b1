"""From an adapter to its score file: every score by mteb's own tasks, kept as soon as it is known, and only if true.

A killed run goes on where it was; a task that fails or gives no number is listed and tried again, never averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from lib.common.bundled import bar, wipe
from lib.common.design import BASE, levels, parse_run
from lib.common.files import KitError, changed, read_json, write_digests, write_json, write_text
from lib.embedder.models import corrupted
from lib.params.model import ScoringParams
from lib.params.params import Params
from lib.params.provenance import COLUMNS, decisive, provenance
from lib.score.hub import prepare
from lib.score.suites import DISTRUSTED, kept_random_state, suite_folder
from lib.score.taskrun import TaskRun


# ── an adapter ───────────────────────────────────────────────────────────────────────────────────────────────
def adapter_folder(params: Params, subset: str, seed: int) -> Path | None:
    """Return a run's adapter folder, None for the base. Raises KitError for one that is missing or damaged."""
    if subset == BASE:
        return None
    folder = _folder(params, subset, seed)
    if not (folder / "adapter_model.safetensors").is_file():
        raise KitError(f"{folder} holds no adapter yet; run notebook 03 with {subset=}, {seed=}, or `make reproduce`")
    if file := corrupted(folder, _training(params, subset, seed)):
        raise KitError(f"{file} is not what training wrote, so it is not scored; `make reproduce` trains it again")
    return folder


def _folder(params: Params, subset: str, seed: int) -> Path:
    """A run's adapter folder, the study's where only the sets to score are others."""
    run = Path(subset) / f"seed{seed}"
    own = (params.models_dir / run).is_dir() or any(not name.startswith("scoring.") for name in params.other("model"))
    return (params.models_dir if own else params.study_dir / "models") / run


def _training(params: Params, subset: str, seed: int) -> dict:
    path = _folder(params, subset, seed) / "train.json"
    return read_json(path) if path.is_file() else {}


@contextmanager
def merged(embedder, limit: int = 2 << 30) -> Iterator[None]:
    """Add the active adapter into float32 base weights for a while: the same vectors, a quarter faster on a CPU.

    On leaving, the base gets its very own bits back. Half precision, and layers of more than ``limit`` bytes, stay.
    """
    layers = []
    if embedder.adapter_digest() != "base" and hasattr(embedder, "model"):
        import torch
        from peft.tuners.tuners_utils import BaseTunerLayer

        layers = [module for module in embedder.model.modules() if isinstance(module, BaseTunerLayer)]
        weights = [layer.get_base_layer().weight for layer in layers]
        if any(w.dtype != torch.float32 for w in weights) or sum(w.nbytes for w in weights) > limit:
            layers = []
    kept = [layer.get_base_layer().weight.data.clone() for layer in layers]
    for layer in layers:
        layer.merge()
    try:
        yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.unmerge()
            layer.get_base_layer().weight.data.copy_(weight)


# ── its scores ───────────────────────────────────────────────────────────────────────────────────────────────
def score(
    embedder, tasks: Sequence, out_dir: str | Path, *, name="model", params=None, progress=True, predictions=False
) -> pd.DataFrame:
    """Score the embedder's active adapter on ``tasks`` and return tidy rows ``task, type, metric, score`` (0 to 1).

    ``out_dir`` keeps one record per task in ``store/``, found again by the next call, mteb's own JSON in ``mteb/``, and
    with ``predictions`` also mteb's per item. ``params`` is the scoring section. The frame's ``attrs``: ``draws`` (see
    ``draws``), ``failed`` {task: reason}, ``encoded`` (texts), ``seconds`` (per row), ``predictions`` (their folder).
    Raises KitError when there is nothing to score.
    """
    params = params or ScoringParams()
    wanted = [task for task in tasks if task.metadata.name not in params.exclude]
    if not wanted:
        raise KitError("there is nothing to score: the suite names no tasks, or all of them are in scoring.exclude")
    ready, failed = prepare(wanted, params.data_dir)
    found, name = [], name.replace("/", "-")
    with kept_random_state(), merged(embedder):
        run = TaskRun(embedder, Path(out_dir), name, params, predictions)
        with bar(total=len(ready), desc=name, unit="set", disable=not progress, leave=False) as shown:
            run.encoder.on_texts = lambda: shown.set_postfix_str(f"{run.encoder.encoded} texts encoded")
            for record in run.records(ready, failed):
                if record:
                    found.append(record)
                shown.update()
    if progress:
        wipe()
    for path in () if failed else run.encoder.streamed:  # as large as the corpora, and no longer needed
        path.unlink(missing_ok=True)
    table = pd.DataFrame(found, columns=["task", "type", "metric", "score"])
    doubts = {task: DISTRUSTED[task] for task in table["task"] if task in DISTRUSTED}
    for what, reasons in (("not scored", failed), ("flagged", doubts)):
        for task, reason in reasons.items():
            print(f"{what}: {task}: {reason}", flush=True)
    drawn = [{"task": r["task"], "draw": i, "score": value} for r in found for i, value in enumerate(r["draws"])]
    table.attrs.update(failed=failed, draws=drawn, seconds=[record["seconds"] for record in found])
    table.attrs.update(encoded=run.encoder.encoded, predictions=run.predictions)
    return table


def draws(table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of the single draws behind a table of ``score``: task, draw, score (0 to 1)."""
    return pd.DataFrame(table.attrs["draws"], columns=["task", "draw", "score"])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the number of sets and their mean score per type, in points (x 100)."""
    by = table.groupby("type", sort=False)["score"]
    return pd.DataFrame({"sets": by.size(), "mean": by.mean() * 100}).round(2)


# ── its score file ───────────────────────────────────────────────────────────────────────────────────────────
def write_scores(params: Params, subset: str, seed: int, table: pd.DataFrame) -> Path:
    """Write a table of ``score`` as ``scores/<subset>/seed<k>.csv``, with the run's factors and provenance; return it.

    Draws, digests and the record of ``write_record`` lie beside it. Raises KitError, writing nothing, if a task failed.
    """
    failed = table.attrs["failed"]
    if failed or table.empty:
        name, reason = next(iter(failed.items()), ("the suite", "nothing was scored"))
        raise KitError(
            f"{len(failed)} tasks of {subset} seed {seed} have no score ({name}: {reason}); run again to retry "
            "them, or name them in scoring.exclude to go on without them"
        )
    chosen, public = ((), False) if subset == BASE else parse_run(subset)
    base = {"world_size": 1, "effective_batch": 0, "steps": 0, "seconds": 0.0}
    made = provenance(params) | (base if subset == BASE else _training(params, subset, seed))
    factors = {"subset": subset, "public": int(public), **levels(chosen, params.study.categories), "seed": seed}
    row = factors | {column: made.get(column, "") for column in COLUMNS}
    full = table.assign(**row, score_seconds=table.attrs["seconds"])
    full = full[[*factors, *table.columns, *COLUMNS, "score_seconds"]]
    drawn = draws(table).assign(subset=subset, seed=seed)[["subset", "seed", "task", "draw", "score"]]
    path = params.scores_dir / subset / f"seed{seed}.csv"
    files = {path.with_suffix(".draws.csv"): drawn, path: full}
    for file, content in files.items():
        write_text(file, content.to_csv(index=False, lineterminator="\n"))
    write_record(params, subset, seed)
    write_digests(path.with_suffix(".manifest.json"), files)
    return path


def write_record(params: Params, subset: str, seed: int) -> Path:
    """Write ``seed<k>.made.json``: the parameters that made a score file, and the digest of the adapter it scores."""
    base = subset == BASE
    adapter = None if base else _training(params, subset, seed).get("adapter")
    made = {"made_of": decisive(params, "base" if base else "score"), "adapter": adapter}
    return write_json(params.scores_dir / subset / f"seed{seed}.made.json", made)


def wanted_sets(params: Params) -> set[str] | None:
    """Return the names of the suite's sets, None where only mteb could say (which takes long to load)."""
    folder = suite_folder(params.scoring.suite)
    return folder and {path.stem for path in folder.glob("*.y*ml")} - set(params.scoring.exclude)


def check_scores(path: Path) -> None:
    """Raise KitError when a score file or its draws are not what ``write_scores`` wrote, by the digests it left."""
    manifest = path.with_suffix(".manifest.json")
    if manifest.is_file() and (file := changed(manifest)):
        raise KitError(f"{file} is not what notebook 04 wrote; delete {path} and run again: scores are kept elsewhere")
