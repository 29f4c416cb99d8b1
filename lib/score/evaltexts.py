"""The texts of the evaluation sets, for the contamination check: bundled ones at once, mteb's streamed set by set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from lib.common.files import KitError
from lib.generate.sources import suite_texts
from lib.params.params import Params
from lib.score import hub, suites

COLUMNS = {"title", "text", "body", "sentence", "sentences", "sentence1", "sentence2", "query", "positive", "negative"}
COLUMNS |= {"human_summaries", "machine_summaries"}


def evaluation_texts(params: Params) -> Mapping[str, Iterable[str]]:
    """Return {set: its texts} of the profile's suite; ``{}`` when ``cleaning.contamination`` is off.

    The bundled suite is read from its files. Any other suite goes through mteb: each set is loaded when its texts
    are asked for (from ``scoring.data_dir`` where it is there) and at most ``cleaning.contamination_limit`` of them
    are read. Raises KitError for a set that cannot be loaded, at once when it is not here and the hub does not answer.
    """
    if params.cleaning.contamination == "off":
        return {}
    if params.scoring.suite == suites.BUNDLED:
        return suite_texts()
    wanted = [task for task in suites.tasks(params.scoring.suite) if task.metadata.name not in params.scoring.exclude]
    ready, lost = hub.prepare(wanted, params.scoring.data_dir)
    if lost:
        (first, why), *others = lost.items()
        raise KitError(
            f"the contamination check needs the texts of {first}{f' and {len(others)} more' if others else ''}: "
            f"{why}, or set cleaning.contamination to off"
        )
    leaves = [leaf for task in ready for leaf in suites.leaves(task)]
    return {leaf.metadata.name: Texts(leaf, params.cleaning.contamination_limit) for leaf in leaves}


class Texts:
    """A set's texts, loaded anew each time they are iterated over and freed afterwards."""

    def __init__(self, task: Any, limit: int = 0):
        self.task, self.limit = task, limit

    def __iter__(self) -> Iterator[str]:
        loaded = getattr(self.task, "data_loaded", False)
        try:
            with suites.kept_random_state():
                hub.load(self.task)
        except Exception as error:
            name, why = self.task.metadata.name, str(error).splitlines()[0][:150]
            raise KitError(
                f"the texts of {name} cannot be loaded for the contamination check ({why}); "
                "set cleaning.contamination to off to do without"
            ) from error
        try:
            yield from islice(walk(self.task.dataset), self.limit or None)
        finally:
            if not loaded:
                hub.unload(self.task)


def walk(data: Any) -> Iterator[str]:
    """Yield every text of a loaded task's data set: of the columns named in COLUMNS, whatever they are nested in."""
    columns = getattr(data, "column_names", None)
    if isinstance(columns, list):  # one table of the datasets library
        for name in columns:
            if name in COLUMNS:
                for value in data[name]:
                    yield from _texts(value)
    elif isinstance(data, Mapping):
        for name, value in data.items():
            if name not in ("relevant_docs", "top_ranked", "qrels"):
                yield from walk(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
