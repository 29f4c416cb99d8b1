"""One training on several GPUs: one process per GPU under torchrun, all negatives of the batch shared.

A notebook is one process, so it starts the others: ``train_together`` runs this module under torchrun, waits, and
leaves the same files as a training in one process does. The notebook's own ``train`` call then finds a finished run
and loads it. With one process per adapter, which is the grid's normal case, nothing of this happens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lib.common.bundled import ROOT
from lib.common.design import parse_run
from lib.common.files import KitError
from lib.common.kernel_client import die_with_parent
from lib.params.params import Params, load, of_run
from lib.params.provenance import provenance
from lib.train import mixture

LOG = "ranks.log"


def processes(params: Params) -> int:
    """Return how many processes train one adapter together: ``grid.processes``, or one per GPU of the job."""
    return params.grid.processes or max(1, params.grid.gpus)


def train_together(params: Params, params_file: str, overrides: dict[str, Any], run: str, seed: int) -> None:
    """Train a run in several processes, if the parameters ask for more than one; else do nothing.

    Raises KitError with the ranks' own sentence when they fail; all they said is in ``ranks.log`` beside the adapter.
    """
    count = processes(params)
    if count < 2:
        return
    folder = params.models_dir / run / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [*launcher, "-m", "lib.train.ranks", json.dumps([params_file, overrides, run, seed])]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    threads = max(1, params.grid.threads // count)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    with open(folder / LOG, "wb") as log:
        code = subprocess.call(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
        )
    if code:
        raise KitError(_reason(folder / LOG, count))


def _reason(log: Path, count: int) -> str:
    """Return the first sentence that a rank left in the log, or where to look."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if (at := line.find("KitError: ")) >= 0:
            return line[at + len("KitError: ") :]
    return f"one of the {count} processes that train together was killed or ran out of memory; see {log}"


def main(argv: list[str]) -> int:
    """Be one rank: read the data, plan the batches, train with the others.

    The one argument is JSON, ``[params_file, overrides, run, seed]``: torchrun takes options of its own for its own.
    """
    die_with_parent()  # torchrun starts us; without it we would go on writing beside the next attempt
    from lib.embedder.embedder import Embedder  # only now: these imports take seconds, in which a parent can die
    from lib.train.distributed import launched
    from lib.train.trainer import train

    params_file, overrides, run, seed = json.loads(argv[0])
    try:
        params = of_run(load(params_file, overrides), run)
        with launched():
            chosen, public = parse_run(run)
            pools = mixture.read_pools(params.data_dir, chosen, public)
            batches = mixture.plan(pools, chosen, params.mixture, params.training.batch_size, seed, public)
            start = mixture.start_seed(chosen, params.mixture, seed, public)
            folder = params.models_dir / run / f"seed{seed}"
            embedder, about = Embedder.from_params(params.model), provenance(params)
            train(embedder, pools, batches, params.training, folder, start, progress=False, extra=about)
    except KitError as error:
        print(f"KitError: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
