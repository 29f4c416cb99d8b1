"""Where a number comes from: digests of parameters, data and code, versions, and the device.

Every adapter and every result row carries these columns, so that rows of different origin can be told apart
before they are put into one regression.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lib.common.bundled import ROOT
from lib.common.files import KitError, changed, digest, digest_file, read_json, write_digests, write_json
from lib.params.params import Params
from lib.params.stages import decisive

COLUMNS = (
    "params_hash data_hash code versions device draws world_size effective_batch steps seconds".split()
)  # of every row of a score file
MADE = "made.json"  # the record of the parameters that made a folder's data
PACKAGES = ("torch", "transformers", "peft", "mteb", "numpy", "scikit-learn", "scipy")
# what cannot change a score: what looks at scores, runs jobs or draws; parameters have a record of their own
_NOT_SCORES = "__main__.py figures grid influence inspect notebook params predict share".split()


@cache
def code_version() -> str:
    """Digest of the kit's files that can change a score: the same for runs of the same code."""
    folder = ROOT / "lib"
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*.py"))]
    return digest([[name.as_posix(), digest_file(folder / name)] for name in names if name.parts[0] not in _NOT_SCORES])


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that can move a score, and of Python."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: str | None = None) -> str:
    """Readable name of the device: the GPU's product name, or the processor's architecture."""
    import torch

    if (device or "").startswith("cuda") or (device is None and torch.cuda.is_available()):
        return torch.cuda.get_device_name(0)
    return f"cpu {platform.machine()}"


def provenance(params: Params, device: str | None = None) -> dict[str, object]:
    """Return the columns that training and scoring share; each adds its own steps, batch and seconds."""
    return {
        "made_of": decisive(params, "model"),
        "params_hash": params.hash("model"),
        "data_hash": data_hash(params.data_dir),
        "code": code_version(),
        "versions": " ".join(f"{name}={number}" for name, number in package_versions().items()),
        "device": device_name(device),
        "draws": params.mixture.draws,  # decides which error an effect has: lib.influence.influence
    }


def write_manifest(folder: str | Path, params: Params) -> Path:
    """Write ``manifest.json``: the digest of every triplet file, so that later stages notice a changed byte.

    ``made.json`` beside it records the parameters that made them.
    """
    folder = Path(folder)
    write_json(folder / MADE, {"made_of": decisive(params, "data")})
    return write_digests(
        folder / "manifest.json", [*sorted(folder.glob("triplets/*.jsonl")), *sorted(folder.glob("public*.jsonl"))]
    )


def check_manifest(folder: str | Path) -> None:
    """Raise KitError naming the first data file whose bytes are not those that notebook 01 wrote."""
    manifest = Path(folder) / "manifest.json"
    if other := changed(manifest):
        raise KitError(
            f"{other} is not what notebook 01 wrote (its digest differs); delete "
            f"{manifest} and run again to have the data made anew"
        )


def data_hash(folder: str | Path) -> str:
    """Digest of all training data of a run folder, from its manifest; "none" when there is none yet."""
    manifest = Path(folder) / "manifest.json"
    return digest(read_json(manifest)) if manifest.exists() else "none"
