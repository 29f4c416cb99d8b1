"""Score adapters with mteb's own tasks and evaluators: each score kept as soon as it is known, and only if true.

A killed run goes on where it was; a task that fails or gives no number is listed and tried again, never averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from lib.common.display import bar, wipe
from lib.common.files import KitError
from lib.params.params import ScoringParams
from lib.score.hub import prepare
from lib.score.suites import DISTRUSTED, kept_random_state
from lib.score.taskrun import TaskRun

COLUMNS = ["task", "type", "metric", "score"]


@contextmanager
def merged(embedder, limit: int = 2 << 30) -> Iterator[None]:
    """Add the active adapter into float32 base weights for a while: the same vectors, a quarter faster on a CPU.

    On leaving, the base gets its very own bits back. Half precision (merging would round) and adapted layers of
    more than ``limit`` bytes are left as they are.
    """
    if embedder.adapter_digest() == "base" or not hasattr(embedder, "model"):
        yield
        return
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in embedder.model.modules() if isinstance(module, BaseTunerLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    if not weights or any(w.dtype != torch.float32 for w in weights) or sum(w.nbytes for w in weights) > limit:
        yield
        return
    kept = [weight.detach().clone() for weight in weights]
    for layer in layers:
        layer.merge()
    try:
        yield
    finally:
        with torch.no_grad():
            for layer, weight in zip(layers, kept, strict=True):
                layer.unmerge()
                layer.get_base_layer().weight.copy_(weight)


def score(
    embedder,
    tasks: Sequence,
    out_dir: str | Path,
    *,
    name: str = "model",
    params: ScoringParams | None = None,
    progress: bool = True,
    predictions: bool = False,
) -> pd.DataFrame:
    """Score the embedder's active adapter on ``tasks`` and return tidy rows ``task, type, metric, score`` (0 to 1).

    ``out_dir`` keeps one record per task in ``store/``, mteb's own JSON in ``mteb/``, and what failed in
    ``failed/<name>.json``. Records that fit (adapter, encoder settings, set, mteb version) are not made again.
    ``params`` is the scoring section; ``predictions`` keeps mteb's per-item predictions too.
    The frame's ``attrs``: ``draws`` (see ``draws``), ``failed`` {task: reason}, ``encoded`` (texts), ``seconds`` (per
    row), ``predictions`` (their folder). Raises KitError when there is nothing to score.
    """
    settings = params or ScoringParams()
    wanted = [task for task in tasks if task.metadata.name not in settings.exclude]
    if not wanted:
        raise KitError("there is nothing to score: the suite names no tasks, or all of them are in scoring.exclude")
    ready, failed = prepare(wanted, settings.data_dir)
    _tell("not scored", failed)
    with kept_random_state(), merged(embedder):
        run = TaskRun(embedder, Path(out_dir), name, settings, predictions)
        records = _records(run, ready, failed, progress)
    table = pd.DataFrame([{column: record[column] for column in COLUMNS} for record in records], columns=COLUMNS)
    _tell("flagged", {task: DISTRUSTED[task] for task in table["task"] if task in DISTRUSTED})
    drawn = [{"task": r["task"], "draw": i, "score": value} for r in records for i, value in enumerate(r["draws"])]
    table.attrs.update(failed=failed, draws=drawn, seconds=[record["seconds"] for record in records])
    table.attrs.update(encoded=run.encoder.encoded, predictions=run.predictions)
    return table


def _records(run: TaskRun, tasks: Sequence, failed: dict[str, str], progress: bool) -> list[dict]:
    """Run the tasks and return the records of those that have a score; why others have none goes into ``failed``."""
    records = []
    with bar(total=len(tasks), desc=run.name, unit="set", disable=not progress, leave=False) as shown:
        run.encoder.on_texts = lambda _: shown.set_postfix_str(f"{run.encoder.encoded} texts encoded")
        for task in tasks:
            record, reason = run.task(task)
            if record is not None:
                records.append(record)
            else:
                failed[task.metadata.name] = reason
                _tell("not scored", {task.metadata.name: reason})
            shown.update()
    if progress and wipe():
        _tell("not scored", failed)
    run.close(failed)
    return records


def draws(table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of the single draws behind a table of ``score``: task, draw, score (0 to 1)."""
    return pd.DataFrame(table.attrs.get("draws", []), columns=["task", "draw", "score"])


def _tell(what: str, reasons: dict[str, str]) -> None:
    for task, reason in reasons.items():
        print(f"{what}: {task}: {reason}", flush=True)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the number of sets and their mean score per type, in points (x 100)."""
    by = table.groupby("type", sort=False)["score"]
    return pd.DataFrame({"sets": by.size(), "mean": by.mean() * 100}).round(2)
