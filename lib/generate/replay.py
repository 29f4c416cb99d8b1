"""Replay: the bundled answers stand in for an LLM. Nothing is loaded, nothing is asked, every run is the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from lib.common.design import CODES
from lib.generate.request import Answer, Request

MODEL = "bundled answers"


@cache
def _bundled() -> dict[str, str]:
    from lib.generate import sources
    from lib.generate.prompts import BRAINSTORMED

    found = {
        f"{category}/instance/{i}": row["response"]
        for category in CODES
        for i, row in enumerate(sources.responses(category))
    }
    for category in BRAINSTORMED:
        found |= {f"{category}/brainstorm/{i}": text for i, text in enumerate(sources.brainstorm(category))}
    return found


def place(category: str, stage: str, index: int) -> str:
    """Return the model name that a replay request carries: which bundled answer it is."""
    return f"{MODEL}: {category}/{stage}/{index}"


class Replay:
    """The bundled answers. How many tokens they cost is not known, so none are reported."""

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield the bundled answer of each request, in order."""
        for request in requests:
            yield Answer(request.key, _bundled()[request.model.removeprefix(f"{MODEL}: ")])

    def close(self) -> None:
        """Nothing to give back."""
