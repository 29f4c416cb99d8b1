"""Backends: who answers the prompts. One is open at a time, chosen by ``generation.backend``.

``ask(requests)`` yields an ``Answer`` per request, in any order and as early as it can, because an answer is on disk
the moment it is yielded. A request without an answer after all retries is left out; the next run asks for it again.
What no retry can mend (wrong key, unknown model, no server) raises KitError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from lib.common.files import KitError, digest
from lib.generate import sources
from lib.generate.answers import Answer, Request

if TYPE_CHECKING:
    from lib.params.params import GenerationParams


class Backend(Protocol):
    """What generation needs of a backend."""

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield answers as they come."""

    def close(self) -> None:
        """Give back what the backend holds (connections, GPU memory)."""


class Replay:
    """Bundled answers stand in for an LLM: nothing is loaded, and the tokens are those of a bundle that counted them.

    The model's name in a replay request says which bundled answer it is.
    """

    @staticmethod
    def model(generation: GenerationParams, category: str, stage: str, index: int) -> str:
        """Return the model name of a request for one bundled answer."""
        bundle = "" if generation.bundle == sources.CLASSROOM else f"{generation.bundle} "
        return f"bundled answers: {bundle}{category}/{stage}/{index}"

    def __init__(self, generation: GenerationParams):
        self.bundle = generation.bundle
        self.files: dict[tuple[str, str], list[dict]] = {}

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield the bundled answer of each request, in order."""
        for request in requests:
            category, stage, index = request.model.split()[-1].split("/")
            if (category, stage) not in self.files:
                if stage == "instance":
                    rows = sources.responses(category, self.bundle)
                else:  # another bundle's generator was given these lists: they cost it nothing
                    cost = {} if self.bundle == sources.CLASSROOM else {"tokens_in": 0, "tokens_out": 0}
                    rows = [{"response": text, **cost} for text in sources.brainstorm(category)]
                self.files[category, stage] = rows
            row = self.files[category, stage][int(index)]
            yield Answer(
                request.key, row["response"], row.get("finish", "stop"), row.get("tokens_in"), row.get("tokens_out")
            )

    def close(self) -> None:
        """Nothing to give back."""


_OPEN: dict[str, Backend] = {}
# What a backend is made of; all else (sampling, schema, seed) comes with each request.
_MADE_OF = set(
    "backend bundle model revision base_url api_key_env concurrency retries timeout tensor_parallel max_model_len "
    "gpu_memory dtype batch_size".split()
)


def open_backend(generation: GenerationParams) -> Backend:
    """Return the backend of ``generation``. A loaded model is kept for the next category; another one replaces it."""
    key = digest(generation.model_dump(mode="json", include=_MADE_OF))
    if key not in _OPEN:
        close_backends()
        _OPEN[key] = _backend_class(generation.backend)(generation)
    return _OPEN[key]


def close_backends() -> None:
    """Close the backend that is open, if one is."""
    while _OPEN:
        _OPEN.popitem()[1].close()


def _backend_class(name: str) -> type[Backend]:
    if name == "openai":
        from lib.generate.openai_server import OpenAIServer as Chosen
    elif name == "vllm":
        from lib.generate.vllm_local import LocalVLLM as Chosen
    elif name == "transformers":
        from lib.generate.transformers_local import LocalTransformers as Chosen
    elif name == "replay":
        Chosen = Replay
    else:
        raise KitError(
            "released triplets are loaded, not generated; use lib.generate.dataset or choose another generation.backend"
        )
    return Chosen
