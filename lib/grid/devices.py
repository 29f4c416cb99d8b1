"""One machine, several GPUs: each job of the grid takes a free one and sees no other.

A job claims its devices with file locks, which the operating system releases when the process ends, however it
ends. Where a scheduler (SLURM, Kubernetes) has handed the job its devices already there is nothing left to
choose, and without a GPU nothing happens at all.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

from lib.common.files import KitError

_VARIABLE = "CUDA_VISIBLE_DEVICES"
_claimed: dict[str, TextIO] = {}  # device -> its lock file, held open for the life of the process


def visible() -> list[str]:
    """Return the CUDA devices this process may use, by the names that ``CUDA_VISIBLE_DEVICES`` takes.

    Counts device files instead of asking torch or the driver: that is instant and initialises nothing.
    """
    listed = os.environ.get(_VARIABLE)
    if listed is not None:
        names = [name.strip() for name in listed.split(",") if name.strip()]
        return names[: names.index("-1")] if "-1" in names else names
    files = [path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    return [str(index) for index in range(len(files))]


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"synfluence-devices-{os.getuid()}"


def _try_lock(device: str) -> TextIO | None:
    """Return the held lock file of a device, or None when another process holds it."""
    handle = open(_folder() / f"{device.replace('/', '_')}.lock", "w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle


def claim(wanted: int, patience: float = 60.0) -> list[str]:
    """Make this process see exactly ``wanted`` free CUDA devices; return their names.

    Nothing happens (and [] is returned) when no device is wanted, when the machine shows no more than that
    many (nothing to choose), or when CUDA is already in use here. A second call keeps the first one's devices.

    Raises KitError when fewer are free for ``patience`` seconds.
    """
    if _claimed:
        return list(_claimed)
    devices = visible()
    torch = sys.modules.get("torch")
    if wanted < 1 or len(devices) <= wanted or (torch is not None and torch.cuda.is_initialized()):
        return []
    _folder().mkdir(mode=0o700, exist_ok=True)
    end = time.monotonic() + patience
    while True:
        for device in devices:
            if len(_claimed) < wanted and (lock := _try_lock(device)) is not None:
                _claimed[device] = lock
        if len(_claimed) == wanted:
            os.environ[_VARIABLE] = ",".join(_claimed)
            return list(_claimed)
        free = len(_claimed)
        release()  # never wait while holding some: two jobs could wait for each other
        if time.monotonic() >= end:
            raise KitError(
                f"{wanted} of this machine's {len(devices)} GPUs are needed and only {free} are free; wait "
                "for the other jobs, close notebooks that use a GPU, or ask for fewer with grid.gpus"
            )
        time.sleep(0.2 + 0.3 * (os.getpid() % 7) / 7)


def release() -> None:
    """Give up the claimed devices (the end of the process does the same)."""
    for handle in _claimed.values():
        handle.close()
    _claimed.clear()


def grid_limit(per_job: int) -> list[str]:
    """Return Snakemake arguments that keep a local grid from starting more jobs than there are devices for.

    Empty when jobs ask for no GPU, and on a machine without one, where they run on the processor.
    """
    count = len(visible())
    return ["--resources", f"gpu={count}"] if per_job and count else []
