"""Run mteb's tasks for one adapter: look in the store, run what is missing, keep what came out, say what failed."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

from lib.files import KitError, digest, write_json
from lib.store import Store, finite, mteb_version, task_key


class TaskRun:
    """One adapter over many tasks: the store, the encoder with its vectors, the retries. See ``lib.scoring.score``."""

    def __init__(self, embedder, out_dir: Path, name: str, settings, predictions: str | Path | None = None):
        self.embedder, self.out_dir, self.name, self.settings, self.predictions = embedder, out_dir, name, settings, predictions
        self.adapter = embedder.adapter_digest()
        self.how = {"embedder": embedder.fingerprint()}
        self.revision = digest([self.adapter, self.how, settings.instructions, settings.instruction_overrides])
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
            from lib.encoder import MtebEncoder

            s = self.settings
            self._encoder = MtebEncoder(
                self.embedder, f"kit/{self.name.replace('/', '-')}-{self.revision[:8]}", self.revision, self.instructions(),
                s.batch_tokens or None, on_texts=self.bar.texts if self.bar else None,
                corpus_dir=s.corpus_dir or self.out_dir / "corpora", large_corpus=s.large_corpus)
        return self._encoder

    def instructions(self):
        """Return the rule that gives each task its instruction."""
        from lib.encoder import Instructions

        return Instructions(self.settings.instructions, self.settings.instruction_overrides)

    def key(self, task) -> str:
        """Return the record's key; of the instructions, only those that this task uses count."""
        from mteb.types import PromptType

        rule, parts = self.instructions(), getattr(task, "tasks", None) or [task]
        texts = [[rule.of(part.metadata, side) for side in (PromptType.query, None)] for part in parts]
        extra = [self.key(part) for part in parts] if parts != [task] else []
        return task_key(task, self.adapter, {**self.how, "instructions": texts, "parts": extra})

    def task(self, task) -> tuple[dict | None, str]:
        """Return (record, "") of a task, or (None, why there is none). An aggregate's parts are run and kept one by one."""
        try:
            key = self.key(task)
            record = self.store.get(task.metadata.name, key)
            if record is not None and self.predictions is None:
                return record, ""
            if getattr(task, "is_aggregate", False):
                return self._aggregate(task, key)
            reason = self._attempts(task, key)
        except KitError as error:
            return None, str(error)
        return (None, reason) if reason else (self.store.get(task.metadata.name, key), "")

    def _attempts(self, task, key: str) -> str:
        """Run a task, again if it fails; return why there is no score, or ""."""
        from lib.fastmteb import TimeLimit, quiet, time_limit, unchecked

        reason = ""
        for _ in range(self.settings.attempts):
            try:
                with quiet(), unchecked(), time_limit(self.settings.time_limit):
                    self._evaluate(task, key)
                return ""
            except TimeLimit:
                return f"took longer than scoring.time_limit ({self.settings.time_limit:g} s)"
            except KitError as error:
                return str(error)
            except Exception as error:  # noqa: BLE001 - one broken set must not take the others down; it is listed
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            finally:
                if not hasattr(task, "spec"):
                    task.unload_data()
        return reason

    def _evaluate(self, task, key: str) -> None:
        from lib.fastmteb import materialise_labels
        from lib.hub import own_arrow_cache
        from lib.suites import fresh

        started = time.perf_counter()
        if not task.data_loaded:
            with own_arrow_cache(task):
                task.load_data()
            check_candidates(task)
            materialise_labels(task)
        twin = fresh(task)  # clustering draws from a generator that advances: every model needs its own
        scores = {split: dict(twin.evaluate(self.encoder, split, encode_kwargs={"show_progress_bar": False},
                                            prediction_folder=self.predictions)) for split in twin.eval_splits}
        self._keep(twin, key, scores, time.perf_counter() - started)

    def _keep(self, task, key: str, scores: dict, seconds: float) -> dict:
        """Write mteb's own JSON and then the record, which is what says that the task is done."""
        from mteb.cache import ResultCache
        from mteb.results import TaskResult

        result = TaskResult.from_task_results(task, scores, evaluation_time=seconds, date=datetime.datetime.now(tz=datetime.UTC))
        value = float(result.get_score())
        if not finite(value):
            raise KitError(f"{task.metadata.name} came out as {value}, not a number; look at its data")
        ResultCache(self.out_dir / "mteb").save_to_cache(result, self.encoder.mteb_model_meta)
        record = {"task": task.metadata.name, "type": task.metadata.type, "metric": task.metadata.main_score, "score": value,
                  "draws": draws_of(task, scores), "key": key, "adapter": self.adapter, "encoder": self.how, "mteb": mteb_version(),
                  "revision": task.metadata.revision, "seconds": round(seconds, 3), "scores": _small(scores)}
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
        scores = {split: {"default": {task.metadata.main_score: mean, "main_score": mean}} for split in task.metadata.eval_splits}
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


def check_candidates(task) -> None:
    """Raise KitError for a loaded reranking set without candidates: mteb would quietly search the whole corpus."""
    if task.metadata.type != "Reranking" or not isinstance(task.dataset, dict):
        return
    for subset in task.dataset.values():
        for split in subset.values():
            if not split.get("top_ranked"):
                raise KitError(f"{task.metadata.name} has lost its candidates (top_ranked); fetch the whole set with "
                               "`hf download` and name the folder in scoring.data_dir")


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
    return {split: {subset: {k: v for k, v in row.items() if k not in large} for subset, row in rows.items()}
            for split, rows in scores.items()}


class Bar:
    """One bar per suite in characters, with the running task's name, its texts done, and the time left."""

    def __init__(self, tasks, name: str, shown: bool):
        from tqdm.auto import tqdm

        self.sizes = {task.metadata.name: task_size(task) for task in tasks} if shown else {}
        self.bar = tqdm(total=sum(self.sizes.values()), desc=name, disable=not shown, leave=False,
                        bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}<{remaining}{postfix}")
        self.count, self.name = 0, ""

    def task(self, task) -> None:
        """Show which task is running."""
        self.count, self.name = 0, task.metadata.name
        self.bar.set_postfix_str(self.name)

    def texts(self, number: int) -> None:
        """Show how many texts of the running task have been encoded."""
        self.count += number
        self.bar.set_postfix_str(f"{self.name} {self.count} texts")

    def done(self, task) -> None:
        """Move on by the task's size."""
        self.bar.update(self.sizes.get(task.metadata.name, 0))

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()


def task_size(task) -> int:
    """Return a set's size in characters, from its files or from the statistics that mteb ships; 100,000 if unknown."""
    from lib.localsets import files_of
    from lib.suites import leaves

    if hasattr(task, "spec"):
        return sum(path.stat().st_size for path in files_of(task.spec, task.folder))
    total = 0
    for leaf in leaves(task):
        stats = leaf.metadata.descriptive_stats or {}
        total += sum(int(split.get("number_of_characters") or 0) for split in stats.values() if isinstance(split, dict))
    return total or 100_000
