"""What a result is identified by: the parameters that decide it, digests of data and code, versions, the device.

Seeds and the design say which runs there are, not what a run is: more of them leave what is finished as it is. Adapters
and rows of results carry these columns, so that rows of different origin are not put into one regression unseen.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.common.bundled import ROOT
from lib.common.files import KitError, changed, digest, digest_file, read_json, write_digests, write_json

if TYPE_CHECKING:
    from lib.params.params import Params

DATA = ("generation", "cleaning", "negatives", "public")
SECTIONS = {
    "data": DATA,
    "model": (*DATA, "mixture", "model", "training"),
    "score": (*DATA, "mixture", "model", "training", "scoring"),
    "base": ("model", "scoring"),  # the untrained base's scores
    "influence": ("influence",),
}
# How something is computed, where it lies, what it costs: nothing of that changes a result
INDIFFERENT = {
    "generation": "base_url api_key_env concurrency retries timeout tensor_parallel gpu_memory "
    "price_in price_out gpu_price gpus currency".split(),
    "model": ["encode_tokens"],
    "training": "checkpoint_every keep_graph_tokens".split(),
    "scoring": "data_dir corpus_dir".split(),
}
# Parameters that are younger than some records of finished work, and what that was made with
LATER = {"influence.margin": 1.0, "generation.bundle": "classroom", "generation.frequency_penalty": 0.0}
ABSENT = "not recorded"
# of every row of a score file
COLUMNS = "params_hash data_hash code versions device draws world_size effective_batch steps seconds".split()
MADE = "made.json"  # the record of the parameters that made a folder's data
PACKAGES = ("torch", "transformers", "peft", "mteb", "numpy", "scikit-learn", "scipy")
# what cannot change a score: what looks at scores, runs jobs or draws; parameters have a record of their own
_NOT_SCORES = "__main__.py figures grid influence inspect notebook params predict".split()


def decisive(params: Params, stage: str) -> dict[str, Any]:
    """Return {dotted parameter: value} of everything that decides the results of a stage, as JSON values."""
    values = params.model_dump(mode="json")
    found = {
        f"{section}.{name}": value
        for section in SECTIONS[stage]
        for name, value in values[section].items()
        if name not in INDIFFERENT.get(section, ())
    }
    if stage in ("data", "model", "score"):  # which of them are factors does not matter to the data
        found["study.categories and study.extra"] = sorted({*params.study.categories, *params.study.extra})
    if stage in ("score", "base"):  # a score file has a column for each
        found["study.categories"] = values["study"]["categories"]
    if stage in ("data", "model") and params.cleaning.contamination != "off":  # its texts may not be trained on
        found["scoring.suite"] = params.scoring.suite
        if params.scoring.suite != "classroom":
            found["scoring.exclude"] = values["scoring"]["exclude"]
    return found


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return {dotted parameter: (value there, value here)} of all that differ and still decide something."""
    pairs = {name: (there.get(name, LATER.get(name, ABSENT)), value) for name, value in here.items()}
    return {name: (one, other) for name, (one, other) in pairs.items() if one != other}


@cache
def code_version() -> str:
    """Digest of the kit's files that can change a score: the same for runs of the same code."""
    lib = ROOT / "lib"
    names = [path.relative_to(lib) for path in sorted(lib.rglob("*.py"))]
    return digest([[name.as_posix(), digest_file(lib / name)] for name in names if name.parts[0] not in _NOT_SCORES])


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that can move a score, and of Python."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def provenance(params: Params, device: str | None = None) -> dict[str, object]:
    """Return the columns that training and scoring share; each adds its own steps, batch and seconds."""
    import torch

    on_gpu = device.startswith("cuda") if device else torch.cuda.is_available()
    return {
        "made_of": decisive(params, "model"),
        "params_hash": params.hash("model"),
        "data_hash": data_hash(params.data_dir),
        "code": code_version(),
        "versions": " ".join(f"{name}={number}" for name, number in package_versions().items()),
        "device": torch.cuda.get_device_name(0) if on_gpu else f"cpu {platform.machine()}",
        "draws": params.mixture.draws,  # decides which error an effect has: lib.influence.influence
    }


def write_manifest(folder: str | Path, params: Params) -> Path:
    """Write the digest of every triplet file, so that a changed byte is noticed, and what made them beside it."""
    folder = Path(folder)
    write_json(folder / MADE, {"made_of": decisive(params, "data")})
    files = [*sorted(folder.glob("triplets/*.jsonl")), *sorted(folder.glob("public*.jsonl"))]
    return write_digests(folder / "manifest.json", files)


def check_manifest(folder: str | Path) -> None:
    """Raise KitError naming the first data file whose bytes are not those that notebook 01 wrote."""
    manifest = Path(folder) / "manifest.json"
    if other := changed(manifest):
        fix = f"delete {manifest} and run again to have the data made anew"
        raise KitError(f"{other} is not what notebook 01 wrote (its digest differs); {fix}")


def data_hash(folder: str | Path) -> str:
    """Digest of all training data of a run folder, from its manifest; "none" when there is none yet."""
    manifest = Path(folder) / "manifest.json"
    return digest(read_json(manifest)) if manifest.exists() else "none"
