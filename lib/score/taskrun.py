"""Run mteb's tasks for one adapter: look in the store, run what is missing, keep what came out, say what failed."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

from lib.common.files import CannotWrite, KitError, cannot_write, digest, disk_full, write_json, writing
from lib.score.store import Store, finite, mteb_version, task_key


class TaskRun:
    """One adapter over many tasks: the store, the encoder with its vectors, the retries. See ``lib.score.score.score``."""

    def __init__(self, embedder, out_dir: Path, name: str, settings, predictions: bool = False):
        self.embedder, self.out_dir, self.name, self.settings = embedder, out_dir, name, settings
        self.adapter = embedder.adapter_digest()
        self.how = {"embedder": embedder.fingerprint()}
        self.revision = digest([self.adapter, self.how, settings.instructions, settings.instruction_overrides])
        items = out_dir / "items" / f"{name.replace('/', '-')}-{self.revision[:8]}"
        self.predictions = items if predictions else None
        self.store = Store(out_dir / "store")
        self.bar = None
        self._encoder = None

    @property
    def encoded(self) -> int:
        """Texts encoded so far."""
        return self._encoder.encoded if self._encoder else 0

    @property
    def encoder(self):
        """The mteb encoder, made when the first task really has to be run. No two adapters share its name."""
        if self._encoder is None:
            from lib.score.encoder import MtebEncoder

            s = self.settings
            self._encoder = MtebEncoder(
                self.embedder,
                f"kit/{self.name.replace('/', '-')}-{self.revision[:8]}",
                self.revision,
                self.instructions(),
                s.batch_tokens or None,
                on_texts=self.bar.texts if self.bar else None,
                corpus_dir=s.corpus_dir or self.out_dir / "corpora",
                large_corpus=s.large_corpus,
            )
        return self._encoder

    def instructions(self):
        """Return the rule that gives each task its instruction; none for a model without a place for one."""
        from lib.score.encoder import Instructions

        template = getattr(getattr(self.embedder, "params", None), "query_template", "{text}")
        mode = self.settings.instructions if template else "off"
        return Instructions(mode, self.settings.instruction_overrides)

    def key(self, task) -> str:
        """Return the record's key; of the instructions, only those that this task uses count."""
        from mteb.types import PromptType

        rule, parts = self.instructions(), getattr(task, "tasks", None) or [task]
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
            if record is not None and not self._lacks_predictions(task):
                return record, ""
            if getattr(task, "is_aggregate", False):
                return self._aggregate(task, key)
            reason = self._attempts(task, key)
        except CannotWrite:
            raise  # nothing that the next tasks give could be kept
        except KitError as error:
            return None, str(error)
        return (None, reason) if reason else (self.store.get(task.metadata.name, key), "")

    def _lacks_predictions(self, task) -> bool:
        return self.predictions is not None and not (self.predictions / task.prediction_file_name).is_file()

    def _attempts(self, task, key: str) -> str:
        """Run a task, again if it fails; return why there is no score, or ""."""
        from lib.score.fastmteb import TimeLimit, quiet, time_limit, unchecked
        from lib.score.hub import unload

        reason = ""
        for _ in range(self.settings.attempts):
            try:
                with quiet(), unchecked(), time_limit(self.settings.time_limit):
                    self._evaluate(task, key)
                return ""
            except TimeLimit:
                return f"took longer than scoring.time_limit ({self.settings.time_limit:g} s)"
            except CannotWrite:
                raise
            except KitError as error:
                return str(error)
            except Exception as error:
                if disk_full(error):
                    raise cannot_write(error.filename or self.out_dir / task.metadata.name, error) from error
                reason = _reason(task, error)
            finally:
                if not hasattr(task, "spec"):
                    unload(task)
        return reason

    def _evaluate(self, task, key: str) -> None:
        from lib.score.fastmteb import materialise_labels
        from lib.score.hub import own_arrow_cache
        from lib.score.suites import fresh

        started = time.perf_counter()
        if not task.data_loaded:
            with own_arrow_cache(task):
                task.load_data()
            check_candidates(task)
            materialise_labels(task)
        twin = fresh(task)  # clustering draws from a generator that advances: every model needs its own
        folder = self.predictions / "unfinished" if self.predictions is not None else None
        if folder is not None:
            (folder / twin.prediction_file_name).unlink(missing_ok=True)  # mteb would add to a file cut off by a kill
        scores = {
            split: dict(
                twin.evaluate(self.encoder, split, encode_kwargs={"show_progress_bar": False}, prediction_folder=folder)
            )
            for split in twin.eval_splits
        }
        self._keep(twin, key, scores, time.perf_counter() - started)
        if folder is not None:
            (folder / twin.prediction_file_name).replace(folder.parent / twin.prediction_file_name)

    def _keep(self, task, key: str, scores: dict, seconds: float) -> dict:
        """Write mteb's own JSON and then the record, which is what says that the task is done."""
        from mteb.cache import ResultCache
        from mteb.results import TaskResult

        result = TaskResult.from_task_results(
            task, scores, evaluation_time=seconds, date=datetime.datetime.now(tz=datetime.UTC)
        )
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
            "scores": _small(scores),
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
        scores = {
            split: {"default": {task.metadata.main_score: mean, "main_score": mean}}
            for split in task.metadata.eval_splits
        }
        return self._keep(task, key, scores, sum(record["seconds"] for record, _ in records.values())), ""

    def close(self, failed: dict[str, str]) -> None:
        """Write what failed (or take the old list away); streamed corpora are deleted when nothing is left to do."""
        path = self.out_dir / "failed" / f"{self.name.replace('/', '-')}.json"
        if failed:
            write_json(path, failed)
        else:
            path.unlink(missing_ok=True)
            if self._encoder is not None:
                self._encoder.drop_corpora()


def _reason(task, error: Exception) -> str:
    """Say in one line why a task has no score; for a hub that went away, how to do without it."""
    from lib.common.network import went_away
    from lib.score.hub import how_to_bring

    if not hasattr(task, "spec") and went_away(error):
        return how_to_bring({str(task.metadata.dataset["path"]): str(task.metadata.dataset["revision"])})
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def check_candidates(task) -> None:
    """Raise KitError for a loaded reranking set without candidates: mteb would quietly search the whole corpus."""
    if task.metadata.type != "Reranking" or not isinstance(task.dataset, dict):
        return
    for subset in task.dataset.values():
        for split in subset.values():
            if not split.get("top_ranked"):
                raise KitError(
                    f"{task.metadata.name} has lost its candidates (top_ranked); fetch the whole set with "
                    "`hf download` and name the folder in scoring.data_dir"
                )


def draws_of(task, scores: dict) -> list[float]:
    """Return the main metric of every draw: few-shot samples of a classification, bootstraps of a clustering.

    Draws come from fixed seeds and a fresh task, so draw i of two adapters is the same sample and can be paired.
    """
    draws: list[float] = []
    for split in scores.values():
        for subset in split.values():
            draws += [float(one[task.metadata.main_score]) for one in subset.get("scores_per_experiment", [])]
            measures = subset.get("v_measures", [])
            for level in measures.values() if isinstance(measures, dict) else [measures]:
                draws += [float(one) for one in level]
    return draws


def _small(scores: dict) -> dict:
    """Leave the per-draw tables out: the draws are kept on their own, and mteb's JSON has all of it."""
    large = ("scores_per_experiment", "v_measures", "ami_scores")
    return {
        split: {subset: {k: v for k, v in row.items() if k not in large} for subset, row in rows.items()}
        for split, rows in scores.items()
    }
