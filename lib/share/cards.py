"""All cards of a finished run, in one go: each lies where its readers look for it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from lib.common.bundled import shown
from lib.common.design import BASE, FACTORIAL
from lib.common.files import KitError, read_json
from lib.embedder.models import corrupted
from lib.params.params import Params
from lib.share import adapters, crate, data


def write_all(params: Params) -> Iterator[str]:
    """Write all cards of a run and yield a line on each kind. No file that the study wrote is touched.

    ``data/croissant.json`` and ``data/README.md`` (of each generator's data too); ``models/<run>/README.md``;
    ``cards/mteb/results/``, as mteb's repository has them; ``ro-crate-metadata.json``. Raises KitError
    for a run that is not finished, or whose adapters or results are not those that its records name.
    """
    if params.study.design != FACTORIAL or params.run_dir != params.study_dir:
        raise KitError("cards are of a profile's own study, not of another design or other parameters; take those away")
    if not params.influence_file.is_file():
        raise KitError(f"there is no finished run in {shown(params.run_dir)}; say `make reproduce` first")
    table = pd.read_csv(params.results_file, keep_default_na=False)
    runs = [(str(subset), int(seed)) for subset, seed in table[["subset", "seed"]].drop_duplicates().to_numpy()]
    others = sorted(path.parent for path in params.study_dir.glob("generators/*/manifest.json"))
    yield from (shown(path) for folder in (params.data_dir, *others) for path in data.write(params, folder))
    out = params.run_dir / "cards" / "mteb"
    for subset, seed in runs:
        rows = table[(table["subset"] == subset) & (table["seed"] == seed)]
        if subset != BASE:
            folder = params.models_dir / subset / f"seed{seed}"
            if file := corrupted(folder, read_json(folder / "train.json")):
                raise KitError(f"{shown(file)} is not what training wrote; run `make reproduce`, which makes it again")
            adapters.write_card(params, subset, seed, rows)
        adapters.write_results(params, subset, seed, rows, out)
    yield f"{shown(params.models_dir)}/*/*/README.md: {sum(subset != BASE for subset, _ in runs)} model cards"
    yield f"{shown(out)}/results: {len(runs)} models with {table['task'].nunique()} result files each"
    yield shown(crate.write(params, runs))
