"""Measure scoring against plain mteb + SentenceTransformer, side by side on the same adapters and sets.

    python tests/benchmarks/scoring.py suite [--adapters 2] [--sets ReviewTone TechSTS ...]
    python tests/benchmarks/scoring.py labels [--rows 20000]
    python tests/benchmarks/scoring.py start

``suite``: plain mteb loads a SentenceTransformer with the adapter and evaluates from an empty cache, one adapter after
another; ours keeps one base. Both are warm (imports not counted), and take turns with each adapter, so that a busy
machine slows both. ``labels``: one classification set of synthetic rows with ready-made vectors, so only mteb's own
protocol is timed. ``start``: what each way has to import before the first score. Prints wall and CPU seconds as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("kits", "score")]


class Clock:
    """Wall and CPU seconds of this process, summed over uses."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    def __enter__(self):
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *_):
        self.wall += time.perf_counter() - self._start[0]
        self.cpu += time.process_time() - self._start[1]

    def row(self) -> dict[str, float]:
        return {"wall_s": round(self.wall, 2), "cpu_s": round(self.cpu, 2)}


def suite(count: int, names: list[str]) -> dict:
    """Score ``count`` adapters both ways; return seconds, each adapter's, and the largest difference of a score."""
    import mteb
    import sentence_transformers  # noqa: F401 - warm for both
    import torch
    from test_scoring_slow import adapters, score_each, sentence_transformer

    from lib.embedder.embedder import Embedder
    from lib.params.params import load
    from lib.score import suites

    torch.set_num_threads(1)
    ours, theirs, worst, each = Clock(), Clock(), 0.0, []
    with tempfile.TemporaryDirectory() as out:
        with ours:
            embedder = Embedder.from_params(load("classroom").model, device="cpu")
            tasks = suites.tasks(names or "classroom")
        saved = adapters(Path(out), embedder, count)
        for name, folder in saved.items():
            before = ours.cpu, theirs.cpu
            with ours:
                table = score_each(embedder, {name: folder}, tasks, Path(out) / "ours")[name]
            with theirs:
                model = sentence_transformer()
                model.load_adapter(str(folder))
                fresh = suites.tasks(names or "classroom")
                result = mteb.evaluate(model, fresh, cache=mteb.ResultCache(Path(out) / name), show_progress_bar=False)
            plain = {one.task_name: float(one.get_score()) for one in result.task_results}
            worst = max(worst, max(abs(plain[t] - s) for t, s in zip(table["task"], table["score"], strict=True)))
            each.append({"ours_cpu_s": round(ours.cpu - before[0], 2), "plain_cpu_s": round(theirs.cpu - before[1], 2)})
            print(json.dumps(each[-1]), file=sys.stderr, flush=True)
    return {
        "adapters": count,
        "sets": len(plain),
        "ours": ours.row(),
        "plain": theirs.row(),
        "each": each,
        "times_faster_cpu": round(theirs.cpu / ours.cpu, 2),
        "largest_score_difference": worst,
    }


class Ready:
    """Vectors that cost nothing: one centre per label and a fixed offset per text."""

    dim = 384

    def fingerprint(self) -> str:
        return "ready"

    def adapter_digest(self) -> str:
        return "base"

    def encode(self, texts, **_):
        numbers = np.array([[int(part) for part in text.split()[1::2]] for text in texts])
        centres = np.random.default_rng(0).standard_normal((100, self.dim))
        noise = np.random.default_rng(1).standard_normal((4096, self.dim))
        return (centres[numbers[:, 0]] + 4 * noise[numbers[:, 1] % 4096]).astype(np.float32)


def labels(rows: int) -> dict:
    """Score a classification set of ``rows`` test rows both ways, the vectors given; return seconds and scores."""
    from scoring_kit import lines, naive_encoder
    from test_scoring_slow import OFF

    from lib.score import suites
    from lib.score.score import score

    ours, theirs = Clock(), Clock()
    with tempfile.TemporaryDirectory() as out:
        folder = Path(out, "sets")
        made = [
            {
                "text": f"label {i % 20} text {i}",
                "label": f"l{i % 20:02d}",
                "split": "train" if i < rows // 10 else "test",
            }
            for i in range(rows + rows // 10)
        ]
        lines(folder / "big.jsonl", made)
        (folder / "Big.yaml").write_text("type: Classification\nfile: big.jsonl\n")
        task = suites.tasks(str(folder))[0]
        with ours:
            table = score(Ready(), [task], Path(out) / "ours", params=OFF, progress=False)
        plain = suites.tasks(str(folder))[0]
        with theirs:
            plain.load_data()
            found = plain.evaluate(
                naive_encoder(Ready()), "test", encode_kwargs={"batch_size": 32, "show_progress_bar": False}
            )
    return {
        "rows": rows,
        "ours": ours.row(),
        "plain": theirs.row(),
        "times_faster_cpu": round(theirs.cpu / ours.cpu, 1),
        "scores": [float(table["score"][0]), float(found["default"]["main_score"])],
    }


def start() -> dict:
    """Import what each way needs in a new process; return CPU seconds."""
    ways = {
        "ours": "import lib.score.score, lib.score.encoder, lib.embedder.embedder, peft, torch",
        "plain": "import mteb, sentence_transformers, peft",
    }
    code = "import time; {}; print(time.process_time())"
    return {
        name: float(
            subprocess.run(
                [sys.executable, "-c", code.format(imports)], capture_output=True, text=True, check=True
            ).stdout.split()[-1]
        )
        for name, imports in ways.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["suite", "labels", "start"])
    parser.add_argument("--adapters", type=int, default=2)
    parser.add_argument("--sets", nargs="*", default=[])
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    found = {"suite": lambda: suite(given.adapters, given.sets), "labels": lambda: labels(given.rows), "start": start}[
        given.what
    ]()
    print(json.dumps(found, indent=1))
