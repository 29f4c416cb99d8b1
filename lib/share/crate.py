"""``ro-crate-metadata.json``: what was made of what, by which notebook, when (RO-Crate 1.1, Process Run Crate 0.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib import __version__
from lib.common.design import BASE
from lib.common.files import read_json, write_json
from lib.embedder.models import CONFIG, WEIGHTS
from lib.params.params import Params
from lib.share.common import PAPER, head, licence_url, made

FORMATS = {".jsonl": "application/jsonl", ".json": "application/json", ".csv": "text/csv"}
Action = tuple[str, str, str, list[Path], list[Path]]  # name on the graph, notebook, sentence, made of, made


def write(params: Params, runs: Sequence[tuple[str, int]]) -> Path:
    """Write the crate of a finished run, given its (subset, seed), the base's among them, into the run's folder."""
    home, actions = params.run_dir, list(_actions(params, runs))
    files = dict.fromkeys(path for *_, used, given in actions for path in (*used, *given))
    parts, events = [_file(path, home) for path in files], [_event(home, *action) for action in actions]
    codes = pd.read_csv(params.results_file, usecols=["code"], dtype=str)["code"].unique()
    about = {"version": f"{__version__}, code {' and '.join(codes)}", "url": PAPER}
    tools = [
        {"@id": f"#{tool}", "@type": "SoftwareApplication", "name": f"Synfluence, notebook {tool}", **about}
        for tool in dict.fromkeys(action[1] for action in actions)
    ]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": {"@id": "https://w3id.org/ro/wfrun/process/0.5"},
        "name": f"Synfluence, the {params.profile} study",
        "description": "Embedders trained on subsets of categories of synthetic data, and their scores on small sets.",
        "datePublished": made(params.influence_file)[:10],
        "license": licence_url(params, params.data_dir),
        "author": {"@id": "#authors"},
        "isBasedOn": {"@id": PAPER},
        "hasPart": [{"@id": part["@id"]} for part in parts],
        "mentions": [{"@id": event["@id"]} for event in events],
    }
    crate = head("crate")
    crate["@graph"] += [root, *tools, *parts, *events]
    return write_json(home / "ro-crate-metadata.json", crate)


def _actions(params: Params, runs: Sequence[tuple[str, int]]) -> Iterator[Action]:
    """What was done, in the notebooks' order; the last file of each action says when it was done."""
    manifest = params.data_dir / "manifest.json"
    data = [*(params.data_dir / name for name in read_json(manifest)), manifest]
    yield "generate", "01_generate", "Write and clean the training data", [], data
    tables = []
    for subset, seed in runs:
        name, folder = f"{subset}/seed{seed}", params.models_dir / subset / f"seed{seed}"
        weights = [] if subset == BASE else [folder / WEIGHTS, folder / CONFIG]
        if weights:
            yield f"train-{name}", "03_train", f"Train {subset}, seed {seed}", data, [*weights, folder / "train.json"]
        tables.append(params.scores_dir / subset / f"seed{seed}.csv")
        yield f"score-{name}", "04_score", f"Score {subset}, seed {seed}", weights, tables[-1:]
    found = [params.results_file, params.influence_file]
    yield "influence", "05_influence", "Collect the scores and estimate the effects", tables, found


def _file(path: Path, home: Path) -> dict[str, Any]:
    made(path)  # says which file is missing
    content = path.read_bytes()
    kind = FORMATS.get(path.suffix, "application/octet-stream")
    about = {"contentSize": str(len(content)), "sha256": hashlib.sha256(content).hexdigest()}
    return {**_at(path, home), "@type": "File", "name": path.name, "encodingFormat": kind, **about}


def _at(path: Path, home: Path) -> dict[str, str]:
    return {"@id": path.relative_to(home).as_posix()}


def _event(home: Path, key: str, tool: str, name: str, used: list[Path], given: list[Path]) -> dict[str, Any]:
    return {
        "@id": f"#{key}",
        "@type": "CreateAction",
        "name": name,
        "description": f"{name}: notebook {tool} of the kit, executed with papermill.",
        "instrument": {"@id": f"#{tool}"},
        **_of("object", used, home),
        **_of("result", given, home),
        "endTime": made(given[-1]),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }


def _of(name: str, paths: list[Path], home: Path) -> dict[str, Any]:
    """A property with one value, or a list of them; RO-Crate wants no list of one and no empty one."""
    found = [_at(path, home) for path in paths]
    return {name: found[0] if len(found) == 1 else found} if found else {}
