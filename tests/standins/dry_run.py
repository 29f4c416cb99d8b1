"""A dry run: a profile's whole chain on stand-ins, in minutes and on any machine, before a GPU is paid for.

    python tests/standins/dry_run.py --profile paper               what `make dry-run` does; it goes on where it was
    python tests/standins/dry_run.py --profile paper status        any other command of the kit, of that run

Every model on the hub becomes a random one of the same architecture with a tokenizer of the same kind
(``standin_models``), every data set a few rows of bundled text in the same files (``standin_data``,
``standin_suite``); then the ordinary command runs with the overrides that name them. The scores mean nothing; that
all of them are there means that the chain holds: backends, formats, templates, batches, all tasks, figures.

The recipe stays the profile's: loss, temperature, GradCache batches of the full size, pooling, the appended
end-of-sequence token, instructions, precision, lengths, suite. What gives way, and why:

- ``generation``: a batch of answers and a few per category of the study (an incomplete batch is dropped, so with fewer
  the step would be left out) and 40 of the others; texts of 12 characters, so that 8,000 answers take minutes. The
  tiny generator writes random words; the schema makes them valid answers, as nothing else would. In float32, since most
  processors are slow at bfloat16.
- ``training.warmup_steps`` and ``learning_rate``: runs have one to five steps. A warm-up of 100 and a rate for a 7B
  model would leave every adapter where it started, and regressions on equal scores test nothing.
- ``mixture.steps``, where a profile fixes them, and its ``batch_size`` where it trains on released triplets, of which
  the stand-in has 160 to 320 per category.
- ``grid``: one thread and little memory per job. Profile and figure folder get names of their own, both below
  ``paths.runs``: a result of a dry run is never mixed with a real one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from standin_data import write_public, write_released
from standin_models import make
from standin_suite import write_suite

from lib.__main__ import main
from lib.common.bundled import ROOT
from lib.common.design import CATEGORIES, EXTRA
from lib.common.files import KitError, digest
from lib.params.params import Params, flat, load

HOME = "stand-ins"  # folder below the run folder
SMALL = {
    "training.warmup_steps": 1,
    "training.learning_rate": 0.01,
    "grid.threads": 1,
    "grid.mem_mb": 3000,
    "grid.minutes": 30,
}
WRITING = {  # what a tiny generator writes: little, and short
    "generation.brainstorms": 8,
    "generation.dtype": "float32",
    "generation.max_chars": 12,
    "generation.max_tokens": 256,
    "generation.max_model_len": 4096,
}


def overrides_of(profile: str, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the dotted overrides that put stand-ins under a profile, with ``overrides`` laid over them."""
    given = flat(overrides or {})
    real = load(profile, given)
    name = given.get("profile", f"{real.profile}-tiny")
    home = ROOT / real.paths.runs / name / HOME
    found = {"profile": name, "paths.figures": f"{real.paths.runs}/figures", **SMALL}
    models = {"model.name": real.model.name, "negatives.encoder": real.negatives.encoder}
    backend, suite = real.generation.backend, real.scoring.suite
    if backend == "vllm":
        models["generation.model"] = real.generation.model
    found |= {name: str(home / f"tiny-{model.split('/')[-1]}") for name, model in models.items() if _on_hub(model)}
    if suite != "classroom" and not (isinstance(suite, str) and Path(suite).is_dir()):
        found["scoring.data_dir"] = str(home / f"suite-{digest(suite)[:8]}")
    if real.public.source == "e5":
        found["public.location"] = str(home / "public")
    if backend == "released":
        found |= {"generation.location": str(home / "released"), "training.batch_size": 64}
    elif backend != "replay":
        batch = real.training.batch_size
        enough = batch + max(4, batch // 32)  # random weights write blanks now and then
        found |= {"generation.n": dict.fromkeys(CATEGORIES, enough) | dict.fromkeys(EXTRA, 40), **WRITING}
    if real.mixture.budget == "fixed_steps":
        found |= {"mixture.steps": 5, "mixture.steps_per_category": 1}
    return found | given


def _on_hub(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not (ROOT / name).exists()


def build(params: Params) -> None:
    """Build the stand-ins that are named and not there yet: each whole or not at all, always the same."""
    makers = {
        params.model.name: make,
        params.generation.model: make,
        params.negatives.encoder: make,
        params.public.location: write_public,
        params.generation.location: partial(write_released, generator=params.generation.model),
        params.scoring.data_dir: partial(write_suite, suite=params.scoring.suite),
    }
    for path, make_it in ((Path(place), maker) for place, maker in makers.items()):
        if path.parent != params.study_dir / HOME or path.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            make_it(Path(folder) / path.name)
            os.replace(Path(folder) / path.name, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--overrides", type=json.loads, default={}, help="JSON object of parameters, dotted or nested")
    known, command = parser.parse_known_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GB that vLLM takes on a processor; its own default is 4
    try:
        small = overrides_of(known.profile, known.overrides)
        build(load(known.profile, small))
    except KitError as error:
        sys.exit(f"KitError: {error}")
    raise SystemExit(main([*(command or ["reproduce"]), "--profile", known.profile, "--overrides", json.dumps(small)]))
