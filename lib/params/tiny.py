"""Tiny: a profile's whole chain on stand-ins, in minutes and on any machine, before a GPU is paid for.

``tiny: true`` lays the parameters below between the profile's file and the overrides. Every model on the hub becomes a
random one of the same architecture with a tokenizer of the same kind (``lib.tiny.models``), every data set a few rows
of bundled text in the same files (``lib.tiny.data``, ``lib.tiny.suite``). The scores mean nothing; that all of them
are there means that the chain holds: backends, formats, templates, batches, all tasks of the suite, figures.

The recipe stays the profile's: loss, temperature, GradCache batches of the full size, pooling, the appended
end-of-sequence token, instructions, precision, lengths, suite. What gives way, and why:

- ``generation``: one batch of answers per category of the study (an incomplete batch is dropped, so with fewer the
  step would be left out) and 40 of the others; texts of 12 characters, so that 8,000 answers take a minute or two. The
  tiny generator writes random words; the schema makes them valid answers, as nothing else would. In float32, since most
  processors are slow at bfloat16.
- ``training.warmup_steps`` and ``learning_rate``: runs have one to five steps. A warm-up of 100 and a rate for a 7B
  model would leave every adapter where it started, and regressions on equal scores test nothing.
- ``mixture.steps``, where a profile fixes them, and its ``batch_size`` where it trains on released triplets, of which
  the stand-in has 160 to 320 per category.
- ``grid``: one thread and little memory per job. Profile and figure folder get names of their own, both below
  ``paths.runs``: a tiny result is never mixed with a real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.common.design import CATEGORIES, EXTRA
from lib.common.files import digest

HOME = "stand-ins"  # folder below the run folder
_MODELS = ("model.name", "generation.model", "negatives.encoder")
_WRITING = {  # what a tiny generator writes: little, and short
    "generation.brainstorms": 8,
    "generation.dtype": "float32",
    "generation.max_chars": 12,
    "generation.max_tokens": 256,
    "generation.max_model_len": 4096,
    "generation.batch_size": 256,
}


def stand_ins(values: Mapping[str, Any], overrides: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return the dotted parameters that make a profile tiny: plain data, nothing is built.

    ``values`` is the profile's file as read, ``overrides`` what the user says (which wins), ``root``
    the folder in which relative paths start.
    """

    def given(dotted: str, default: Any = "") -> Any:
        found: Any = values
        for part in dotted.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return overrides.get(dotted, default if found is None else found)

    profile = overrides.get("profile", f"{values.get('profile')}-tiny")
    runs = given("paths.runs", "runs")
    home = root / runs / profile / HOME
    found = {
        "profile": profile,
        "paths.figures": f"{runs}/figures",
        "training.warmup_steps": 1,
        "training.learning_rate": 0.01,
        "grid.threads": 1,
        "grid.mem_mb": 3000,
        "grid.minutes": 30,
    }
    backend = given("generation.backend", "replay")
    ours = [name for name in _MODELS if name != "generation.model" or backend in ("vllm", "transformers")]
    found |= {name: str(home / f"tiny-{given(name).split('/')[-1]}") for name in ours if _on_hub(given(name))}
    suite = given("scoring.suite", "classroom")
    if suite != "classroom" and not (isinstance(suite, str) and Path(suite).is_dir()):
        found["scoring.data_dir"] = str(home / f"suite-{digest(suite)[:8]}")
    if given("public.source") == "e5":
        found["public.location"] = str(home / "public")
    if backend == "released":
        found |= {"generation.location": str(home / "released"), "training.batch_size": 64}
    elif backend != "replay":
        found["generation.n"] = dict.fromkeys(CATEGORIES, given("training.batch_size", 24)) | dict.fromkeys(EXTRA, 40)
        found |= _WRITING
    if given("mixture.budget") == "fixed_steps":
        found |= {"mixture.steps": 5, "mixture.steps_per_category": 1}
    return found


def _on_hub(name: Any) -> bool:
    return isinstance(name, str) and name.count("/") == 1 and not name.startswith((".", "/", "~"))
