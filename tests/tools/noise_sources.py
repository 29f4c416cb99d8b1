"""Where does the noise of a run come from: its adapter start or its batches (params/LOG.md)?

    python tests/tools/noise_sources.py OUT.csv [SUBSET ...]   after `make reproduce`; a quarter of an hour a subset

Each subset is trained with four pairs (batches, start) that share the batches, four that share the start, and four that
share neither, on seeds that no study uses. One row per run and evaluation set; a run that is in OUT.csv is not made
again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd

from lib.common.design import parse_run
from lib.embedder.embedder import Embedder
from lib.params.params import load
from lib.params.provenance import provenance
from lib.score import suites
from lib.score.score import score
from lib.train import mixture
from lib.train.trainer import train

FIRST = 950
PAIRS = [(0, 0), *((0, i) for i in (1, 2, 3)), *((i, 0) for i in (1, 2, 3)), *((i, i) for i in (1, 2, 3))]


def one_run(params, subset: str, batches: int, start: int, folder: Path) -> pd.DataFrame:
    """Return the scores of one adapter whose batches and start are drawn with seeds of their own."""
    chosen, public = parse_run(subset)
    pools = mixture.read_pools(params.data_dir, chosen, public)
    planned = mixture.plan(pools, chosen, params.mixture, params.training.batch_size, FIRST + batches, public)
    seed = mixture.start_seed(chosen, params.mixture, FIRST + start, public)
    embedder = Embedder.from_params(params.model)
    train(embedder, pools, planned, params.training, folder / "adapter", seed, progress=False, extra=provenance(params))
    found = score(
        embedder, suites.tasks(params.scoring.suite), folder / "scores", params=params.scoring, progress=False
    )
    return found[["task", "type", "score"]].assign(subset=subset, batches=batches, start=start)


def main(out: Path, subsets: list[str]) -> None:
    """Make what is missing; print per subset the mean variance over sets (squared points) by what was drawn anew."""
    params = load("classroom")
    rows = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=["subset", "batches", "start"])
    for subset in subsets:
        for batches, start in PAIRS:
            done = (rows["subset"] == subset) & (rows["batches"] == batches) & (rows["start"] == start)
            if not done.any():
                with tempfile.TemporaryDirectory() as folder:
                    rows = pd.concat([rows, one_run(params, subset, batches, start, Path(folder))], ignore_index=True)
                rows.to_csv(out, index=False)
    same = {"start": rows["batches"] == 0, "batches": rows["start"] == 0, "both": rows["batches"] == rows["start"]}
    for subset in subsets:
        of = {name: rows[chosen & (rows["subset"] == subset)] for name, chosen in same.items()}
        print(subset, {name: round(1e4 * found.groupby("task")["score"].var().mean(), 3) for name, found in of.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["ls", "ss+sl+ls+ll"])
