"""A subset and a budget become homogeneous batches: every batch comes from one source, in a seeded order.

In-batch negatives of one source are harder than negatives of mixed sources, which any model tells apart by
style; so each batch is drawn from one category or from the public data alone (as the recipe the paper follows).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.common.design import Triplet, read_triplets, run_name
from lib.common.files import KitError, digest
from lib.params.model import MixtureParams
from lib.params.provenance import check_manifest

PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Batch:
    """One optimizer step's triplets: ``rows`` are places in the pool named ``source``."""

    source: str
    rows: tuple[int, ...]


def plan(
    pools: Mapping[str, Sequence],
    subset: Sequence[str],
    params: MixtureParams,
    batch_size: int,
    seed: int,
    public: bool = True,
    doses: Mapping[str, int] | None = None,
) -> list[Batch]:
    """Return the batches of a run, in order.

    ``pools`` holds the triplets of "public" and of each category. With budget fixed_steps every present category
    gets exactly ``steps_per_category`` batches, the same dose whatever else is present, and public data fill up to
    ``steps``; with fixed_epochs every pool is passed ``epochs`` times. Each pass over a pool is shuffled anew and its
    incomplete last batch dropped. ``public=False`` leaves the public data out (the public-off cells of the crossed
    design). With ``params.draws`` "own" every run draws its own batches; with "shared" all subsets of a seed see the
    same batches of a category, so that a lucky draw is in half of the models at once and looks like an effect.
    ``doses`` gives the batches of every source itself, in place of the budget; the doses of the budget give the same
    batches as without.

    Raises KitError for a pool that is missing or smaller than one batch, and for a budget that cannot be met.
    """
    sources = [*subset, *([PUBLIC] if public else [])]
    if not sources:
        raise KitError(
            "there is nothing to train on: no category and no public data; leave the run to the untrained base"
        )
    for source in sources:
        if source not in pools:
            raise KitError(f"no training data for {source}; run notebook 01 for it, or leave it out of the subset")
        if len(pools[source]) < batch_size:
            raise KitError(
                f"{source} has {len(pools[source])} triplets, fewer than one batch of {batch_size}; generate more, "
                "lower training.batch_size, or leave it out of the subset"
            )
    stream = seed if params.draws == "shared" else f"{'+'.join(sources)} {seed}"
    batches = []
    for source, dose in _doses(doses, sources, pools, params, batch_size).items():
        batches += draw(source, len(pools[source]), dose, batch_size, stream)
    _stream("order", "+".join(sources), seed).shuffle(batches)
    return batches


def _doses(given, sources: Sequence[str], pools, params: MixtureParams, batch_size: int) -> dict[str, int]:
    """Return how many batches each source gives: as they are given, or by the budget."""
    if given is not None:
        if sorted(given) != sorted(sources) or any(dose < 1 for dose in given.values()):
            raise KitError(
                f"doses are given for {', '.join(given) or 'nothing'}, and the run has {', '.join(sources)}; give each "
                "of these at least one batch, and leave a category without batches out of the subset"
            )
        return {source: int(given[source]) for source in sources}
    if params.budget == "fixed_epochs":
        return {source: params.epochs * (len(pools[source]) // batch_size) for source in sources}
    subset = [source for source in sources if source != PUBLIC]
    taken = params.steps_per_category * len(subset)
    if taken > params.steps:
        raise KitError(
            f"{len(subset)} categories x {params.steps_per_category} batches are more than the {params.steps} steps "
            "of a run; raise mixture.steps or lower mixture.steps_per_category"
        )
    if PUBLIC in sources:
        return dict.fromkeys(subset, params.steps_per_category) | {PUBLIC: params.steps - taken}
    share, rest = divmod(params.steps, len(subset))  # no public data to fill up with: the categories share the steps
    return {source: share + (place < rest) for place, source in enumerate(subset)}


def start_seed(subset: Sequence[str], params: MixtureParams, seed: int, public: bool = True) -> int:
    """Return the seed of a run's adapter start: its own, with ``params.draws`` "shared" the plain seed."""
    if params.draws == "shared":
        return seed
    return int(digest(["start", run_name(subset, public), seed]), 16) % 2**31


def read_pools(data: str | Path, subset: Sequence[str], public: bool = True) -> dict[str, list[Triplet]]:
    """Read the triplets of ``subset`` and, unless ``public`` is False, the public data from a run's data folder.

    Raises KitError naming the file that is missing or not as notebook 01 wrote it, or the row that is broken.
    """
    data = Path(data)
    files = {category: data / "triplets" / f"{category}.jsonl" for category in subset}
    if public:
        files[PUBLIC] = data / "public.jsonl"
    for source, path in files.items():
        if not path.is_file():
            raise KitError(f"there are no training data for {source} ({path} does not exist); run notebook 01 first")
    if (data / "manifest.json").is_file():
        check_manifest(data)
    return {source: read_triplets(path) for source, path in files.items()}


def steps_per_source(batches: Sequence[Batch]) -> dict[str, int]:
    """Return how many batches each source gives, for the run's record."""
    return dict(sorted(Counter(batch.source for batch in batches).items()))


def draw(source: str, size: int, dose: int, batch_size: int, seed: int | str) -> list[Batch]:
    """Return ``dose`` batches from a pool of ``size`` triplets; they depend on the source and ``seed`` only."""
    batches: list[Batch] = []
    epoch = 0
    while len(batches) < dose:
        rows = list(range(size))
        _stream(f"epoch {epoch}", source, seed).shuffle(rows)
        starts = range(0, size - batch_size + 1, batch_size)
        batches += [Batch(source, tuple(rows[start : start + batch_size])) for start in starts]
        epoch += 1
    return batches[:dose]


def _stream(purpose: str, source: str, seed: int | str) -> random.Random:
    """Return a random stream of its own for one purpose, the same on every machine and in every process."""
    return random.Random(int(digest([purpose, source, seed]), 16))
