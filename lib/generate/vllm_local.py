"""vLLM in this process: structured outputs, one seed per request, tensor parallelism.

Requests go into the engine a window at a time and leave it one by one as they finish, so each answer is on disk
at once and no GPU waits for the slowest answer of a block. vLLM is imported here only, when it is asked for.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence

from lib.common.files import KitError
from lib.generate.request import Answer, Request
from lib.params.params import GenerationParams

WINDOW = 1024  # requests inside the engine; it schedules among them, and needs more than fit on the GPU at once


class LocalVLLM:
    """Loads ``generation.model`` (a folder or a hub name). Raises KitError when vLLM is absent or cannot load it."""

    def __init__(self, generation: GenerationParams):
        if not generation.model:
            raise KitError("backend vllm needs a generator; set generation.model to a folder or a hub name")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        try:
            import torch
            import vllm
            from vllm.exceptions import VLLMClientError
        except ImportError as error:
            raise KitError(
                f"backend vllm needs the vllm package ({error}); see the README, or choose backend openai"
            ) from None
        self._vllm, self._refused = vllm, (ValueError, VLLMClientError)
        try:
            self._llm = vllm.LLM(
                model=generation.model,
                revision=generation.revision or None,
                dtype=generation.dtype,
                tensor_parallel_size=generation.tensor_parallel,
                max_model_len=generation.max_model_len,
                gpu_memory_utilization=generation.gpu_memory,
                seed=0,
                trust_remote_code=False,
                enforce_eager=not torch.cuda.is_available(),
                # on a processor a prompt read in two pieces breaks requests with a seed of their own (vLLM 0.32)
                enable_chunked_prefill=None if torch.cuda.is_available() else False,
                disable_log_stats=True,
                structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise KitError(
                f"vLLM cannot load {generation.model!r}: {reason}; check generation.model, max_model_len, "
                "gpu_memory and tensor_parallel"
            ) from error

    def close(self) -> None:
        """Stop the engine and free its memory."""
        engine, self._llm = self._llm, None
        shutdown = getattr(getattr(engine.llm_engine, "engine_core", None), "shutdown", None)
        if shutdown is not None:
            shutdown()

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield answers as they finish. A prompt longer than the model takes is an answer with an error."""
        engine = self._llm.llm_engine
        waiting, inside = deque(requests), {}
        while waiting or inside:
            while waiting and len(inside) < WINDOW:
                request = waiting.popleft()
                try:
                    inside[self._enqueue(request)] = request
                except self._refused as error:
                    yield Answer(request.key, "", f"error: {' '.join(str(error).split())[:300]}")
            for output in engine.step() if inside else ():
                if output.finished:
                    yield _answer(inside.pop(output.request_id), output)

    def _enqueue(self, request: Request) -> str:
        structured = None
        if request.structured == "json_schema":
            structured = self._vllm.sampling_params.StructuredOutputsParams(json=request.schema)
        elif request.structured == "json_object":
            structured = self._vllm.sampling_params.StructuredOutputsParams(json_object=True)
        sampling = self._vllm.SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.max_tokens,
            seed=request.seed,
            structured_outputs=structured,
        )
        name = self._llm.enqueue_chat(request.messages, sampling, use_tqdm=False)[0]
        return name.split("-")[0]  # the engine adds a suffix of its own, and its outputs come without it


def _answer(request: Request, output) -> Answer:
    best = output.outputs[0]
    return Answer(
        request.key, best.text, best.finish_reason or "stop", len(output.prompt_token_ids), len(best.token_ids)
    )
