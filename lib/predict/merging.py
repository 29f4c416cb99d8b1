"""Merging: the adapters of the five small trainings added up into models that nobody trained, scored as they are.

An adapter is a change of weights, scaling · B·A per layer. Task arithmetic (Ilharco et al. 2023) adds such changes:
none + s · (the sum of single - none). Summing the factors would not do, since B1·A1 + B2·A2 is not (B1 + B2)·(A1 + A2);
laid side by side they are exact: [B1 B2]·[A1; A2], an adapter of rank 2r that plain peft loads.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from lib.common import display
from lib.common.files import KitError, digest, read_json, write_json
from lib.embedder.models import WEIGHTS
from lib.params.params import Params
from lib.predict.judge import Truth, spearman

SCALINGS = ("mean", "sum")  # s = 1/k with k categories, and s = 1
WORKERS = 4  # models scored at once on a processor: two, a core each, take about as long as one on two cores


def weights_of(size: int, scaling: str) -> list[float]:
    """Return the weights of none and of each of ``size`` singles in none + s · (the sum of single - none)."""
    if scaling not in SCALINGS:
        raise KitError(f"scaling {scaling!r} is not known; say {' or '.join(SCALINGS)}")
    s = 1.0 if scaling == "sum" else 1 / size
    return [1 - s * size if scaling == "sum" else 0.0, *[s] * size]


def merge(params: Params, folders: Mapping[str | Path, float], out: Path):
    """Return an embedder whose adapter, written to ``out``, does the weighted sum of adapters {folder: weight}.

    peft lays the products' factors side by side, so the rank is the sum of theirs (those of weight 0 are left out).
    Raises KitError for an adapter that is missing.
    """
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


def merged_scores(params: Params, known: Truth, seed: int, folder: Path, scalings: Sequence[str] = SCALINGS) -> dict:
    """Return {scaling: (scores (subsets, sets) in points, processor seconds)} of the merged models of one seed.

    None and the singles are the real ones. What is scored stays in ``folder``, set by set: a run that was stopped goes
    on where it was. About as many scorings as there are larger subsets, for each scaling.
    """
    from joblib import Parallel, cpu_count, delayed
    from torch.cuda import is_available

    place, folder = known.seeds.index(seed), folder / f"seed{seed}"
    rows = [*product(scalings, np.flatnonzero(known.held))]
    workers = 1 if is_available() else min(WORKERS, cpu_count())
    waiting = Parallel(workers, return_as="generator")(delayed(_record)(params, known, seed, folder, *r) for r in rows)
    records = list(display.bar(waiting, total=len(rows), desc="merged models scored", unit="model", leave=False))
    display.wipe()
    out = {scaling: [known.y[place].copy(), 0.0] for scaling in scalings}
    for (scaling, row), record in zip(rows, records, strict=True):
        out[scaling][0][row] = [100 * record["scores"][task] for task in known.tasks]
        out[scaling][1] += record["seconds"]
    return {scaling: (scores, seconds) for scaling, (scores, seconds) in out.items()}


def _record(params: Params, known: Truth, seed: int, folder: Path, scaling: str, row: int) -> dict:
    """The scores of one merged model, from ``folder`` where they are there."""
    chosen = [code for code, level in zip(known.codes, known.x[row], strict=True) if level]
    adapters = [params.models_dir / name / f"seed{seed}" for name in ("none", *chosen)]
    file, stamp = folder / f"{known.subsets[row]}.{scaling}.json", _stamp(params, adapters, known.tasks)
    if not file.is_file() or read_json(file).get("made_of") != stamp:
        weights = dict(zip(adapters, weights_of(len(chosen), scaling), strict=True))
        write_json(file, {"made_of": stamp, **_scored(params, weights, folder.parent, known, file.stem)})
    return read_json(file)


def _stamp(params: Params, folders: Sequence[Path], tasks: Sequence[str]) -> str:
    """What decides the scores of a merged model: its adapters, how they are scored, and on what."""
    adapters = [read_json(folder / "train.json").get("adapter_digest") for folder in folders]
    return digest([adapters, params.hash("base"), list(tasks)])


def _scored(params: Params, adapters: Mapping[Path, float], folder: Path, known: Truth, name: str) -> dict:
    """Merge, load, and score on all sets of the study."""
    from lib.score.score import score
    from lib.score.suites import tasks

    began = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        embedder = merge(params, adapters, Path(scratch) / "merged")
    wanted = [task for task in tasks(params.scoring.suite) if task.metadata.name in known.tasks]
    table = score(embedder, wanted, folder, name=name, params=params.scoring, progress=False)
    if failed := table.attrs["failed"]:
        task, reason = next(iter(failed.items()))
        raise KitError(
            f"the merged model {name} has no score on {task} ({reason}); mend that and run again, the rest is kept"
        )
    return {"scores": dict(zip(table["task"], table["score"], strict=True)), "seconds": time.process_time() - began}


def chosen_on_other_half(options: dict[str, np.ndarray], known: Truth, place: int) -> tuple[np.ndarray, list[str]]:
    """Return predictions (subsets, sets) whose scaling was chosen on other sets, and the choice of each half.

    Sets are halved in turn, so that both halves have every type; on one half the scaling with the best mean rank
    correlation with the models of the predictor's *own* seed is chosen, and used on the other half.
    """
    names, own = list(options), known.y[place][known.held]
    halves = [np.arange(len(known.tasks)) % 2 == half for half in (0, 1)]
    out, choices = np.empty_like(options[names[0]]), []
    for chosen_on, used_on in (halves, halves[::-1]):
        fit = [spearman(options[n][known.held][:, chosen_on], own[:, chosen_on]).mean() for n in names]
        choices.append(names[int(np.argmax(fit))])
        out[:, used_on] = options[choices[-1]][:, used_on]
    return out, choices
