"""Studies whose truth is planted: random noise around it (`study`), or an exact pattern (`exactly`)."""

from itertools import product

import numpy as np
import pandas as pd

from lib.common.design import subset_name, subsets

CODES = ("ss", "sl", "ls", "ll")
SUITE = {"Reranking": 2, "STS": 2, "Clustering": 3, "Summarization": 1}


def study(sizes=SUITE, seeds=2, seed=0, effects=None, noise=0.5, base_rows=True):
    """A results table with planted main effects in points: {(category, type): effect}; nothing else moves."""
    rng = np.random.default_rng(seed)
    rows = []
    for kind, count in sizes.items():
        for i in range(count):
            task, level = f"{kind}{i}", rng.uniform(45, 75)
            if base_rows:
                rows.append(["base", 0, 0, 0, 0, 0, 0, task, kind, level - 3])
            for chosen, k in product(subsets(), range(seeds)):
                name = subset_name(chosen)
                on = [int(code in name.split("+")) for code in CODES]
                mean = level + sum(f * (effects or {}).get((c, kind), 0.0) for c, f in zip(CODES, on, strict=True))
                rows.append([name, 1, *on, k, task, kind, mean + rng.normal(0, noise)])
    table = pd.DataFrame(rows, columns=["subset", "public", *CODES, "seed", "task", "type", "score"])
    return table.assign(score=table["score"] / 100, metric="main_score", draws="own")


def exactly(sizes, effects, wobble, seeds=2, interactions=None):
    """A study whose least-squares effects are exactly the planted ones: {(category, type): points}.

    `wobble` (points) is a pattern over the runs, orthogonal to every main effect, that plays the noise; every task of
    the study has the same pattern, so type means are as noisy as tasks.
    """
    table = study(sizes, seeds=seeds, noise=0.0, base_rows=False)
    on = table[list(CODES)] - 0.5
    table["score"] = (
        0.6 + sum(on[c] * table["type"].map(lambda k, c=c: (effects or {}).get((c, k), 0.0)) for c in CODES) / 100
    )
    runs = table[["subset", "seed"]].drop_duplicates().reset_index(drop=True)
    levels = np.array([[c in s.split("+") for c in CODES] for s in runs["subset"]], float) - 0.5
    x = np.column_stack([np.ones(len(runs)), levels])
    pattern = np.random.default_rng(1).normal(size=len(runs))
    pattern -= x @ np.linalg.lstsq(x, pattern, rcond=None)[0]
    pattern *= wobble / pattern.std() / 100
    return table.merge(runs.assign(extra=pattern), on=["subset", "seed"]).assign(
        score=lambda t: t["score"] + t["extra"]
    )
