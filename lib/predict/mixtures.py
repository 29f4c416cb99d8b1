"""Mixtures that are no subset: steps per source as influences ask, adapters added with weights, and fresh runs.

A run of the study gives every present category the same steps. Here each has a number of its own (``doses``), or the
adapters of single categories are added (``merges``). ``fresh`` trains mixtures with seeds that no choice has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.bundled import ROOT
from lib.common.design import CODES, parse_run, subset_name
from lib.common.files import KitError, write_text
from lib.params.params import MixtureParams, Params
from lib.params.provenance import provenance
from lib.predict import choose
from lib.predict.merging import merge
from lib.train.mixture import PUBLIC, plan, read_pools, start_seed

FRESH, MERGED = "fresh.csv", "merged.csv"
PASSES = 2  # a category is seen at most so often in a run; more would teach its texts by heart


def of_subset(subset: Sequence[str], params: MixtureParams) -> dict[str, int]:
    """Return the steps per source of a run of the study, {category: steps, "public": steps}."""
    if params.budget != "fixed_steps":
        raise KitError(f"a dose is a number of steps, and mixture.budget is {params.budget}; set it to fixed_steps")
    found = dict.fromkeys(subset, params.steps_per_category)
    return found | {PUBLIC: params.steps - sum(found.values())}


def doses(influence: Mapping[str, float], full: Mapping[str, int], most: Mapping[str, int]) -> dict[str, int]:
    """Return steps per source: the synthetic steps of ``full`` shared out in proportion to the influences.

    ``influence``: {category: points}, a negative one counts as none; ``full``: the mixture of all, whose public steps
    stay; ``most``: the most steps of a category. Whole steps by Webster's rule: the next one goes to the largest
    influence / (2 x steps + 1). Steps that no category may take are public.
    """
    given = dict.fromkeys(influence, 0)
    for _ in range(sum(full.values()) - full[PUBLIC]):
        able = [one for one in given if influence[one] > 0 and given[one] < most[one]]
        if able:
            given[max(able, key=lambda one: influence[one] / (2 * given[one] + 1))] += 1
    taken = {one: dose for one, dose in given.items() if dose}
    return taken | {PUBLIC: sum(full.values()) - sum(taken.values())}


def most_steps(params: Params) -> dict[str, int]:
    """Return the most steps that each category of the study can give: ``PASSES`` times its full batches."""
    pools = read_pools(params.data_dir, params.study.categories, public=False)
    return {name: PASSES * (len(pool) // params.training.batch_size) for name, pool in pools.items()}


def name_of(mixture: Mapping[str, int], params: MixtureParams) -> str:
    """Return a mixture's name on disk: the subset's where it is one of the study's, else such as ``ss10+ls16``."""
    subset = [source for source in mixture if source != PUBLIC]
    if dict(mixture) == of_subset(subset, params):
        return subset_name(subset)
    return "+".join(f"{CODES[one]}{mixture[one]}" for one in CODES if one in mixture)


def chosen(s: choose.Scored, params: Params) -> dict[str, tuple[dict[str, int], ...]]:
    """Return {strategy: (steps per source as chosen on one half of the sets, on the other)}: split 0, all seeds.

    ``all``, ``none`` and ``uniform`` (equal shares of the steps, what is left over is public) are not chosen; ``doses``
    follow the main effects; ``subset`` is the best measured one.
    """
    names, recipe, most = params.study.categories, params.mixture, most_steps(params)
    full, half = of_subset(names, recipe), choose.halves(s.types)
    even = recipe.model_copy(update={"steps_per_category": recipe.steps // (len(names) + 1)})
    fixed = {"all": full, "none": of_subset((), recipe), "uniform": of_subset(names, even)}
    found: dict[str, tuple[dict[str, int], ...]] = {name: (mixture, mixture) for name, mixture in fixed.items()}
    for seen in (half, ~half):
        score = s.y[: s.menu, :, seen].mean(axis=(1, 2))
        effect = np.linalg.lstsq(np.column_stack([np.ones(s.menu), s.x[: s.menu]]), score)[0][1:]
        by_dose = doses(dict(zip(names, effect, strict=True)), full, most)
        best = of_subset(parse_run(s.names[score.argmax()])[0], recipe)
        found |= {name: (*found.get(name, ()), one) for name, one in (("doses", by_dose), ("subset", best))}
    return found


def judged(s: choose.Scored, pairs: Mapping[str, tuple], params: Params, alpha: float = 0.05) -> pd.DataFrame:
    """Return ``choose.gains_table`` of ``chosen`` in fresh runs, each on the half that it was not chosen on.

    A mixture that is that of all by another name is left out. Raises KitError for less than two fresh seeds.
    """
    if s.y.shape[1] < 2:
        raise KitError("one fresh seed has no error; run `make improve` to its end")
    half, used = choose.halves(s.types), {}
    for how, pair in pairs.items():
        if how != "all" and pair == pairs["all"]:
            continue
        first, second = (s.only(name_of(mixture, params.mixture)) for mixture in pair)
        used[how] = (np.where(half, second, first), 1.0)
    return choose.gains_table(s, used, alpha)


def place(params: Params) -> Path:
    """Return the folder of all this: ``runs/improve/<profile>``, beside the study and never inside it."""
    runs = ROOT / params.paths.runs
    return runs / "improve" / params.place("score").relative_to(runs)


def found(params: Params, name: str) -> pd.DataFrame | None:
    """Return the table ``FRESH`` or ``MERGED`` of this machine, else the committed one, None where neither is."""
    places = (place(params) / name, ROOT / "figures" / params.profile / f"improve_{name}")
    path = next((path for path in places if path.is_file()), None)
    return None if path is None or params.other("score") and path == places[1] else pd.read_csv(path)


def fresh(params: Params, mixtures: Mapping[str, Mapping[str, int]], seeds: Sequence[int], say: Callable) -> Path:
    """Train and score every mixture {name: steps per source} with every seed; return the path of the table.

    It has ``subset`` (the name), ``seed``, ``task, type, score``, and is written after each run. All mixtures of a seed
    come before the next seed; run again, it goes on where it was. Mixtures of the same sources share start and, as far
    as both have them, batches. Raises KitError for a seed of the study, by whose runs the mixtures were chosen.
    """
    from lib.score import suites

    if used := sorted(set(seeds) & set(params.study.seeds)):
        raise KitError(f"seed {used[0]} is one of the study's, by which mixtures are chosen; give fresh seeds")
    path, tasks, parts = place(params) / FRESH, suites.tasks(params.scoring.suite), []
    for seed in seeds:
        for name, mixture in mixtures.items():
            parts.append(_score(params, _trained(params, name, mixture, seed), name, seed, tasks))
            write_text(path, pd.concat(parts).to_csv(index=False, lineterminator="\n"))
            say(f"{name}, seed {seed}: {100 * parts[-1]['score'].mean():.2f} points")
    return path


def _trained(params: Params, name: str, mixture: Mapping[str, int], seed: int):
    """Return an embedder with the adapter of one mixture, trained now or before."""
    from lib.embedder.embedder import Embedder
    from lib.train.trainer import train

    used = {source: dose for source, dose in mixture.items() if dose}
    subset, public = [source for source in used if source != PUBLIC], PUBLIC in used
    pools = read_pools(params.data_dir, subset, public)
    batches = plan(pools, subset, params.mixture, params.training.batch_size, seed, public, used)
    embedder, start = Embedder.from_params(params.model), start_seed(subset, params.mixture, seed, public)
    folder = place(params) / "models" / name / f"seed{seed}"
    train(embedder, pools, batches, params.training, folder, start, progress=False, extra=provenance(params))
    return embedder


def _score(params: Params, embedder, name: str, seed: int, tasks) -> pd.DataFrame:
    """Score an embedder's adapter; return its rows. Raises KitError for a set that has no score."""
    from lib.score.score import score

    named, home = f"{name}-seed{seed}", place(params) / "scores"
    table = score(embedder, tasks, home, name=named, params=params.scoring, progress=False)
    for task, reason in table.attrs["failed"].items():
        raise KitError(f"{task} of {name} seed {seed} has no score ({reason}); run it again to retry")
    return table.assign(subset=name, seed=seed)[["subset", "seed", "task", "type", "score"]]


def merges(params: Params, say: Callable) -> Path:
    """Add the study's adapters of single categories with weight 1/k, 1/2 or 1 each, and score them.

    Nothing is trained. Returns the path of a table as ``fresh`` writes, ``subset`` such as ``merged 0.25``.
    """
    from lib.score import suites
    from lib.score.score import adapter_folder

    tasks, parts, path = suites.tasks(params.scoring.suite), [], place(params) / MERGED
    for seed in params.study.seeds:
        folders = [adapter_folder(params, CODES[one], seed) for one in params.study.categories]
        for weight in sorted({1 / len(folders), 0.5, 1.0}):
            name = f"merged {weight:g}"
            out = place(params) / "models" / name / f"seed{seed}"
            parts.append(_score(params, merge(params, dict.fromkeys(folders, weight), out), name, seed, tasks))
            say(f"{name}, seed {seed}: {100 * parts[-1]['score'].mean():.2f} points")
    return write_text(path, pd.concat(parts).to_csv(index=False, lineterminator="\n"))
