"""Run mteb's tasks for one adapter: look in the store, run what is missing, keep what came out, say what failed.

mteb's own cache ignores encoder settings and the set's revision, gives every local checkpoint the same name, and rounds
to six digits. The key of this store is a digest of everything that can move a score: the adapter's weights, the
encoder's settings, the instruction, the set's content and settings, and mteb's version.
"""

from __future__ import annotations

import io
import json
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lib.common.bundled import went_away
from lib.common.files import CannotWrite, KitError, cannot_write, digest, disk_full, write_json, writing
from lib.params.model import ScoringParams
from lib.params.provenance import package_versions
from lib.score import hub
from lib.score.suites import fresh, leaves

# the numbers of mteb's protocols that a set can change
PROTOCOL = (
    "n_experiments samples_per_label n_clusters max_documents_per_cluster k_mean_batch_size seed "
    "max_fraction_of_documents_to_embed max_document_to_embed min_score max_score max_depth k_values"
).split()


def task_key(task, adapter: str, settings: Any) -> str:
    """Return the 16 hex digits under which the score of ``task`` is kept for one adapter and one way to encode."""
    data = dict(task.metadata.dataset)
    if Path(str(data.get("path", ""))).is_dir():
        data = {"revision": data.get("revision"), "content": hub.folder_digest(data["path"])}
    identity = {"name": task.metadata.name, "type": task.metadata.type, "metric": task.metadata.main_score}
    identity |= {"data": data, "splits": list(task.eval_splits), "subsets": list(task.hf_subsets)}
    identity["protocol"] = {name: getattr(task, name) for name in PROTOCOL if hasattr(task, name)}
    return digest([identity, adapter, settings, package_versions()["mteb"]])


def stored(path: Path) -> dict[str, Any] | None:
    """Return the record in a file of the store, None when there is none, or none that is as it was written."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if record.pop("digest") == digest(record) else None
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None


class TaskRun:
    """One adapter over many tasks: the store, and the encoder with its vectors."""

    def __init__(self, embedder, out_dir: Path, name: str, settings: ScoringParams, predictions: bool):
        from lib.score.encoder import MtebEncoder

        self.out_dir, self.adapter, self.how = out_dir, embedder.adapter_digest(), {"embedder": embedder.fingerprint()}
        # a model whose template has no place for an instruction gets none
        template = getattr(getattr(embedder, "params", None), "query_template", "{text}")
        mode = settings.instructions if template else "off"
        # {}: instructions of one's own, which there once were; so what is finished is found again
        revision = digest([self.adapter, self.how, settings.instructions, {}])
        unique = f"{name}-{revision[:8]}"  # no two adapters share it, since mteb tells models apart by name
        corpora = settings.corpus_dir or out_dir / "corpora"
        self.encoder = MtebEncoder(embedder, f"kit/{unique}", revision, mode, corpora)
        self.predictions = out_dir / "items" / unique if predictions else None

    def key(self, task) -> str:
        """The record's key; of the instructions, only those that this task uses count."""
        from mteb.types import PromptType

        from lib.score.encoder import instruction_of

        parts, sides = leaves(task), (PromptType.query, None)
        texts = [[instruction_of(part.metadata, side, self.encoder.mode) for side in sides] for part in parts]
        extra = [self.key(part) for part in parts] if parts != [task] else []
        return task_key(task, self.adapter, {**self.how, "instructions": texts, "parts": extra})

    def records(self, tasks: Sequence, failed: dict[str, str]) -> Iterator[dict | None]:
        """Yield each task's record, None where it fails, with the reason in ``failed``; a full disk ends it all."""
        for task in tasks:
            try:
                record = self._record(task)
            except CannotWrite:
                raise
            except KitError as error:
                record, failed[task.metadata.name] = None, str(error)
            yield record

    def _record(self, task) -> dict:
        """A task's record from the store, else of a run; of an aggregate the mean, once all parts have a record."""
        name, key = task.metadata.name, self.key(task)
        path = self.out_dir / "store" / f"{name}.{key}.json"
        lacking = self.predictions is not None and not (self.predictions / task.prediction_file_name).is_file()
        if not lacking and (known := stored(path)):
            return known
        if leaves(task) != [task]:
            records = list(self.records(task.tasks, lost := {}))
            if lost:
                part, reason = next(iter(lost.items()))
                raise KitError(f"{len(lost)} of its {len(records)} parts failed ({part}: {reason})")
            mean = sum(record["score"] for record in records) / len(records)
            row = {task.metadata.main_score: mean, "main_score": mean}
            scores = {split: {"default": row} for split in task.metadata.eval_splits}
            return self._keep(path, task, key, scores, sum(record["seconds"] for record in records))
        try:
            started = time.perf_counter()
            scores = self._scores(task)
            return self._keep(path, task, key, scores, time.perf_counter() - started)
        except KitError:
            raise
        except Exception as error:
            if disk_full(error):
                raise cannot_write(error.filename or self.out_dir / name, error) from error
            if not hasattr(task, "spec") and went_away(error):
                raise KitError(hub.how_to_bring([task])) from error
            raise KitError(f"{type(error).__name__}: {error}".splitlines()[0][:300]) from error
        finally:
            hub.unload(task)

    def _scores(self, task) -> dict[str, dict]:
        """mteb's scores of a task by split and subset."""
        if not task.data_loaded:
            with quick_and_quiet():
                hub.load(task)
        twin = fresh(task)  # clustering draws from a generator that advances: every model needs its own
        options: dict[str, Any] = {"encode_kwargs": {"show_progress_bar": False}}
        if self.predictions is not None:
            half = options["prediction_folder"] = self.predictions / "unfinished"
            (half / twin.prediction_file_name).unlink(missing_ok=True)  # mteb would add to one cut off by a kill
        with quick_and_quiet(task):
            scores = {split: dict(twin.evaluate(self.encoder, split, **options)) for split in twin.eval_splits}
        if self.predictions is not None:
            (half / twin.prediction_file_name).replace(self.predictions / twin.prediction_file_name)
        return scores

    def _keep(self, path: Path, task, key: str, scores: dict, seconds: float) -> dict:
        """Write mteb's own JSON and then the record, which is what says that the task is done."""
        from mteb.cache import ResultCache
        from mteb.results import TaskResult

        result = TaskResult.from_task_results(task, scores, evaluation_time=seconds, date=datetime.now(tz=UTC))
        value = float(result.get_score())
        if not math.isfinite(value):
            raise KitError(f"{task.metadata.name} came out as {value}, not a number; look at its data")
        with writing(self.out_dir / "mteb" / task.metadata.name):
            ResultCache(self.out_dir / "mteb").save_to_cache(result, self.encoder.mteb_model_meta)
        meta, version = task.metadata, package_versions()["mteb"]
        record = {"task": meta.name, "type": meta.type, "metric": meta.main_score, "score": value}
        record |= {"draws": _draws_of(task, scores), "key": key, "adapter": self.adapter, "encoder": self.how}
        record |= {"mteb": version, "revision": meta.revision, "seconds": round(seconds, 3)}
        write_json(path, {**record, "digest": digest(record)})
        return record


def _draws_of(task, scores: dict) -> list[float]:
    """The main metric of every few-shot sample or bootstrap; draw i is the same sample for all adapters."""
    draws: list = []
    for subset in (row for split in scores.values() for row in split.values()):
        draws += [one[task.metadata.main_score] for one in subset.get("scores_per_experiment", ())]
        levels = subset.get("v_measures", [])
        draws += sum(levels.values(), []) if isinstance(levels, dict) else levels
    return [float(one) for one in draws]


@contextmanager
def quick_and_quiet(task=None) -> Iterator[None]:
    """Run mteb without bars and chatter, and without what costs time and changes nothing.

    scikit-learn's checks of its input are a third of a small task's time. Since datasets 4 columns are lazy, and
    scikit-learn reads labels 56 times per experiment, row by row: 40 minutes for AmazonPolarity, if not read whole.
    """
    import sklearn
    from datasets import arrow_dataset
    from mteb.abstasks import AbsTaskClassification

    def whole(table, name: str):
        values = table._getitem(name)
        return np.asarray(values) if values and isinstance(values[0], int) else values

    lazy, checks = arrow_dataset.Column, sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
    with checks, warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        arrow_dataset.Column = whole if isinstance(task, AbsTaskClassification) else lazy
        try:
            yield
        finally:
            arrow_dataset.Column = lazy
