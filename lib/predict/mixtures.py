"""Mixtures that are no subset: steps per source, adapters merged with weights, and fresh runs to judge them by.

A run of the study gives every present category the same number of steps. Here a category gets steps as its measured
influence asks (``doses``), or the adapters of single categories are added with weights (``merge``). ``fresh`` trains
mixtures with seeds that no choice has seen and scores them: the only judge that nothing was chosen by.

There is no gradient surgery (PCGrad) among them: a batch has one source, so that no two gradients meet in a step;
to project one on another would take a gradient per source at every step, five times the cost, and the categories'
gradients are nearly orthogonal, so that there is next to nothing to take away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from lib.common.bundled import ROOT
from lib.common.design import CODES, LABELS, subset_name
from lib.common.files import KitError, write_text
from lib.params.params import MixtureParams, Params
from lib.params.provenance import provenance
from lib.train.mixture import PUBLIC, plan, read_pools, start_seed

TABLE, MERGED = "fresh.csv", "merged.csv"
PASSES = 2  # a category is seen at most so often in a run: more would teach its texts by heart


def of_subset(subset: Sequence[str], params: MixtureParams) -> dict[str, int]:
    """Return the steps per source of a run of the study, {category: steps}, "public" last where it has any."""
    if params.budget != "fixed_steps":
        raise KitError(f"doses are steps, and mixture.budget is {params.budget}; set it to fixed_steps")
    found = {category: params.steps_per_category for category in subset}
    return found | {PUBLIC: params.steps - sum(found.values())}


def uniform(categories: Sequence[str], params: MixtureParams) -> dict[str, int]:
    """Return equal shares of the steps for public data and every category; what is left over is public."""
    share = params.steps // (len(categories) + 1)
    return dict.fromkeys(categories, share) | {PUBLIC: params.steps - share * len(categories)}


def doses(influence: Mapping[str, float], full: Mapping[str, int], most: Mapping[str, int]) -> dict[str, int]:
    """Return steps per source: the synthetic steps of ``full`` shared out in proportion to the influences.

    ``influence``: {category: points}; negative ones count as none. ``full``: the steps of the mixture of all, whose
    public steps stay as they are; ``most``: the most steps a category can give. Whole steps by Webster's rule (the next
    one to the largest influence / (2 x steps + 1)). Steps that no category may take are public.
    """
    given = dict.fromkeys(influence, 0)
    for _ in range(sum(dose for source, dose in full.items() if source != PUBLIC)):
        open_ = [one for one in given if influence[one] > 0 and given[one] < most[one]]
        if open_:
            given[max(open_, key=lambda one: influence[one] / (2 * given[one] + 1))] += 1
    taken = {one: dose for one, dose in given.items() if dose}
    return taken | {PUBLIC: sum(full.values()) - sum(taken.values())}


def most_steps(params: Params) -> dict[str, int]:
    """Return the most steps that each category of the study can give: ``PASSES`` times its full batches."""
    pools = read_pools(params.data_dir, params.study.categories, public=False)
    return {name: PASSES * (len(pool) // params.training.batch_size) for name, pool in pools.items()}


def name_of(mixture: Mapping[str, int], params: MixtureParams) -> str:
    """Return a mixture's name on disk: the subset's where it is one of the study's, else ``ss10+ls16``."""
    subset = [source for source in mixture if source != PUBLIC]
    if dict(mixture) == of_subset(subset, params):
        return subset_name(subset)
    return "+".join(f"{CODES[one]}{mixture[one]}" for one in CODES if one in mixture)


def told(mixture: Mapping[str, int]) -> str:
    """Return a mixture in words: ``short-short 10, long-short 16, public 14``."""
    return ", ".join(f"{LABELS.get(source, source)} {dose}" for source, dose in mixture.items())


def place(params: Params) -> Path:
    """Return the folder of the fresh runs: ``runs/improve/<profile>``, beside the study and never inside it."""
    runs = ROOT / params.paths.runs
    return runs / "improve" / params.place("score").relative_to(runs)


def fresh(
    params: Params, mixtures: Mapping[str, Mapping[str, int]], seeds: Sequence[int], say: Callable = lambda _: None
) -> Path:
    """Train and score every mixture with every seed; return the path of the table, which is written after each run.

    ``mixtures``: {name: steps per source}. The table has ``subset`` (the name), ``seed``, the steps per source,
    ``task, type, score``. All mixtures of a seed come before the next seed, so that a run that was cut off is whole
    for some seeds; run again, it goes on where it was. Mixtures of the same sources share start and, as far as both
    have them, batches. Raises KitError for a seed of the study: its runs were chosen by.
    """
    if used := sorted(set(seeds) & set(params.study.seeds)):
        raise KitError(f"seed {used[0]} is one of the study's, by which mixtures are chosen; give fresh seeds")
    from lib.score import suites

    path, tasks, parts = place(params) / TABLE, suites.tasks(params.scoring.suite), []
    for seed in seeds:
        for name, mixture in mixtures.items():
            table = _run(params, name, mixture, seed, tasks)
            parts.append(table.assign(**{CODES.get(one, one): dose for one, dose in mixture.items()}))
            whole = pd.concat(parts, ignore_index=True)
            steps = [column for column in (*CODES.values(), PUBLIC) if column in whole]
            whole[steps] = whole[steps].fillna(0).astype(int)
            whole = whole[["subset", "seed", *steps, "task", "type", "score"]]
            write_text(path, whole.to_csv(index=False, lineterminator="\n"))
            say(f"{name} ({told(mixture)}), seed {seed}: {100 * table['score'].mean():.2f} points")
    return path


def _run(params: Params, name: str, mixture: Mapping[str, int], seed: int, tasks) -> pd.DataFrame:
    """Train one mixture and score it; what is finished is only read."""
    from lib.embedder.embedder import Embedder
    from lib.train.trainer import train

    subset = [source for source in mixture if source != PUBLIC]
    used = {source: dose for source, dose in mixture.items() if dose}
    pools = read_pools(params.data_dir, subset, PUBLIC in used)
    batches = plan(pools, subset, params.mixture, params.training.batch_size, seed, PUBLIC in used, used)
    start = start_seed(subset, params.mixture, seed, PUBLIC in used)
    embedder = Embedder.from_params(params.model)
    folder, about = place(params) / "models" / name / f"seed{seed}", {"progress": False, "extra": provenance(params)}
    train(embedder, pools, batches, params.training, folder, start, **about)
    return _score(params, embedder, name, seed, tasks)


def _score(params: Params, embedder, name: str, seed: int, tasks) -> pd.DataFrame:
    """Score an embedder's adapter; return its rows. Raises KitError for a set that has no score."""
    from lib.score.score import score

    home = place(params) / "scores"
    table = score(embedder, tasks, home, name=f"{name}-seed{seed}", params=params.scoring, progress=False)
    if table.attrs["failed"]:
        task, reason = next(iter(table.attrs["failed"].items()))
        raise KitError(f"{task} of {name} seed {seed} has no score ({reason}); run it again to retry")
    return table.assign(subset=name, seed=seed)


def merge(params: Params, folders: Mapping[str | Path, float], out: Path):
    """Return an embedder whose adapter is the weighted sum of adapters, {folder: weight}, written to ``out/merged``.

    Task arithmetic on what adapters do, the products B A, and not on their factors: peft lays the factors side by side,
    and the adapter of rank r1 + r2 + ... has exactly the weighted sum of the products.
    """
    from lib.embedder.embedder import ADAPTER, Embedder

    first, *others = folders
    embedder = Embedder.from_params(params.model, adapter=first)
    names = [ADAPTER, *(f"part{place}" for place in range(len(others)))]
    for name, folder in zip(names[1:], others, strict=True):
        embedder.model.load_adapter(str(folder), adapter_name=name)
    embedder.model.add_weighted_adapter(names, list(folders.values()), "merged", combination_type="cat")
    embedder.model.save_pretrained(str(out), selected_adapters=["merged"], save_embedding_layers=False)
    return Embedder.from_params(params.model, adapter=out / "merged")


def merges(params: Params, say: Callable = lambda _: None) -> Path:
    """Add the study's adapters of single categories with equal weights, score them, and return the path of the table.

    Weights: one part each (their mean), one half, and one (their sum). Columns ``subset`` (such as ``merged 0.25``),
    ``seed, task, type, score``. Nothing is trained; what is finished is only read.
    """
    from lib.score import suites
    from lib.score.scorefile import adapter_folder

    tasks, parts, singles = suites.tasks(params.scoring.suite), [], [CODES[one] for one in params.study.categories]
    for seed in params.study.seeds:
        folders = [adapter_folder(params, single, seed) for single in singles]
        for weight in sorted({1 / len(folders), 0.5, 1.0}):
            name = f"merged {weight:g}"
            embedder = merge(params, dict.fromkeys(folders, weight), place(params) / "models" / name / f"seed{seed}")
            parts.append(_score(params, embedder, name, seed, tasks))
            say(f"{name} of {', '.join(singles)}, seed {seed}: {100 * parts[-1]['score'].mean():.2f} points")
    table = pd.concat(parts, ignore_index=True)[["subset", "seed", "task", "type", "score"]]
    return write_text(place(params) / MERGED, table.to_csv(index=False, lineterminator="\n"))
