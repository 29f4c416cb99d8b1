"""Backends: who answers the prompts. One is open at a time, chosen by ``generation.backend``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.common.files import KitError, digest
from lib.generate.request import Backend

if TYPE_CHECKING:
    from lib.params.params import GenerationParams

_OPEN: dict[str, Backend] = {}
# What a backend is made of; all else (sampling, schema, seed) comes with each request.
_HELD = (
    "backend",
    "model",
    "revision",
    "base_url",
    "api_key_env",
    "concurrency",
    "retries",
    "timeout",
    "tensor_parallel",
    "max_model_len",
    "gpu_memory",
    "dtype",
    "batch_size",
)


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
        from lib.generate.openai_server import OpenAIServer

        return OpenAIServer(generation)
    if generation.backend == "vllm":
        from lib.generate.vllm_local import LocalVLLM

        return LocalVLLM(generation)
    if generation.backend == "transformers":
        from lib.generate.transformers_local import LocalTransformers

        return LocalTransformers(generation)
    if generation.backend == "replay":
        from lib.generate.replay import Replay

        return Replay()
    raise KitError(
        "released triplets are loaded, not generated; use lib.generate.dataset, or choose another generation.backend"
    )
