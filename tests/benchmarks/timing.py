"""Fair timing on a busy machine: interleaved rounds, minima, and rounds under outside load thrown away."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable

import torch


def device_name(device: str) -> str:
    """Return the GPU's name, or the CPU's model and the number of threads torch uses."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as handle:
            model = next(line.split(":")[1].strip() for line in handle if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {torch.get_num_threads()} threads"


def synchronize(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def once(function: Callable[[], object], device: str) -> tuple[float, float]:
    """Return (seconds, share of the machine's cores that others used meanwhile; 0 where /proc cannot say).

    On a CPU with one torch thread the seconds are CPU time, which other processes hardly change; else wall time.
    """
    if device == "cpu" and torch.get_num_threads() == 1:
        start = time.process_time()
        function()
        return time.process_time() - start, 0.0
    synchronize(device)
    busy, own, start = _busy(), _own(), time.perf_counter()
    function()
    synchronize(device)
    seconds = time.perf_counter() - start
    others = (_busy() - busy) - (_own() - own) if busy else 0.0
    return seconds, max(0.0, others) / (seconds * (os.cpu_count() or 1))


def interleaved(
    variants: dict[str, Callable[[], object]],
    device: str = "cpu",
    rounds: int = 3,
    load: float = 0.1,
    patience: int = 4,
) -> dict[str, dict]:
    """Time every variant once per round, all variants in turn; return {name: {seconds, rounds, discarded}}.

    A timing during which other processes used more than ``load`` of the cores is discarded and that variant gets a
    further round, up to ``patience`` times ``rounds`` rounds. ``seconds`` is the minimum of the kept timings, or of
    all when none could be kept (``rounds`` is then 0 and the number should not be trusted).
    """
    kept: dict[str, list[float]] = {name: [] for name in variants}
    spoilt: dict[str, list[float]] = {name: [] for name in variants}
    for function in variants.values():
        function()  # compile, allocate, fill caches
    for _ in range(rounds * patience):
        for name, function in variants.items():
            seconds, others = once(function, device)
            (kept if others <= load or device == "cuda" else spoilt)[name].append(seconds)
        if all(len(times) >= rounds for times in kept.values()):
            break
    return {
        name: {"seconds": min(kept[name] or spoilt[name]), "rounds": len(kept[name]), "discarded": len(spoilt[name])}
        for name in variants
    }


def _busy() -> float:
    """Seconds that all cores have worked since boot, 0 where /proc/stat is missing."""
    try:
        with open("/proc/stat", encoding="utf-8") as handle:
            fields = [float(x) for x in handle.readline().split()[1:9]]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, soft, steal = fields
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """CPU seconds of this process and its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
