"""Mining at the paper's size: time, peak memory and exactness, and ours beside sentence-transformers'.

    python tests/benchmarks/mining.py                    # 150,000 x 150,000 x 384 and the comparison
    python tests/benchmarks/mining.py --rows 20000       # a quick look

Vectors are random: clusters of a shared direction plus noise, so that neighbours exist, as in real embeddings.
Each measurement runs in a process of its own, so that its peak memory is its own. Prints a table, writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

DIM, TOP_K, MARGIN = 384, 10, 0.05


def vectors(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return queries and positives of unit length, float32; 1 in 50 rows shares its cluster."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(rows // 50, 1), DIM), dtype=np.float32)
    queries = np.empty((rows, DIM), np.float32)
    positives = np.empty((rows, DIM), np.float32)
    for start in range(0, rows, 10_000):
        part = slice(start, min(start + 10_000, rows))
        topic = centres[rng.integers(0, len(centres), part.stop - start)]
        shared = topic + 0.8 * rng.standard_normal(topic.shape, dtype=np.float32)
        for target, spread in ((queries, 0.5), (positives, 0.5)):
            target[part] = shared + spread * rng.standard_normal(topic.shape, dtype=np.float32)
            target[part] /= np.linalg.norm(target[part], axis=1, keepdims=True)
    return queries, positives


def peak_mb() -> float:
    """Return the largest memory this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(rows: int) -> dict:
    """Time the exact search of this kit and check part of it against a plain full sort."""
    from lib.generate.negatives import top_k

    queries, positives = vectors(rows)
    score = np.einsum("nd,nd->n", queries, positives)
    before, start, cpu = peak_mb(), time.perf_counter(), time.process_time()
    _, found = top_k(queries, positives, TOP_K, ceiling=score * (1 - MARGIN), forbidden=((i, i) for i in range(rows)))
    wall, cpu, peak = time.perf_counter() - start, time.process_time() - cpu, peak_mb()
    sample = np.random.default_rng(1).choice(rows, min(500, rows), replace=False)
    hits = 0
    for row in sample:
        line = positives @ queries[row]
        line[row] = -np.inf
        line[line >= score[row] * (1 - MARGIN)] = -np.inf
        hits += len(set(np.argsort(-line, kind="stable")[:TOP_K]) & set(found[row]))
    return {
        "what": "lib.generate.negatives.top_k",
        "rows": rows,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "peak_mb": round(peak),
        "peak_mb_of_search": round(peak - before),
        "recall_at_10": hits / (len(sample) * TOP_K),
        "filled": float((found >= 0).mean()),
        "matrix_would_be_gb": round(rows * rows * 4 / 1e9, 1),
    }


def ours_mine(rows: int) -> dict:
    """Time the whole of ``lib.generate.negatives.mine`` with embeddings that cost nothing."""
    from lib.common.design import Triplet
    from lib.generate.negatives import mine
    from lib.params.data import NegativesParams

    queries, positives = vectors(rows)
    triplets = [Triplet("t", f"q {i}", f"p {i}", "", "short_short", "English") for i in range(rows)]

    def encode(found: list[str]) -> np.ndarray:
        source = queries if found[0].startswith("q") else positives
        return source[[int(text.split()[1]) for text in found]]

    before, start, cpu = peak_mb(), time.perf_counter(), time.process_time()
    mined = mine(triplets, NegativesParams(margin=MARGIN, same_language=False), encode)
    return {
        "what": "lib.generate.negatives.mine",
        "rows": rows,
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "peak_mb": round(peak_mb()),
        "peak_mb_of_search": round(peak_mb() - before),
        "with_negative": sum(bool(t.negative) for t in mined),
    }


def theirs(rows: int) -> dict:
    """Time sentence-transformers' mine_hard_negatives on the same vectors, without FAISS, its CPU way."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    queries, positives = vectors(rows)

    class LookUp:
        """What the function needs of a model: encode, similarity, and no prompts."""

        device, prompts, default_prompt_name = "cpu", {}, None

        def encode(self, found, **_):
            source = queries if found[0].startswith("q") else positives
            return source[[int(text.split()[1]) for text in found]]

        encode_query = encode_document = encode

        def similarity(self, a, b):
            import torch

            return torch.as_tensor(a) @ torch.as_tensor(b).T

        def similarity_pairwise(self, a, b):
            import torch

            return (torch.as_tensor(a) * torch.as_tensor(b)).sum(-1)

        def start_multi_process_pool(self, *_, **__):
            raise NotImplementedError

    table = Dataset.from_dict({"query": [f"q {i}" for i in range(rows)], "positive": [f"p {i}" for i in range(rows)]})
    before, start, cpu = peak_mb(), time.perf_counter(), time.process_time()
    mined = mine_hard_negatives(
        table,
        LookUp(),
        anchor_column_name="query",
        positive_column_name="positive",
        range_min=0,
        range_max=TOP_K,
        relative_margin=MARGIN,
        num_negatives=1,
        sampling_strategy="random",
        use_faiss=False,
        verbose=False,
    )
    return {
        "what": "sentence-transformers mine_hard_negatives",
        "rows": rows,
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "peak_mb": round(peak_mb()),
        "peak_mb_of_search": round(peak_mb() - before),
        "with_negative": len(mined),
    }


def apart(name: str, rows: int) -> dict:
    """Run one measurement in its own process and return its result, or how it failed."""
    command = [sys.executable, __file__, "--only", name, "--rows", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else f"signal {-done.returncode}"
        return {"what": name, "rows": rows, "failed": last}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=150_000)
    parser.add_argument("--compare", type=int, default=20_000, help="rows of the side-by-side comparison")
    parser.add_argument("--only", choices=["ours", "ours_mine", "theirs"])
    parser.add_argument("--out", default="runs/benchmarks/mining.json")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(globals()[given.only](given.rows)))
        return
    results = [apart("ours_mine", given.compare), apart("theirs", given.compare), apart("ours", given.rows)]
    print(f"{'what':44} {'rows':>8} {'wall s':>8} {'cpu s':>8} {'peak MB':>8} {'+search':>8}  other")
    for row in results:
        shown = ("what", "rows", "wall_s", "cpu_s", "peak_mb", "peak_mb_of_search")
        rest = {name: value for name, value in row.items() if name not in shown}
        print(
            f"{row['what']:44} {row['rows']:8} {row.get('wall_s', ''):>8} {row.get('cpu_s', ''):>8} "
            f"{row.get('peak_mb', ''):>8} {row.get('peak_mb_of_search', ''):>8}  {rest}"
        )
    from lib.common.files import write_json

    threads = os.environ.get("OMP_NUM_THREADS", "default")
    write_json(given.out, {"cpus": len(os.sched_getaffinity(0)), "blas_threads": threads, "results": results})


if __name__ == "__main__":
    main()
