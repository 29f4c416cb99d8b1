"""Run mteb's tasks for one adapter: look in the store, run what is missing, keep what came out, say what failed."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

from lib.common.bundled import went_away
from lib.common.files import CannotWrite, KitError, cannot_write, digest, disk_full, write_json, writing
from lib.score import hub
from lib.score.store import Store, finite, mteb_version, task_key
from lib.score.suites import fresh, leaves


class TaskRun:
    """One adapter over many tasks: the store, the encoder with its vectors, the retries. See ``lib.score.score.score``.

    ``settings`` is the scoring section of the parameters.
    """

    def __init__(self, embedder, out_dir: Path, name: str, settings, predictions: bool = False):
        from lib.score.encoder import Instructions, MtebEncoder

        self.out_dir, self.name, self.settings = out_dir, name.replace("/", "-"), settings
        self.adapter = embedder.adapter_digest()
        self.how = {"embedder": embedder.fingerprint()}
        # a model whose template has no place for an instruction gets none
        template = getattr(getattr(embedder, "params", None), "query_template", "{text}")
        mode = settings.instructions if template else "off"
        revision = digest([self.adapter, self.how, settings.instructions, settings.instruction_overrides])
        unique = f"{self.name}-{revision[:8]}"  # no two adapters share it, since mteb tells models apart by name
        self.encoder = MtebEncoder(
            embedder,
            f"kit/{unique}",
            revision,
            Instructions(mode, settings.instruction_overrides),
            settings.batch_tokens or None,
            corpus_dir=settings.corpus_dir or out_dir / "corpora",
            large_corpus=settings.large_corpus,
        )
        self.predictions = out_dir / "items" / unique if predictions else None
        self.store = Store(out_dir / "store")

    def key(self, task) -> str:
        """Return the record's key; of the instructions, only those that this task uses count."""
        from mteb.types import PromptType

        rule, parts = self.encoder.instructions, leaves(task)
        texts = [[rule.of(part.metadata, side) for side in (PromptType.query, None)] for part in parts]
        extra = [self.key(part) for part in parts] if parts != [task] else []
        return task_key(task, self.adapter, {**self.how, "instructions": texts, "parts": extra})

    def task(self, task) -> tuple[dict | None, str]:
        """Return (record, ""), or (None, why there is none). An aggregate's parts are run and kept one by one.

        Raises CannotWrite when nothing more can be kept, say because the disk is full.
        """
        try:
            key = self.key(task)
            record = self.store.get(task.metadata.name, key)
            lacking = self.predictions is not None and not (self.predictions / task.prediction_file_name).is_file()
            if record is not None and not lacking:
                return record, ""
            if getattr(task, "is_aggregate", False):
                return self._aggregate(task, key)
            reason = self._attempts(task, key)
        except CannotWrite:
            raise  # nothing that the next tasks give could be kept
        except KitError as error:
            return None, str(error)
        return (None, reason) if reason else (self.store.get(task.metadata.name, key), "")

    def _attempts(self, task, key: str) -> str:
        """Run a task, again if it fails; return why there is no score, or ""."""
        from lib.score.fastmteb import quick_and_quiet

        reason = ""
        for _ in range(self.settings.attempts):
            try:
                with quick_and_quiet():
                    self._evaluate(task, key)
                return ""
            except KitError:
                raise  # the same again next time
            except Exception as error:
                if disk_full(error):
                    raise cannot_write(error.filename or self.out_dir / task.metadata.name, error) from error
                reason = _reason(task, error)
            finally:
                if not hasattr(task, "spec"):
                    hub.unload(task)
        return reason

    def _evaluate(self, task, key: str) -> None:
        from mteb.abstasks import AbsTaskClassification

        from lib.score.fastmteb import materialised

        started = time.perf_counter()
        if not task.data_loaded:
            hub.load(task)
            if isinstance(task, AbsTaskClassification):
                task.dataset = materialised(task.dataset)
        twin = fresh(task)  # clustering draws from a generator that advances: every model needs its own
        folder = self.predictions / "unfinished" if self.predictions is not None else None
        if folder is not None:
            (folder / twin.prediction_file_name).unlink(missing_ok=True)  # mteb would add to a file cut off by a kill
        bars = {"show_progress_bar": False}
        scores = {
            split: dict(twin.evaluate(self.encoder, split, encode_kwargs=bars, prediction_folder=folder))
            for split in twin.eval_splits
        }
        self._keep(twin, key, scores, time.perf_counter() - started)
        if folder is not None:
            (folder / twin.prediction_file_name).replace(folder.parent / twin.prediction_file_name)

    def _keep(self, task, key: str, scores: dict, seconds: float) -> dict:
        """Write mteb's own JSON and then the record, which is what says that the task is done."""
        from mteb.cache import ResultCache
        from mteb.results import TaskResult

        now = datetime.datetime.now(tz=datetime.UTC)
        result = TaskResult.from_task_results(task, scores, evaluation_time=seconds, date=now)
        value = float(result.get_score())
        if not finite(value):
            raise KitError(f"{task.metadata.name} came out as {value}, not a number; look at its data")
        with writing(self.out_dir / "mteb" / task.metadata.name):
            ResultCache(self.out_dir / "mteb").save_to_cache(result, self.encoder.mteb_model_meta)
        record = {
            "task": task.metadata.name,
            "type": task.metadata.type,
            "metric": task.metadata.main_score,
            "score": value,
            "draws": draws_of(task, scores),
            "key": key,
            "adapter": self.adapter,
            "encoder": self.how,
            "mteb": mteb_version(),
            "revision": task.metadata.revision,
            "seconds": round(seconds, 3),
        }
        self.store.put(record)
        return record

    def _aggregate(self, task, key: str) -> tuple[dict | None, str]:
        """Average the parts, when all of them have a score; mteb would keep null as the result."""
        records = {part.metadata.name: self.task(part) for part in task.tasks}
        lost = {name: reason for name, (record, reason) in records.items() if record is None}
        if lost:
            name, reason = next(iter(lost.items()))
            return None, f"{len(lost)} of its {len(records)} parts failed ({name}: {reason})"
        mean = sum(record["score"] for record, _ in records.values()) / len(records)
        row = {task.metadata.main_score: mean, "main_score": mean}
        scores = {split: {"default": row} for split in task.metadata.eval_splits}
        return self._keep(task, key, scores, sum(record["seconds"] for record, _ in records.values())), ""

    def close(self, failed: dict[str, str]) -> None:
        """Write what failed (or take the old list away); streamed corpora are deleted when nothing is left to do."""
        path = self.out_dir / "failed" / f"{self.name}.json"
        if failed:
            write_json(path, failed)
        else:
            path.unlink(missing_ok=True)
            self.encoder.drop_corpora()


def _reason(task, error: Exception) -> str:
    """Say in one line why a task has no score; for a hub that went away, how to do without it."""
    if not hasattr(task, "spec") and went_away(error):
        return hub.how_to_bring({str(task.metadata.dataset["path"]): str(task.metadata.dataset["revision"])})
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def draws_of(task, scores: dict) -> list[float]:
    """Return the main metric of every draw: few-shot samples of a classification, bootstraps of a clustering.

    Draws come from fixed seeds and a fresh task, so draw i of two adapters is the same sample and can be paired.
    """
    draws: list[float] = []
    for subset in (row for split in scores.values() for row in split.values()):
        draws += [float(one[task.metadata.main_score]) for one in subset.get("scores_per_experiment", [])]
        measures = subset.get("v_measures", [])
        for level in measures.values() if isinstance(measures, dict) else [measures]:
            draws += [float(one) for one in level]
    return draws
