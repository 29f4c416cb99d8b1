"""Models of mixtures that are no run of the study: adapters added up, steps as influences ask, and fresh runs.

Task arithmetic (Ilharco et al. 2023) adds changes of weights, scaling · B·A per layer. B1·A1 + B2·A2 is not
(B1 + B2)·(A1 + A2); laid side by side the factors are exact: [B1 B2]·[A1; A2], of rank 2r, which plain peft loads.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.bundled import ROOT, bar, wipe
from lib.common.design import CODES, parse_run, subset_name
from lib.common.files import KitError, digest, read_json, write_json, write_text
from lib.embedder.models import WEIGHTS
from lib.params.model import MixtureParams
from lib.params.params import Params
from lib.params.provenance import provenance
from lib.predict import choose
from lib.train.mixture import PUBLIC, plan, read_pools, start_seed

SCALINGS = ("mean", "sum")  # s = 1/k with k categories, and s = 1
FRESH, MERGED = "fresh.csv", "merged.csv"


def merge(params: Params, folders: Mapping[str | Path, float], out: Path):
    """Return an embedder with the weighted sum of adapters {folder: weight}, written to ``out``."""
    from lib.embedder.embedder import ADAPTER, Embedder

    used = {Path(folder): weight for folder, weight in folders.items() if weight}
    for folder in used:
        if not (folder / WEIGHTS).is_file():
            raise KitError(f"{folder.parent.name} has no adapter to merge; train it with notebook 03 first")
    model = Embedder.from_params(params.model, adapter=next(iter(used))).model
    names = [ADAPTER, *(f"part{place}" for place in range(1, len(used)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # our own BERT has lost its pooler: there is none to leave out
        for name, folder in list(zip(names, used, strict=True))[1:]:
            model.load_adapter(str(folder), adapter_name=name)
        model.add_weighted_adapter(names, list(used.values()), out.name, combination_type="cat")
        model.save_pretrained(str(out.parent), selected_adapters=[out.name], save_embedding_layers=False)
    return Embedder.from_params(params.model, adapter=out)


def merged_scores(
    params: Params, known: choose.Scored, seed: int, folder: Path, scalings: Sequence[str] = SCALINGS
) -> dict:
    """Return {scaling: (scores (subsets, sets) in points, processor seconds)} of one seed, the larger subsets merged.

    What is scored stays in ``folder``, set by set.
    """
    from joblib import Parallel, cpu_count, delayed
    from torch.cuda import is_available

    if unknown := [scaling for scaling in scalings if scaling not in SCALINGS]:
        raise KitError(f"scaling {unknown[0]!r} is not known; say {' or '.join(SCALINGS)}")
    rows = [*product(scalings, np.flatnonzero(known.held))]
    workers = 1 if is_available() else min(4, cpu_count())  # two, a core each, take as long as one on two
    waiting = Parallel(workers, return_as="generator")(delayed(_merged)(params, known, seed, folder, *r) for r in rows)
    done = bar(waiting, total=len(rows), desc="merged models scored", unit="model", leave=False)
    out = {name: (known.by_seed[known.seeds.index(seed)].copy(), 0.0) for name in scalings}
    for (name, row), record in zip(rows, done, strict=True):
        out[name][0][row] = [100 * record["scores"][task] for task in known.tasks]
        out[name] = out[name][0], out[name][1] + record["seconds"]
    wipe()
    return out


def _merged(params: Params, known: choose.Scored, seed: int, folder: Path, scaling: str, row: int) -> dict:
    """The scores of one merged model, from ``folder`` where they are there and made of the same."""
    from lib.score.suites import tasks

    singles = [code for code, level in zip(known.codes, known.x[row], strict=True) if level]
    adapters = [params.models_dir / name / f"seed{seed}" for name in ("none", *singles)]
    made_of = [read_json(adapter / "train.json").get("adapter_digest") for adapter in adapters]
    stamp = digest([made_of, params.hash("base"), list(known.tasks)])
    file = folder / f"seed{seed}" / f"{known.names[row]}.{scaling}.json"
    if not file.is_file() or read_json(file).get("made_of") != stamp:
        began, s = time.process_time(), 1.0 if scaling == "sum" else 1 / len(singles)
        weights = {adapters[0]: 1 - len(singles) if scaling == "sum" else 0.0, **dict.fromkeys(adapters[1:], s)}
        with tempfile.TemporaryDirectory() as scratch:
            embedder = merge(params, weights, Path(scratch) / "merged")
        wanted = [task for task in tasks(params.scoring.suite) if task.metadata.name in known.tasks]
        table = _score(params, embedder, wanted, folder, file.stem)
        scores = table.set_index("task")["score"].to_dict()
        write_json(file, {"made_of": stamp, "scores": scores, "seconds": time.process_time() - began})
    return read_json(file)


def _score(params: Params, embedder, tasks: Sequence, home: Path, name: str) -> pd.DataFrame:
    """The rows of an embedder's adapter. Raises KitError for a set that has no score."""
    from lib.score.score import score

    table = score(embedder, tasks, home, name=name, params=params.scoring, progress=False)
    for task, reason in table.attrs["failed"].items():
        raise KitError(f"{name} has no score on {task} ({reason}); mend that and run again, the rest is kept")
    return table


def chosen_on_other_half(options: dict[str, np.ndarray], known: choose.Scored, seed: int) -> np.ndarray:
    """Return predictions (subsets, sets): on every other set the scaling that ranks best on the remaining ones.

    That is, for the models of the predictor's *own* seed. Halved in turn, both halves have every type.
    """
    own, odd = known.by_seed[known.seeds.index(seed)], np.arange(len(known.tasks)) % 2 == 1
    ranks = {name: pd.DataFrame(part[known.held].round(9)).rank() for name, part in {**options, "own": own}.items()}
    fits = {name: ranks[name].corrwith(ranks["own"]).fillna(0) for name in options}
    first, second = (options[max(options, key=lambda name: fits[name][half].mean())] for half in (~odd, odd))
    return np.where(odd, first, second)


# ── steps per source ─────────────────────────────────────────────────────────────────────────────────────────
def of_subset(subset: Sequence[str], params: MixtureParams) -> dict[str, int]:
    """Return the steps per source of a run of the study, {category: steps, "public": steps}."""
    if params.budget != "fixed_steps":
        raise KitError(f"a dose is a number of steps, and mixture.budget is {params.budget}; set it to fixed_steps")
    found = dict.fromkeys(subset, params.steps_per_category)
    return found | {PUBLIC: params.steps - sum(found.values())}


def doses(influence: Mapping[str, float], full: Mapping[str, int], most: Mapping[str, int]) -> dict[str, int]:
    """Return steps per source: the synthetic steps of ``full`` in proportion to {category: influence in points}.

    A negative influence counts as none; ``most``: the most steps of a category. Whole steps by Webster's rule: the next
    one goes to the largest influence / (2 x steps + 1). Steps that no category may take are public.
    """
    given = dict.fromkeys(influence, 0)
    for _ in range(sum(full.values()) - full[PUBLIC]):
        able = [one for one in given if influence[one] > 0 and given[one] < most[one]]
        if able:
            given[max(able, key=lambda one: influence[one] / (2 * given[one] + 1))] += 1
    taken = {one: dose for one, dose in given.items() if dose}
    return taken | {PUBLIC: sum(full.values()) - sum(taken.values())}


def name_of(mixture: Mapping[str, int], params: MixtureParams) -> str:
    """Return a mixture's name on disk: the subset's where it is one of the study's, else such as ``ss10+ls16``."""
    subset = [source for source in mixture if source != PUBLIC]
    if dict(mixture) == of_subset(subset, params):
        return subset_name(subset)
    return "+".join(f"{CODES[one]}{mixture[one]}" for one in CODES if one in mixture)


def chosen(s: choose.Scored, params: Params) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Return {strategy: (steps per source as chosen on one half of the sets, on the other)}: split 0, all seeds.

    ``all``, ``none``, ``uniform`` (equal shares) are fixed; ``doses`` follow the main effects; ``subset`` is the best.
    """
    names, recipe, half = params.study.categories, params.mixture, choose.halves(s.types)
    pools = read_pools(params.data_dir, names, public=False)
    most = {
        name: 2 * (len(pool) // params.training.batch_size) for name, pool in pools.items()
    }  # passes over its texts
    full, x = of_subset(names, recipe), np.column_stack([np.ones(s.menu), s.x[: s.menu]])
    even = recipe.model_copy(update={"steps_per_category": recipe.steps // (len(names) + 1)})
    fixed = {"all": full, "none": of_subset((), recipe), "uniform": of_subset(names, even)}
    found = {name: (mixture, mixture) for name, mixture in fixed.items()} | {"doses": (), "subset": ()}
    for seen in (half, ~half):
        score = s.y[: s.menu, :, seen].mean(axis=(1, 2))
        effect = dict(zip(names, np.linalg.lstsq(x, score)[0][1:], strict=True))
        found["doses"] += (doses(effect, full, most),)
        found["subset"] += (of_subset(parse_run(s.names[score.argmax()])[0], recipe),)
    return found


def judged(s: choose.Scored, pairs: Mapping[str, tuple], params: Params) -> pd.DataFrame:
    """Return ``choose.gains_table`` of ``chosen`` in fresh runs, each on the half that it was not chosen on."""
    if s.y.shape[1] < 2:
        raise KitError("one fresh seed has no error; run `make improve` to its end")
    half, used = choose.halves(s.types), {}
    for how, pair in pairs.items():
        if how == "all" or pair != pairs["all"]:  # the mixture of all by another name is left out
            first, second = (s.only(name_of(mixture, params.mixture)) for mixture in pair)
            used[how] = (np.where(half, second, first), 1.0)
    return choose.gains_table(s, used)


# ── fresh runs ───────────────────────────────────────────────────────────────────────────────────────────────
def place(params: Params) -> Path:
    """Return the folder of all this: ``runs/improve/<profile>``, beside the study and never inside it."""
    runs = ROOT / params.paths.runs
    return runs / "improve" / params.place("score").relative_to(runs)


def found(params: Params, name: str) -> pd.DataFrame | None:
    """Return the table ``FRESH`` or ``MERGED`` of this machine, else the committed one, None where neither is."""
    committed = [] if params.other("score") else [ROOT / "figures" / params.profile / f"improve_{name}"]
    return next((pd.read_csv(path) for path in (place(params) / name, *committed) if path.is_file()), None)


def fresh(params: Params, mixtures: Mapping[str, Mapping[str, int]], seeds: Sequence[int], say: Callable) -> Path:
    """Train and score every mixture {name: steps per source} with every seed; return the path of the table.

    Rows ``subset`` (the name), ``seed``, ``task, type, score``, written after each run; run again, it goes on where it
    was. Mixtures of the same sources share start and, as far as both have them, batches.
    """
    if used := sorted(set(seeds) & set(params.study.seeds)):
        raise KitError(f"seed {used[0]} is one of the study's, by which mixtures are chosen; give fresh seeds")
    path, parts = place(params) / FRESH, []
    for seed, (name, mixture) in product(seeds, mixtures.items()):
        parts.append(_rows(params, _trained(params, name, mixture, seed), name, seed, say))
        write_text(path, pd.concat(parts).to_csv(index=False, lineterminator="\n"))
    return path


def merges(params: Params, say: Callable) -> Path:
    """Score the sums of the singles' adapters with weight 1/k, 1/2, 1; a table as of ``fresh``, "merged 0.25" etc."""
    from lib.score.score import adapter_folder

    parts, categories = [], params.study.categories
    for seed, weight in product(params.study.seeds, sorted({1 / len(categories), 0.5, 1.0})):
        name, folders = f"merged {weight:g}", [adapter_folder(params, CODES[one], seed) for one in categories]
        embedder = merge(params, dict.fromkeys(folders, weight), place(params) / "models" / name / f"seed{seed}")
        parts.append(_rows(params, embedder, name, seed, say))
    return write_text(place(params) / MERGED, pd.concat(parts).to_csv(index=False, lineterminator="\n"))


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


def _rows(params: Params, embedder, name: str, seed: int, say: Callable) -> pd.DataFrame:
    from lib.score import suites

    tasks = suites.tasks(params.scoring.suite)
    table = _score(params, embedder, tasks, place(params) / "scores", f"{name}-seed{seed}")
    say(f"{name}, seed {seed}: {100 * table['score'].mean():.2f} points")
    return table.assign(subset=name, seed=seed)[["subset", "seed", "task", "type", "score"]]
