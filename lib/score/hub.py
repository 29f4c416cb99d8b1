"""mteb's data sets: which are here already, how to bring the rest, and their texts.

Without network mteb retries for 23 s per set, and datasets' own cache may give back another revision, or a reranking
set without its candidates. So the network is looked for once, and offline only complete local folders are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lib.common.bundled import online
from lib.common.files import KitError, digest, digest_file
from lib.generate.overlap import suite_texts
from lib.params.params import Params
from lib.score import suites

COLUMNS = {"title", "text", "body", "sentence", "sentences", "sentence1", "sentence2", "query", "positive", "negative"}
COLUMNS |= {"human_summaries", "machine_summaries"}  # that hold texts


# ── where the data are ───────────────────────────────────────────────────────────────────────────────────────
def prepare(tasks: Sequence, data_dir: str | Path = "") -> tuple[list, dict[str, str]]:
    """Return (tasks that can be had, {name: why not and how to bring it}), in seconds.

    A hub set comes from ``data_dir/ORG__NAME``, else from the network, else from its snapshot in the hub's cache.
    """
    if data_dir and not Path(data_dir).is_dir():
        raise KitError(f"scoring.data_dir {str(data_dir)!r} is no folder; make it, or leave it empty")
    lost = {}
    for task in tasks:
        missing = []
        for part in suites.leaves(task):
            path, revision = (str(part.metadata.dataset[key]) for key in ("path", "revision"))
            if hasattr(part, "spec"):  # a local set
                continue
            if folder := _local(path, revision, data_dir):
                place(part, folder)
            elif not Path(path).is_dir() and not online():
                missing.append(part)
        if missing:
            lost[task.metadata.name] = how_to_bring(missing)
    return [task for task in tasks if task.metadata.name not in lost], lost


def _local(path: str, revision: str, data_dir: str | Path) -> Path | None:
    if data_dir and (folder := Path(data_dir) / path.replace("/", "__")).is_dir():
        return folder
    if "/" not in path or online():
        return None
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{path.replace('/', '--')}" / "snapshots" / revision
    return folder if folder.is_dir() else None


def how_to_bring(tasks: Sequence) -> str:
    """Return one sentence for tasks whose data are not here."""
    path, revision = (tasks[0].metadata.dataset[key] for key in ("path", "revision"))
    more = f" (and {len(tasks) - 1} more of its parts)" if len(tasks) > 1 else ""
    return (
        f"no network, and {path}{more} is not here; where there is network run `hf download {path} --repo-type dataset "
        f"--revision {revision} --local-dir DATA/{path.replace('/', '__')}` and set scoring.data_dir to DATA"
    )


def place(task, folder: Path) -> None:
    """Point one task object (not its class) at a local folder in the hub's layout."""
    data = {**task.metadata.dataset, "path": str(Path(folder).resolve())}
    task.metadata = task.metadata.model_copy(update={"dataset": data})


# ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────
def load(task) -> None:
    """Load a task's data; a local folder's into arrow files for just this content.

    datasets knows a folder by its path, and goes on serving the old rows after a file in it was edited.
    """
    path = Path(str(task.metadata.dataset["path"]))
    if not path.is_dir():
        task.load_data()
        return
    import datasets

    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = Path(before) / "by_content" / folder_digest(path)
    try:
        task.load_data()
    finally:
        datasets.config.HF_DATASETS_CACHE = before


def unload(task) -> None:
    """Free a hub task's data but leave it pointed where ``place`` put it: mteb restores the hub's address."""
    if task.data_loaded and not hasattr(task, "spec"):
        here = task.metadata
        task.unload_data()
        task.metadata = here


def folder_digest(folder: str | Path) -> str:
    """Return 16 hex digits of the names and contents of all files in a data folder."""
    files = {path.relative_to(folder): path for path in Path(folder).rglob("*") if path.is_file()}
    return digest({name.as_posix(): digest_file(path) for name, path in files.items() if ".cache" not in name.parts})


# ── texts, for the contamination check ───────────────────────────────────────────────────────────────────────
def evaluation_texts(params: Params) -> Mapping[str, Iterable[str]]:
    """Return {set: its texts} of the profile's suite; ``{}`` when ``cleaning.contamination`` is off.

    The bundled suite is read from its files; any other set is loaded when its texts are asked for, and at most
    ``cleaning.contamination_limit`` of them are read. Raises KitError at once for sets that cannot be had.
    """
    if params.cleaning.contamination == "off":
        return {}
    if params.scoring.suite == suites.BUNDLED:
        return suite_texts()
    wanted = [task for task in suites.tasks(params.scoring.suite) if task.metadata.name not in params.scoring.exclude]
    ready, lost = prepare(wanted, params.scoring.data_dir)
    if lost:
        (first, why), *others = lost.items()
        raise KitError(
            f"the contamination check needs the texts of {first}{f' and {len(others)} more' if others else ''}: "
            f"{why}, or set cleaning.contamination to off"
        )
    found = [leaf for task in ready for leaf in suites.leaves(task)]
    return {leaf.metadata.name: _Texts(leaf, params.cleaning.contamination_limit) for leaf in found}


@dataclass
class _Texts:
    """A set's texts, at most ``limit`` (0: all), loaded anew each time they are iterated over and freed afterwards."""

    task: Any
    limit: int

    def __iter__(self) -> Iterator[str]:
        try:
            with suites.kept_random_state():
                load(self.task)
        except Exception as error:  # whatever datasets says of a folder that was fetched by half
            name, why = self.task.metadata.name, f"{type(error).__name__}: {error}".splitlines()[0][:200]
            fix = "bring it again, or set cleaning.contamination to off"
            raise KitError(f"the texts of {name} cannot be read for the contamination check ({why}); {fix}") from error
        try:
            yield from islice(walk(self.task.dataset), self.limit or None)
        finally:
            unload(self.task)


def walk(data: Any) -> Iterator[str]:
    """Yield every text of a loaded task's data set: of the columns named in COLUMNS, whatever they are nested in."""
    if isinstance(data, str) and data:
        yield data
    parts = data if isinstance(data, Iterable) and not isinstance(data, str) else ()
    if isinstance(columns := getattr(data, "column_names", None), list):  # one table of the datasets library
        parts = (data[name] for name in columns if name in COLUMNS)
    elif isinstance(data, Mapping):
        parts = (part for name, part in data.items() if name not in ("relevant_docs", "top_ranked"))
    for part in parts:
        yield from walk(part)
