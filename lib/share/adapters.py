"""An adapter's papers: mteb's result files and model metadata, and a model card beside its weights.

mteb's files were written by scoring, under names that no hub accepts. They are found again by their scores, get one
name per run (``synfluence/<profile>-<categories>-seed<k>``), and lie as in mteb's results repository.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

from lib.common.design import BASE, CODES, LABELS, parse_run
from lib.common.files import KitError, read_json, write_bytes, write_json, write_text
from lib.embedder.models import CONFIG
from lib.params.params import Params
from lib.params.provenance import package_versions
from lib.share.common import PAPER, card, citation, licence, writer


def model_name(params: Params, subset: str, seed: int) -> str:
    """Return a run's name as mteb and the hub spell names: ``synfluence/classroom-ss-ll-seed0``."""
    return f"synfluence/{params.profile}-{re.sub('[^A-Za-z0-9_.]+', '-', subset).strip('-')}-seed{seed}"


def scored(params: Params, subset: str, seed: int, scores: pd.Series) -> Path:
    """Return the folder of mteb's result files of a run: the one that holds these scores ({set: 0 to 1}).

    Raises KitError when none does, because a file is gone or is of another run.
    """
    home = params.study_dir / "scores" / "mteb" / "results"
    for folder in sorted(home.glob(f"kit__{subset}-seed{seed}-????????/*")):
        if all(abs(_main_score(folder / f"{task}.json") - score) < 1e-6 for task, score in scores.items()):
            return folder
    raise KitError(
        f"mteb's result files of {subset} seed {seed} are not those of the results table; "
        f"delete {params.study_dir / 'scores' / 'store'} and run `make reproduce`, which scores again"
    )


def _main_score(path: Path) -> float:
    """Return the score in one of mteb's files, the mean of its splits and subsets; NaN where there is none."""
    rows = [row for split in read_json(path)["scores"].values() for row in split] if path.is_file() else []
    return sum(row["main_score"] for row in rows) / len(rows) if rows else math.nan


def metadata(params: Params, subset: str, seed: int, revision: str, config: dict[str, Any] | None = None):
    """Return mteb's ``ModelMeta`` of a run: the base's where mteb knows it, with what the adapter changes.

    ``config`` is peft's, of the adapter; None for the untrained base.
    """
    import mteb
    from mteb.models.model_meta import ModelMeta

    base = "sentence-transformers/all-MiniLM-L6-v2" if params.model.name == "bundled:minilm" else params.model.name
    try:
        known = mteb.get_model_meta(base, fetch_from_hf=False).model_dump(exclude={"loader"})
    except (KeyError, ValueError):
        known = {"name": base, "similarity_fn_name": "cosine"}
    own = {"name": model_name(params, subset, seed), "revision": revision, "adapted_from": base, "reference": PAPER}
    own |= {"max_tokens": params.model.max_length, "use_instructions": "{instruction}" in params.model.query_template}
    own |= {"framework": ["PyTorch", "safetensors"], "release_date": None, "memory_usage_mb": None}
    if config is not None:
        own |= {"license": licence(params, params.data_dir), "citation": citation()}
    return ModelMeta.create_empty(known | own)


def write_results(params: Params, subset: str, seed: int, rows: pd.DataFrame, out: Path) -> Path:
    """Write one run's results as mteb's repository has them; return their folder. See ``scored`` for KitError."""
    source = scored(params, subset, seed, rows.set_index("task")["score"])
    config = None if subset == BASE else read_json(params.models_dir / subset / f"seed{seed}" / CONFIG)
    meta = metadata(params, subset, seed, source.name, config)
    folder = out / "results" / meta.model_name_as_path() / source.name
    for task in rows["task"]:  # as mteb wrote them: it knows NaN, which JSON does not
        write_bytes(folder / f"{task}.json", (source / f"{task}.json").read_bytes())
    about = meta.to_dict()
    write_json(folder / "model_meta.json", about | {"training_datasets": sorted(about["training_datasets"] or [])})
    return folder


def write_card(params: Params, subset: str, seed: int, rows: pd.DataFrame) -> Path:
    """Write ``README.md`` beside an adapter's weights, which it leaves alone; return its path."""
    folder = params.models_dir / subset / f"seed{seed}"
    trained, config = read_json(folder / "train.json"), read_json(folder / CONFIG)
    made_of, base, (chosen, public) = trained["made_of"], config["base_model_name_or_path"], parse_run(subset)
    names = ", ".join([LABELS[name] for name in CODES if name in chosen] + ["public pairs"] * public)
    results = [
        {
            "task": {"type": row.type},
            "dataset": {"type": row.task, "name": row.task, "split": "test"},
            "metrics": [{"type": row.metric, "value": round(float(row.score), 6)}],
        }
        for row in rows.itertuples()
    ]
    about = {
        "base_model": base,
        "library_name": "peft",
        "license": licence(params, params.data_dir) or "other",
        "language": "en",
        "pipeline_tag": "feature-extraction",
        "tags": ["lora", "embeddings", "synthetic-data", "mteb"],
        "model-index": [{"name": model_name(params, subset, seed).split("/")[1], "results": results}],
    }
    doses = [f"{source.replace('_', '-')} {steps}" for source, steps in trained["steps_per_source"].items()]
    table = [f"| {row.task} | {row.type} | {row.metric} | {100 * row.score:.2f} |" for row in rows.itertuples()]
    told = {"base": base.split("/")[-1], "hub_base": base, "names": names, "profile": params.profile, "seed": seed}
    told |= {"writer": writer(params.data_dir), "data": trained["data_hash"], "batch": trained["effective_batch"]}
    told |= {"doses": ", ".join(doses), "start": trained["seed"], "pooling": params.model.pooling}
    told |= {"temperature": made_of["training.temperature"], "rate": made_of["training.learning_rate"]}
    told |= {name: trained[name] for name in ("steps", "versions", "device", "adapter")}
    told |= {name: config[name] for name in ("r", "lora_alpha")} | {"length": made_of["training.max_length"]}
    text = card("model", about, **told, mteb=package_versions()["mteb"], scores="\n".join(table))
    return write_text(folder / "README.md", text)
