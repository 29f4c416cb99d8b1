"""The training run: batches in, one LoRA adapter out, with a log line per step and a checkpoint to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from lib.common.bundled import bar
from lib.common.design import Triplet
from lib.common.files import KitError, append_jsonl, digest, digest_file, read_json, write_json
from lib.embedder.models import CONFIG, WEIGHTS, corrupted
from lib.train import checkpoint
from lib.train.gradcache import GradCache, StepTexts, triplet_texts
from lib.train.mixture import Batch, steps_per_source

if TYPE_CHECKING:
    from lib.embedder.embedder import Embedder
    from lib.params.model import TrainingParams

LOG, SUMMARY = "log.jsonl", "train.json"
COPY = ".train.json"  # the summary again: Snakemake deletes the first when it was killed before it saw the job end
IDENTITY = ("made_of", "params_hash", "data_hash")  # what of ``extra`` says which parameters and data a run is of
CACHED_TEXTS = 200_000  # texts whose token ids are remembered between steps


def train(
    embedder: Embedder,
    pools: Mapping[str, Sequence[Triplet]],
    batches: Sequence[Batch],
    params: TrainingParams,
    out_dir: str | Path,
    seed: int,
    progress: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> dict:
    """Train a fresh adapter on ``batches`` and write it to ``out_dir``; return the run's summary.

    ``out_dir`` gets the adapter in peft's format, ``log.jsonl`` (a line per step) and ``train.json`` (the summary
    and ``extra``, say provenance). A run that was cut off goes on from its checkpoint to the same bits; a finished
    one is only loaded.

    Raises KitError when a loss is not finite, naming the batch; the state before it stays in the checkpoint.
    """
    run, extra = Run(embedder, pools, batches, params, Path(out_dir), seed), dict(extra or {})
    done = run.finished()
    if done is not None:
        named = done | {name: extra[name] for name in IDENTITY if name in extra}
        if named != done:  # the same run by another road
            write_json(run.out_dir / SUMMARY, named)
        embedder.load_adapter(out_dir)
        return named
    run.prepare()
    with bar(total=len(batches), initial=run.start, disable=not progress, desc="train", unit="step") as steps:
        for step in range(run.start, len(batches)):
            row = run.step(step)
            steps.set_postfix(loss=f"{row['loss']:.3f}", tok_s=f"{row['tokens_per_second']:.0f}", data=row["source"])
            steps.update(1)
    return run.finish(extra)


def learning_rate(step: int, steps: int, params: TrainingParams) -> float:
    """Return the rate of optimizer step ``step`` (from 0) of ``steps``: linear warm-up, then the schedule."""
    if step < params.warmup_steps:
        return params.learning_rate * (step + 1) / params.warmup_steps
    done = (step - params.warmup_steps) / max(1, steps - params.warmup_steps)
    factor = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[params.schedule]
    return params.learning_rate * factor


class Run:
    """One training run: what it is made from, its state, and its files."""

    def __init__(self, embedder, pools, batches, params, out_dir: Path, seed: int):
        if not batches:
            raise KitError("there are no batches to train on; raise mixture.steps or mixture.epochs")
        self.embedder, self.pools, self.batches, self.params = embedder, pools, list(batches), params
        self.out_dir, self.seed, self.start, self.log, self._ids = out_dir, seed, 0, [], {}
        # the key: a digest of everything that decides the adapter, with the texts of every batch
        used = [[batch.source, [asdict(pools[batch.source][row]) for row in batch.rows]] for batch in batches]
        lora = {k: v for k, v in embedder.params.model_dump(mode="json").items() if k.startswith("lora_")}
        recipe = params.model_dump(mode="json", exclude={"checkpoint_every", "keep_graph_tokens"})
        self.key = digest([embedder.fingerprint(), lora, recipe, seed, digest(used)])

    def finished(self) -> dict | None:
        """Return the summary of a run that has been finished already from the same data and parameters."""
        for name in (SUMMARY, COPY):
            try:
                summary = read_json(self.out_dir / name) if (self.out_dir / name).is_file() else {}
            except KitError:
                continue
            if summary.get("key") != self.key or not (self.out_dir / WEIGHTS).is_file():
                continue
            if file := corrupted(self.out_dir, summary):
                print(f"{file} is not what training wrote (its digest differs); this run is trained again")
                return None
            # a process killed just before its end had not come to that
            (self.out_dir / checkpoint.NAME).unlink(missing_ok=True)
            if name == COPY:
                write_json(self.out_dir / SUMMARY, summary)
            return summary
        return None

    def prepare(self) -> None:
        """Attach the adapter, build the optimizer, and go to the checkpoint if there is one."""
        from lib.kernels.lora import fuse_lora  # peft takes seconds to import

        self.embedder.attach_lora(self.seed)
        model = self.embedder.model.eval()  # no dropout anywhere: the second forward pass repeats the first
        fuse_lora(model)
        weights = [w for w in model.parameters() if w.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=self.params.learning_rate, weight_decay=self.params.weight_decay)
        self.start, budget = checkpoint.load(self.out_dir, self.key, model, self.optimizer, self.out_dir / LOG)
        for left in self.out_dir.glob(".*.tmp"):
            left.unlink(missing_ok=True)  # what a killed process left half written
        self.log = checkpoint.trim_log(self.out_dir / LOG, self.start)
        self.cache = GradCache(self.embedder, self.params, budget)

    def texts(self, batch: Batch) -> StepTexts:
        """Return a batch as token ids, each text tokenised once per run."""
        return triplet_texts(self.embedder, [self.pools[batch.source][row] for row in batch.rows], self._tokenize)

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        new = [text for text in texts if text not in self._ids]
        if len(self._ids) + len(new) > CACHED_TEXTS:
            self._ids.clear()
            new = texts
        self._ids.update(zip(new, self.embedder.tokenize(new, self.params.max_length), strict=True))
        return [self._ids[text] for text in texts]

    def step(self, step: int) -> dict:
        """Do one optimizer step; return its line of the log."""
        began, batch = time.perf_counter(), self.batches[step]
        group = self.optimizer.param_groups[0]
        self.optimizer.zero_grad(set_to_none=True)
        result = self.cache.run(self.texts(batch))
        norm = float(torch.nn.utils.clip_grad_norm_(group["params"], self.params.clip_norm or math.inf))
        if not (math.isfinite(result.loss) and math.isfinite(norm)):
            self._save(step)  # the weights are still those of the last good step
            rows = ", ".join(str(row) for row in batch.rows[:4])
            raise KitError(
                f"step {step + 1} gave loss {result.loss} and gradient norm {norm} on a batch of {batch.source} (rows "
                f"{rows}, ...); the state after step {step} is in {self.out_dir / checkpoint.NAME}: look at those "
                "rows, or lower training.learning_rate"
            )
        group["lr"] = learning_rate(step, len(self.batches), self.params)
        self.optimizer.step()
        device, seconds = self.embedder.device, time.perf_counter() - began
        gpu = device.type == "cuda"
        memory = torch.cuda.max_memory_allocated(device) if gpu else psutil.Process().memory_info().rss
        row = {
            "step": step + 1,
            "source": batch.source,
            "loss": result.loss,
            "learning_rate": group["lr"],
            "grad_norm": norm,
            "texts": result.texts,
            "tokens": result.tokens,
            "padded_tokens": result.padded,
            "padding_share": round(1 - result.tokens / result.padded, 4),
            "kept_tokens": result.kept,
            "seconds": round(seconds, 4),
            "tokens_per_second": round(result.tokens / seconds, 1),
            "memory_mb": round(memory / 2**20),
        }
        self.log.append(row)
        append_jsonl(self.out_dir / LOG, row)
        every = self.params.checkpoint_every
        if every and (step + 1) % every == 0 and step + 1 < len(self.batches):
            self._save(step + 1)
        return row

    def _save(self, step: int) -> None:
        checkpoint.save(self.out_dir, self.key, step, self.cache.budget, self.embedder.model, self.optimizer)

    def finish(self, extra: dict) -> dict:
        """Write adapter and summary, delete the checkpoint."""
        self.embedder.save_adapter(self.out_dir)
        tokens, padded, seconds = (sum(row[k] for row in self.log) for k in ("tokens", "padded_tokens", "seconds"))
        summary = {
            **extra,
            "key": self.key,
            "seed": self.seed,
            "steps": len(self.batches),
            "steps_per_source": steps_per_source(self.batches),
            "world_size": 1,  # processes that train one adapter, a column of the results
            "effective_batch": len(self.batches[0].rows),
            "losses": [row["loss"] for row in self.log],
            "tokens": tokens,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
            "padding_share": round(1 - tokens / max(padded, 1), 4),
            "peak_memory_mb": max((row["memory_mb"] for row in self.log), default=0),
            "micro_batch_tokens": self.cache.budget,
            "adapter_digest": self.embedder.adapter_digest(),
            "embedder": self.embedder.fingerprint(),
            "adapter": digest_file(self.out_dir / WEIGHTS),
            "adapter_config": digest_file(self.out_dir / CONFIG),
        }
        write_json(self.out_dir / COPY, summary)
        write_json(self.out_dir / SUMMARY, summary)
        (self.out_dir / checkpoint.NAME).unlink(missing_ok=True)
        return summary
