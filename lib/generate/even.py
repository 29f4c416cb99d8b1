"""An equal share: what several generators wrote of one category, cut to the same number of triplets, task by task.

A generator that yields more would train on more different texts, and one that was given other tasks on other tasks:
neither is what a comparison of generators asks. So each keeps as many triplets of every task as the generator with the
fewest of it has, and fills up with others, in its own order, to the size of the smallest pool.
"""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib.common.design import Triplet, read_triplets, write_triplets
from lib.common.files import KitError, digest_file, read_json, write_bytes, write_digests, write_json, writing
from lib.params.params import Params, answering, generators, of_run
from lib.params.provenance import MADE

MANIFEST = "manifest.json"


def shares(pools: Mapping[str, Sequence[Triplet]]) -> dict[str, list[Triplet]]:
    """Return {generator: its triplets} of equal length: those of common tasks first, row by row of the same task."""
    size = min(map(len, pools.values()))
    counts = [Counter(triplet.instruction for triplet in pool) for pool in pools.values()]
    tasks = dict.fromkeys(triplet.instruction for triplet in next(iter(pools.values())))
    quota = {task: least for task in tasks if (least := min(count[task] for count in counts))}
    found = {}
    for name, pool in pools.items():
        of_task = {task: [t for t in pool if t.instruction == task][:least] for task, least in quota.items()}
        common = [triplet for chosen in of_task.values() for triplet in chosen]
        taken = {id(triplet) for triplet in common}
        found[name] = [*common, *(triplet for triplet in pool if id(triplet) not in taken)][:size]
    return found


def share_out(params: Params) -> bool:
    """Write every generator's share into its data folder; return False as long as answers of one are missing.

    Shares that are of these answers already are left alone, so whoever needs them can call this. Raises KitError where
    a generator has no triplet of the category.
    """
    names, category = generators(params), params.study.category
    asked = {name: answering(params, name).data_dir for name in names}
    if not names or not all((folder / MANIFEST).is_file() for folder in asked.values()):
        return False
    made = {"category": category, "answers": {name: digest_file(asked[name] / MANIFEST) for name in names}}
    places = {name: of_run(params, f"@{name}").data_dir for name in names}
    home = places[names[0]].parent
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        lock = open(home / ".lock", "w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # jobs that start together wait for the first of them
        if any(_record(folder) != made for folder in places.values()):
            _write(category, asked, places, made)
    return True


def _write(category: str, asked: Mapping[str, Path], places: Mapping[str, Path], made: dict) -> None:
    pools = {name: read_triplets(folder / "triplets" / f"{category}.jsonl") for name, folder in asked.items()}
    if empty := [name for name, pool in pools.items() if not pool]:
        raise KitError(f"{empty[0]} has no {category} triplet left; ask it for more (generation.n)")
    for name, triplets in shares(pools).items():
        folder = places[name]
        (folder / MANIFEST).unlink(missing_ok=True)  # half a share is none
        files = [
            write_triplets(folder / "triplets" / f"{category}.jsonl", triplets),
            write_bytes(folder / "public.jsonl", (asked[name] / "public.jsonl").read_bytes()),
        ]
        write_json(folder / MADE, made)
        write_digests(folder / MANIFEST, files)


def _record(folder: Path) -> dict:
    files = folder / MADE, folder / MANIFEST
    return read_json(files[0]) if all(path.is_file() for path in files) else {}
