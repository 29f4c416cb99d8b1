"""The jobs of a grid: which there are, the small file that says one is done, its notebook, and how much it computes.

Counts come from the data where they exist already, else from the parameters; token lengths that nothing can know yet
are reference figures (``plan.*``).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.common.bundled import DATA
from lib.common.design import BASE, FACTORIAL, Run
from lib.params.params import Params, answering, generators

STAGES = "generate", "inspect", "train", "score", "influence"
NOTEBOOKS = {stage: f"0{number}_{stage}" for number, stage in enumerate(STAGES, start=1)}


def runs(params: Params) -> dict[str, Run]:
    """Return the runs of the study's design by the name of their jobs, such as ``ss+ll/seed0``."""
    return {f"{run.name}/seed{run.seed}": run for run in params.study.runs()}


def answers(params: Params) -> dict[str, Params]:
    """Return {job: parameters of notebook 01}: of the study's own data, and of each generator that is compared."""
    asked = {name: answering(params, name) for name in generators(params)}
    own = params.data_dir
    return {"generate": params} | {name: one for name, one in asked.items() if one.data_dir != own}


def stage_files(params: Params) -> dict[str, dict[str, Path]]:
    """Return stage -> {job: the small result file that is written last, and says that the job is done}."""
    trained = list(runs(params))
    return {
        "generate": {job: asked.data_dir / "manifest.json" for job, asked in answers(params).items()},
        "inspect": {"inspect": params.inspect_file},
        "train": {job: params.models_dir / job / "train.json" for job in trained},
        "score": {job: params.scores_dir / f"{job}.csv" for job in [*trained, f"{BASE}/seed0"]},
        "influence": {"influence": params.influence_file},
    }


def spoken(job: str, stage: str = "") -> str:
    """Return a job as people say it: ``ss+ll seed 0``, ``train ss+ll seed 0``; ``inspect`` is alone in its stage."""
    return " ".join(dict.fromkeys([*stage.split(), *job.replace("/seed", " seed ").split()]))


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return names in a row, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def notebook_of(params: Params, stage: str, job: str) -> Path:
    """Return the executed notebook of a job, which a failure leaves behind (no other design has an influence's)."""
    folder, name, design = params.run_dir / "notebooks", NOTEBOOKS[stage], params.study.design
    if stage == "influence" and design != FACTORIAL:
        name += f"-{design}"
    return folder / f"{name}.ipynb" if stage == job else folder / name / f"{job.replace('/', '-')}.ipynb"


def executed(notebook: Path) -> dict[str, Any]:
    """Return an executed notebook, {} where there is none or it is half written (papermill is not atomic)."""
    try:
        return json.loads(notebook.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def pool_sizes(params: Params) -> dict[str, int]:
    """Return rows per pool ("public" and the categories): of the data files if they exist, else as asked for."""
    sizes = {"public": _lines(params.data_dir / "public.jsonl") or params.public.n}
    for category in (*params.study.categories, *params.study.extra):
        asked = params.generation.n.get(category, 0)
        if not asked and params.generation.backend == "replay":
            asked = _lines(DATA / "classroom" / "responses" / f"{category}.jsonl")
        sizes[category] = _lines(params.data_dir / "triplets" / f"{category}.jsonl") or asked
    return sizes


def _lines(path: Path) -> int:
    if not path.is_file():
        return 0
    with open(path, "rb") as lines:  # line by line: the paper's public data are gigabytes
        return sum(1 for line in lines if line.strip())


def steps_of(params: Params, run: Run, sizes: Mapping[str, int]) -> int:
    """Return the optimizer steps of a run under the mixture's budget."""
    if params.mixture.budget == "fixed_steps":
        return params.mixture.steps
    pools = [*(["public"] if run.public else []), *run.subset]
    return params.mixture.epochs * sum(sizes[pool] // params.training.batch_size for pool in pools)


def generated(params: Params, sizes: Mapping[str, int]) -> float:
    """Return the tokens a generator writes and reads; 0 where answers are replayed or triplets were released."""
    if params.generation.backend in ("replay", "released"):
        return 0.0
    return sum(n for pool, n in sizes.items() if pool != "public") * params.plan.answer_tokens


def suite_tokens(params: Params) -> float:
    """Return the tokens one model encodes for the suite, before texts are cut at max_length.

    mteb ships the character counts of its sets, so no data are needed; bundled and own sets are counted by file size.
    """
    from lib.score.suites import leaves, suite_folder, tasks

    suite, excluded, found = params.scoring.suite, params.scoring.exclude, 0.0
    for name in [suite] if isinstance(suite, str) else suite:
        if folder := suite_folder(name):
            files = (path for path in folder.glob("*.jsonl") if path.name.split(".")[0] not in excluded)
            found += sum(path.stat().st_size for path in files)
            continue
        for one in (leaf for task in tasks(name) if task.metadata.name not in excluded for leaf in leaves(task)):
            counts, splits = one.metadata.descriptive_stats or {}, one.metadata.eval_splits
            found += sum(_text_length(part) for split, part in counts.items() if split in splits)
    return found / 4.2  # characters per token of English text under a subword tokenizer


def _text_length(statistics: Mapping) -> float:
    """Add up the lengths in mteb's nested statistics (the parts under hf_subset_... repeat the whole)."""
    inside = (value for name, value in statistics.items() if name != "hf_subset_descriptive_stats")
    return (statistics.get("total_text_length") or 0) + sum(_text_length(v) for v in inside if isinstance(v, dict))


def disk(params: Params, slots: int) -> tuple[dict[str, float], float]:
    """Return (bytes by what needs them while ``slots`` jobs run at once, bytes free where the run folder is)."""
    plan, count, sizes = params.plan, len(runs(params)), pool_sizes(params)
    texts, slots = 4 * plan.triplet_tokens, min(slots, count)  # four bytes per token
    rows = sum(sizes.values()) - sizes["public"]
    folder = next(place for place in (params.run_dir, *params.run_dir.parents) if place.exists())
    return {
        "weights": 1e9 * (plan.base_gb + (plan.generator_gb if params.generation.backend == "vllm" else 0)),
        "data": texts * (3 * rows + sizes["public"]),  # brainstorms and answers, answers read, triplets; public rows
        "adapters": 1e6 * count * plan.adapter_mb,
        "checkpoints while training": 1e6 * slots * 3 * plan.adapter_mb,  # weights and AdamW's two moments
        "streamed corpora while scoring": 1e9 * slots * plan.corpus_gb,
    }, shutil.disk_usage(folder).free
