"""Peak memory of the loss, forward and backward: grows as B + C for lib.kernels.infonce, as B x C when stored.

    python tests/benchmarks/loss_memory.py [--largest 32768] [--dim 384] [--json out.json]

Every size runs in a process of its own. "extra" is the peak resident memory above what the embeddings themselves
take (their gradients included in extra). The stored loss runs only where its matrices fit in half the free memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
SIZES = [(2048, 4096), (4096, 8192), (8192, 16384), (16384, 32768), (32768, 65536)]


def resident() -> int:
    """Resident memory of this process in bytes, now."""
    with open("/proc/self/statm", encoding="utf-8") as handle:
        return int(handle.read().split()[1]) * 4096


def child(kind: str, rows: int, columns: int, dim: int) -> None:
    """Run one loss forward and backward; print seconds and peak extra MiB as JSON."""
    import torch

    from lib.kernels.infonce import infonce

    torch.set_num_threads(1)
    torch.manual_seed(0)
    query, texts = (torch.nn.functional.normalize(torch.randn(n, dim), dim=1).requires_grad_() for n in (rows, columns))
    warm = torch.nn.functional.normalize(torch.randn(64, dim), dim=1).requires_grad_()
    infonce(warm, warm).backward()  # libraries' own buffers are there before
    before, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], resident())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    if kind == "infonce":
        loss = infonce(query, texts)
    else:
        loss = torch.nn.functional.cross_entropy(query @ texts.T / 0.02, torch.arange(rows))
    loss.backward()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    print(
        json.dumps(
            {
                "seconds": seconds,
                "extra_mib": (max(peak[0], resident()) - before) / 2**20,
                "loss": float(loss),
                "gradient": float(query.grad.norm()),
            }
        )
    )


def measure(kind: str, rows: int, columns: int, dim: int) -> dict:
    """Run ``child`` in a fresh process."""
    command = [sys.executable, __file__, "--child", kind, str(rows), str(columns), str(dim)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def fits(rows: int, columns: int) -> bool:
    """Whether three score matrices in fp32 fit in half of the free memory."""
    with open("/proc/meminfo", encoding="utf-8") as handle:
        free = next(int(line.split()[1]) * 1024 for line in handle if line.startswith("MemAvailable"))
    return 3 * 4 * rows * columns < free / 2


def main() -> None:
    """Print the table; write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=32768, help="most queries; candidates are twice as many")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        kind, *numbers = given.child
        return child(kind, *(int(x) for x in numbers))
    rows_out = []
    print(f"{'B x C':>15} {'infonce MiB':>12} {'per (B+C) KiB':>14} {'s':>8} {'stored MiB':>11} {'s':>8}")
    for rows, columns in (size for size in SIZES if size[0] <= given.largest):
        row = {
            "rows": rows,
            "columns": columns,
            "dim": given.dim,
            "infonce": measure("infonce", rows, columns, given.dim),
            "stored": measure("stored", rows, columns, given.dim) if fits(rows, columns) else None,
        }
        rows_out.append(row)
        ours, stored = row["infonce"], row["stored"] or {"extra_mib": float("nan"), "seconds": float("nan")}
        each = ours["extra_mib"] * 1024 / (rows + columns)
        print(
            f"{rows:>6} x {columns:<6} {ours['extra_mib']:>12.0f} {each:>14.2f} "
            f"{ours['seconds']:>8.1f} {stored['extra_mib']:>11.0f} {stored['seconds']:>8.1f}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(rows_out, indent=2) + "\n")


if __name__ == "__main__":
    main()
