"""What a finished run says about itself to others: mteb's results, cards of models and data, how it was made.

Croissant 1.0 (JSON-LD), the hub's READMEs, RO-Crate 1.1 (Process Run Crate 0.5); their forms are in ``lib/data/share``.
mteb's files were written by scoring, under names that no hub accepts: they are found again by their scores, get one
name per run (``synfluence/<profile>-<categories>-seed<k>``), and lie as in mteb's results repository.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from lib import __version__
from lib.common.bundled import ROOT, data_path, shown
from lib.common.design import BASE, CODES, FACTORIAL, LABELS, Triplet, parse_run
from lib.common.files import KitError, read_json, write_bytes, write_json, write_text
from lib.embedder.models import CONFIG, WEIGHTS, corrupted
from lib.params.params import Params
from lib.params.provenance import check_manifest, package_versions

PAPER = "https://arxiv.org/abs/2509.06184"
UNKNOWN = "unknown: the terms of the generator and of the public data"
PUBLIC = {"docstrings": "docstrings of Python packages, under the licences of those packages", "e5": "of the E5 data"}
FORMATS = {".jsonl": "application/jsonl", ".json": "application/json", ".csv": "text/csv"}
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


def write_all(params: Params) -> Iterator[str]:
    """Write all cards of a run and yield a line on each kind. No file that the study wrote is touched.

    Raises KitError for a run that is not finished, or whose adapters or results are not those that its records name.
    """
    if params.study.design != FACTORIAL or params.run_dir != params.study_dir:
        raise KitError("cards are of a profile's own study, not of another design or other parameters; take those away")
    if not params.influence_file.is_file():
        raise KitError(f"there is no finished run in {shown(params.run_dir)}; say `make reproduce` first")
    table = pd.read_csv(params.results_file, keep_default_na=False)
    runs = {(str(name), int(seed)): rows for (name, seed), rows in table.groupby(["subset", "seed"], sort=False)}
    for manifest in (params.data_dir / "manifest.json", *sorted(params.study_dir.glob("generators/*/manifest.json"))):
        yield from map(shown, data_cards(params, manifest.parent))
    out = params.run_dir / "cards" / "mteb"
    for (subset, seed), rows in runs.items():
        folder = params.models_dir / subset / f"seed{seed}"
        if subset != BASE:
            if file := corrupted(folder, read_json(folder / "train.json")):
                raise KitError(f"{shown(file)} is not what training wrote; run `make reproduce`, which makes it again")
            model_card(params, subset, seed, rows)
        mteb_results(params, subset, seed, rows, out)
    yield f"{shown(params.models_dir)}/*/*/README.md: {sum(subset != BASE for subset, _ in runs)} model cards"
    yield f"{shown(out)}/results: {len(runs)} models with {table['task'].nunique()} result files each"
    yield shown(crate(params, list(runs)))


# ── what all cards share ─────────────────────────────────────────────────────────────────────────────────
def licence(params: Params, data: Path) -> str | None:
    """Return the hub's name of the licence of a folder's triplets and what was trained on them; None where unknown.

    Bundled answers come under the kit's licence; what a model that was asked afresh wrote is under that model's terms.
    """
    replayed = read_json(data / "generation.json")["backend"] == "replay"
    return "mit" if replayed and params.public.source == "docstrings" else None


def citation() -> str:
    """Return the reference of the paper that the kit reproduces."""
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["preferred-citation"]
    names = ", ".join(author["family-names"] for author in paper["authors"])
    return f"{names} ({paper['year']}). {paper['title']}. {paper['collection-title']}. {paper['url']}"


def _form(template: str, params: Params, data: Path, **values: Any) -> str:
    """Return one of the forms in ``lib/data/share``, filled in; ``data``: the folder whose licence and writer count."""
    form = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    form.keep_trailing_newline = True
    form.filters["yaml"] = lambda value: yaml.safe_dump(value, width=math.inf, allow_unicode=True).splitlines()[0]
    terms, by = licence(params, data), read_json(data / "generation.json")["generator"]
    common = {
        "licence": terms or "other",
        "licence_url": "https://spdx.org/licenses/MIT.html" if terms == "mit" else UNKNOWN,
        "writer": "a large language model, as bundled with the kit" if by == "replay" else by,
        "cite": citation(),
        "paper": PAPER,
    }
    text = data_path(f"share/{template}").read_text(encoding="utf-8")
    return form.from_string(text).render(params=params, **common, **values)


def _made(path: Path) -> str:
    """Return when a file was written (ISO 8601, UTC). Raises KitError where there is none."""
    if not path.is_file():
        raise KitError(f"{path} does not exist; cards are of a finished run, so say `make reproduce` first")
    return datetime.datetime.fromtimestamp(int(path.stat().st_mtime), tz=datetime.UTC).isoformat()


# ── the data, the models, and what was made of what ──────────────────────────────────────────────────────
def data_cards(params: Params, folder: Path) -> list[Path]:
    """Write both cards of a data folder; return their paths. Raises KitError for changed or missing triplets."""
    check_manifest(folder)
    columns, files = [field.name for field in fields(Triplet)], []
    for name in read_json(folder / "manifest.json"):
        part, path = Path(name).stem, folder / name
        about = {"rows": path.read_bytes().count(b"\n"), "sha256": sha256(path.read_bytes()).hexdigest()}
        files.append({"name": name, "part": part, "label": LABELS.get(part, part), **about})
    date, total = _made(folder / "manifest.json")[:10], sum(file["rows"] for file in files)
    document = json.loads(_form("croissant.json", params, folder, columns=columns, files=files, date=date))
    counts = read_json(folder / "generation.json")["categories"].values()
    told = {name: sum(count[name] for count in counts) for name in ("asked", "valid")}
    told |= {"size": next((size for limit, size in SIZES.items() if total < limit), "n>1M")}
    told |= {"public": PUBLIC[params.public.source], "limits": document["rai:dataLimitations"]}
    card = _form("data_card.md", params, folder, columns=columns, files=files, **told)
    return [write_json(folder / "croissant.json", document), write_text(folder / "README.md", card)]


def model_name(params: Params, subset: str, seed: int) -> str:
    """Return a run's name as mteb and the hub spell names: ``synfluence/classroom-ss-ll-seed0``."""
    return f"synfluence/{params.profile}-{re.sub('[^A-Za-z0-9_.]+', '-', subset).strip('-')}-seed{seed}"


def model_card(params: Params, subset: str, seed: int, rows: pd.DataFrame) -> Path:
    """Write ``README.md`` beside an adapter's weights, which it leaves alone; return its path."""
    folder, (chosen, public) = params.models_dir / subset / f"seed{seed}", parse_run(subset)
    trained, config = read_json(folder / "train.json"), read_json(folder / CONFIG)
    told = {
        "base": config["base_model_name_or_path"],
        "name": model_name(params, subset, seed).split("/")[1],
        "mixture": ", ".join([LABELS[name] for name in CODES if name in chosen] + ["public pairs"] * public),
        "doses": [f"{source.replace('_', '-')} {steps}" for source, steps in trained["steps_per_source"].items()],
        "mteb": package_versions()["mteb"],
    } | {"rows": list(rows.itertuples()), "trained": trained, "config": config, "seed": seed}
    return write_text(folder / "README.md", _form("model_card.md", params, params.data_dir, **told))


def mteb_results(params: Params, subset: str, seed: int, rows: pd.DataFrame, out: Path) -> Path:
    """Write one run's results and ``ModelMeta`` as mteb's repository has them; return their folder.

    Raises KitError when no folder of mteb's files holds these scores: a file is gone or is of another run.
    """
    import mteb
    from mteb.models.model_meta import ModelMeta

    def same(folder: Path) -> bool:  # a score is the mean of a file's splits and subsets
        for task, score in rows.set_index("task")["score"].items():
            path = folder / f"{task}.json"
            parts = [row for split in read_json(path)["scores"].values() for row in split] if path.is_file() else []
            if not parts or abs(sum(row["main_score"] for row in parts) / len(parts) - score) >= 1e-6:
                return False
        return True

    scores = params.study_dir / "scores"
    source = next(filter(same, sorted(scores.glob(f"mteb/results/kit__{subset}-seed{seed}-????????/*"))), None)
    if source is None:
        raise KitError(
            f"mteb's result files of {subset} seed {seed} are not those of the results table; "
            f"delete {scores / 'store'} and run `make reproduce`, which scores again"
        )
    base = "sentence-transformers/all-MiniLM-L6-v2" if params.model.name == "bundled:minilm" else params.model.name
    try:
        known = mteb.get_model_meta(base, fetch_from_hf=False).model_dump(exclude={"loader"})
    except (KeyError, ValueError):
        known = {"name": base, "similarity_fn_name": "cosine"}
    own = {"name": model_name(params, subset, seed), "revision": source.name, "adapted_from": base, "reference": PAPER}
    own |= {"max_tokens": params.model.max_length, "use_instructions": "{instruction}" in params.model.query_template}
    own |= {"framework": ["PyTorch", "safetensors"], "release_date": None, "memory_usage_mb": None}
    if subset != BASE:
        own |= {"license": licence(params, params.data_dir), "citation": citation()}
    meta = ModelMeta.create_empty(known | own)
    folder, about = out / "results" / meta.model_name_as_path() / source.name, meta.to_dict()
    for task in rows["task"]:  # as mteb wrote them: it knows NaN, which JSON does not
        write_bytes(folder / f"{task}.json", (source / f"{task}.json").read_bytes())
    write_json(folder / "model_meta.json", about | {"training_datasets": sorted(about["training_datasets"] or [])})
    return folder


def crate(params: Params, runs: Sequence[tuple[str, int]]) -> Path:
    """Write the crate of a finished run, given its (subset, seed), the base's among them, into the run's folder."""
    home, actions, files = params.run_dir, list(_actions(params, runs)), {}
    for action in actions:
        for path in (*action["used"], *action["made"]):
            if path not in files:
                about = {"name": path.name, "date": _made(path), "size": path.stat().st_size}
                about |= {"format": FORMATS.get(path.suffix, "application/octet-stream")}
                about |= {"id": path.relative_to(home).as_posix(), "sha256": sha256(path.read_bytes()).hexdigest()}
                files[path] = about
        action["date"] = files[action["made"][-1]]["date"]
        action |= {name: [files[path]["id"] for path in action[name]] for name in ("used", "made")}
    codes = pd.read_csv(params.results_file, usecols=["code"], dtype=str)["code"].unique()
    told = {"version": f"{__version__}, code {' and '.join(codes)}", "date": _made(params.influence_file)[:10]}
    told |= {"actions": actions, "files": list(files.values()), "tools": dict.fromkeys(a["tool"] for a in actions)}
    document = json.loads(_form("crate.json", params, params.data_dir, **told))
    return write_json(home / "ro-crate-metadata.json", document)


def _actions(params: Params, runs: Sequence[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    """Yield key on the graph, notebook, sentence, made of, made; the last file made says when it was done."""

    def action(*values: Any) -> dict[str, Any]:
        return dict(zip(("key", "tool", "name", "used", "made"), values, strict=True))

    manifest, tables = params.data_dir / "manifest.json", []
    data = [*(params.data_dir / name for name in read_json(manifest)), manifest]
    yield action("generate", "01_generate", "Write and clean the training data", [], data)
    for subset, seed in runs:
        name, run, folder = f"{subset}/seed{seed}", f"{subset}, seed {seed}", params.models_dir / subset / f"seed{seed}"
        weights = [] if subset == BASE else [folder / WEIGHTS, folder / CONFIG]
        if weights:
            yield action(f"train-{name}", "03_train", f"Train {run}", data, [*weights, folder / "train.json"])
        tables.append(params.scores_dir / subset / f"seed{seed}.csv")
        yield action(f"score-{name}", "04_score", f"Score {run}", weights, tables[-1:])
    found = [params.results_file, params.influence_file]
    yield action("influence", "05_influence", "Collect the scores and estimate the effects", tables, found)
