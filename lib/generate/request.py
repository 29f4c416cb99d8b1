"""Request and answer: what passes between the kit and whoever writes triplets (``lib.generate.backends``).

``ask(requests)`` yields an ``Answer`` per request, in any order and as early as it can, because every answer
is on disk the moment it is yielded. A request without an answer after all retries is left out; the next run
asks for it again. What no retry can mend (wrong key, unknown model, no server) raises KitError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lib.common.files import digest


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt with all that decides its answer. ``key`` is the digest of exactly these fields."""

    system: str
    prompt: str
    model: str
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    structured: str = "off"
    schema: dict | None = None

    @property
    def key(self) -> str:
        """Content address of the answer: same prompt, model and sampling, same key."""
        return digest([getattr(self, name) for name in self.__slots__])

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation in the form chat templates and servers take."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: ``finish`` is "stop", "length" (cut at max_tokens) or "error: why"; tokens None when unknown."""

    key: str
    text: str
    finish: str = "stop"
    tokens_in: int | None = None
    tokens_out: int | None = None


class Backend(Protocol):
    """What generation needs of a backend."""

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield answers as they come."""

    def close(self) -> None:
        """Give back what the backend holds (connections, GPU memory)."""
