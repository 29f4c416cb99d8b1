"""Backends: who answers the prompts. Each is a class with one method, chosen by ``generation.backend``.

``ask(requests)`` yields an ``Answer`` per request, in any order and as early as it can, because every answer
is on disk the moment it is yielded. A request without an answer after all retries is left out; the next run
asks for it again. What no retry can mend (wrong key, unknown model, no server) raises KitError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lib.files import KitError, digest

if TYPE_CHECKING:
    from lib.params import GenerationParams


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


_OPEN: dict[str, Backend] = {}
# What a backend is made of; all else (sampling, schema, seed) comes with each request.
_HELD = ("backend", "model", "revision", "base_url", "api_key_env", "concurrency", "retries", "timeout",
         "tensor_parallel", "max_model_len", "gpu_memory", "dtype", "batch_size")


def open_backend(generation: GenerationParams) -> Backend:
    """Return the backend of ``generation``. A loaded model is kept for the next category; another one replaces it."""
    key = digest(generation.model_dump(mode="json", include=set(_HELD)))
    if key not in _OPEN:
        close_backends()
        _OPEN[key] = _make(generation)
    return _OPEN[key]


def close_backends() -> None:
    """Close the backend that is open, if one is."""
    while _OPEN:
        _OPEN.popitem()[1].close()


def _make(generation: GenerationParams) -> Backend:
    if generation.backend == "openai":
        from lib.generation.backends.openai_server import OpenAIServer

        return OpenAIServer(generation)
    if generation.backend == "vllm":
        from lib.generation.backends.vllm_local import LocalVLLM

        return LocalVLLM(generation)
    if generation.backend == "transformers":
        from lib.generation.backends.transformers_local import LocalTransformers

        return LocalTransformers(generation)
    if generation.backend == "replay":
        from lib.generation.backends.replay import Replay

        return Replay()
    raise KitError("released triplets are loaded, not generated; use lib.dataset, or choose another generation.backend")
