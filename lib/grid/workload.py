"""How much a study has to compute: steps, tokens and bytes, counted before anything runs.

Counts come from the data where they exist already, else from the parameters; token lengths that nothing can know
yet are reference figures (``plan.*``).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lib.common.bundled import DATA
from lib.common.design import Run
from lib.grid.jobs import runs
from lib.params.params import Params

CHARACTERS_PER_TOKEN = 4.2  # of English text under a subword tokenizer; used for benchmarks' character counts only


def pool_sizes(params: Params) -> dict[str, int]:
    """Return rows per pool ("public" and the categories): of the data files if they exist, else as asked for."""
    data, sizes = params.data_dir, {}
    sizes["public"] = _lines(data / "public.jsonl") or params.public.n
    for category in (*params.study.categories, *params.study.extra):
        asked = params.generation.n.get(category, 0)
        if not asked and params.generation.backend == "replay":
            asked = _lines(DATA / "classroom" / "responses" / f"{category}.jsonl")
        sizes[category] = _lines(data / "triplets" / f"{category}.jsonl") or asked
    return sizes


def _lines(path: Path) -> int:
    if not path.is_file():
        return 0
    with open(path, "rb") as handle:
        return sum(1 for line in handle if line.strip())


def steps(params: Params, run: Run, sizes: Mapping[str, int]) -> int:
    """Return the optimizer steps of a run under the mixture's budget."""
    mixture = params.mixture
    if mixture.budget == "fixed_steps":
        return mixture.steps
    pools = [*(["public"] if run.public else []), *run.subset]
    return mixture.epochs * sum(sizes[pool] // params.training.batch_size for pool in pools)


def generated(params: Params, sizes: Mapping[str, int]) -> float:
    """Return the tokens a generator writes and reads; 0 where answers are replayed or triplets were released."""
    if params.generation.backend in ("replay", "released"):
        return 0.0
    return sum(n for pool, n in sizes.items() if pool != "public") * params.plan.answer_tokens


def suite_tokens(params: Params) -> float:
    """Return the tokens one model encodes for the suite, before texts are cut at max_length.

    mteb ships the character counts of its sets, so no data are needed; bundled and own sets are counted by file size.
    """
    suite = params.scoring.suite
    names = [suite] if isinstance(suite, str) else suite
    return sum(_characters(name, params.scoring.exclude) for name in names) / CHARACTERS_PER_TOKEN


def _characters(name: str, exclude: tuple[str, ...]) -> float:
    from lib.score.suites import leaves, suite_folder, tasks

    if folder := suite_folder(name):
        return sum(path.stat().st_size for path in folder.glob("*.jsonl") if path.name.split(".")[0] not in exclude)
    return sum(
        _text_length(part)
        for task in tasks(name)
        if task.metadata.name not in exclude
        for one in leaves(task)
        for split, part in (one.metadata.descriptive_stats or {}).items()
        if split in one.metadata.eval_splits
    )


def _text_length(statistics: Mapping) -> float:
    """Add up the lengths in mteb's nested statistics (the parts under hf_subset_... repeat the whole)."""
    own = statistics.get("total_text_length") or 0
    inside = (value for name, value in statistics.items() if name != "hf_subset_descriptive_stats")
    return own + sum(_text_length(value) for value in inside if isinstance(value, dict))


def disk(params: Params, at_once: int) -> dict[str, float]:
    """Return gigabytes by stage, from reference sizes: weights, texts (4 bytes per token), adapters, corpora.

    ``at_once``: jobs that train or score at the same time.
    """
    plan, count, sizes = params.plan, len(runs(params)), pool_sizes(params)
    at_once, texts = min(at_once, count), 4 * plan.triplet_tokens / 1e9
    rows = sum(n for pool, n in sizes.items() if pool != "public")
    own_generator = params.generation.backend == "vllm"
    return {
        "weights": plan.base_gb + (plan.generator_gb if own_generator else 0.0),
        "data": texts * (3 * rows + sizes["public"]),  # brainstorms and answers, answers read, triplets; public rows
        "adapters": count * plan.adapter_mb / 1000,
        "checkpoints while training": at_once * 3 * plan.adapter_mb / 1000,  # weights and AdamW's two moments
        "streamed corpora while scoring": at_once * plan.corpus_gb,
    }


def free_disk(params: Params) -> float:
    """Return the gigabytes free where the run folder is or will be."""
    folder = params.run_dir
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9
