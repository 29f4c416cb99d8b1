"""How reliable are effects for how many minutes? Seeds of finished studies against each other (params/LOG.md).

    python tests/tools/reliability_curve.py runs/classroom/results.csv runs/classroom-again/results.csv

Every seed is a study of 16 runs. All disjoint groups of up to half of the seeds are correlated; what more seeds would
give is stepped up from single seeds (Spearman-Brown). Minutes are those of training and scoring on two cores.
"""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

FACTORS = ["ss", "sl", "ls", "ll"]


def effects(scores: pd.DataFrame, level: str) -> np.ndarray:
    """Return the main effects, category after category: mean with minus mean without it, in points."""
    means = scores.groupby([level, "subset", "seed", *FACTORS], as_index=False)["score"].mean()
    parts = [
        means[means[factor] == 1].groupby(level)["score"].mean()
        - means[means[factor] == 0].groupby(level)["score"].mean()
        for factor in FACTORS
    ]
    return 100 * np.concatenate(parts)


def curve(scores: pd.DataFrame, level: str) -> dict[int, float]:
    """Return {seeds in a study: reliability of its effects}."""
    seeds = sorted(scores["seed"].unique())
    found = {}
    for size in range(1, len(seeds) // 2 + 1):
        pairs = [
            (a, b)
            for a in combinations(seeds, size)
            for b in combinations(seeds, size)
            if a < b and not set(a) & set(b)
        ]
        halves = [[effects(scores[scores["seed"].isin(half)], level) for half in pair] for pair in pairs]
        found[size] = float(np.mean([np.corrcoef(*pair)[0, 1] for pair in halves]))
    one = found[1]
    return found | {size: size * one / (1 + (size - 1) * one) for size in (2, 3, 4, 6, 8, 12) if size not in found}


def main(paths: list[str]) -> None:
    """Print the curve for sets and for types."""
    scores = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
    scores = scores[scores["subset"] != "base"]
    timing = pd.concat([pd.read_csv(Path(path).with_name("timing.csv")) for path in paths], ignore_index=True)
    run = timing[timing["subset"] != "base"].groupby(["subset", "seed"])
    minutes = 16 * (run["seconds"].first() + run["score_seconds"].sum()).mean() / 60 / 2
    for level in ("task", "type"):
        for size, share in sorted(curve(scores, level).items()):
            print(f"{level}: 16 x {size}, {size * minutes:.0f} minutes, reliability {share:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
