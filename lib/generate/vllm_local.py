"""vLLM in this process: structured outputs, one seed per request, tensor parallelism; imported only when asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from lib.common.bundled import model_place
from lib.common.files import KitError
from lib.generate.answers import Answer, Request
from lib.params.params import GenerationParams

# Requests handed over at once: a killed run loses at most these, and at their end the device waits for the last of them
BLOCK, BLOCK_CPU = 2048, 40
# vLLM's cache on a processor. By itself it takes 90 % of the memory, and refuses to start where that is not free; a
# block's cache is about 2 GB for a model of 135M parameters, and a larger model's requests wait for each other
CACHE_CPU = 4 * 2**30  # bytes


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
        on_gpu = torch.cuda.is_available()
        self._at_once = BLOCK if on_gpu else BLOCK_CPU
        try:
            self._llm = vllm.LLM(
                model=model_place(generation.model),
                revision=generation.revision or None,
                dtype=generation.dtype,
                tensor_parallel_size=generation.tensor_parallel,
                max_model_len=generation.max_model_len,
                gpu_memory_utilization=generation.gpu_memory,
                seed=0,
                trust_remote_code=False,
                kv_cache_memory_bytes=None if on_gpu else CACHE_CPU,
                enforce_eager=not on_gpu,
                # on a processor a prompt read in two pieces breaks requests with a seed of their own (vLLM 0.32)
                enable_chunked_prefill=None if on_gpu else False,
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
        """Yield answers block by block, in order."""
        for start in range(0, len(requests), self._at_once):
            yield from self._block(requests[start : start + self._at_once])

    def _block(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield the answers of one call. A prompt that is too long refuses the call: halves find out which it was."""
        try:
            outputs = self._llm.chat(
                [request.messages for request in requests],
                [self._sampling(request) for request in requests],
                use_tqdm=False,
            )
        except self._refused as error:
            if len(requests) == 1:
                yield Answer(requests[0].key, "", f"error: {' '.join(str(error).split())[:300]}")
                return
            half = len(requests) // 2
            yield from self._block(requests[:half])
            yield from self._block(requests[half:])
            return
        for request, output in zip(requests, outputs, strict=True):
            best = output.outputs[0]
            tokens = (len(output.prompt_token_ids), len(best.token_ids))
            yield Answer(request.key, best.text, best.finish_reason or "stop", *tokens)

    def _sampling(self, request: Request):
        structured = None
        if request.structured == "json_schema":
            structured = self._vllm.sampling_params.StructuredOutputsParams(json=request.schema)
        elif request.structured == "json_object":
            structured = self._vllm.sampling_params.StructuredOutputsParams(json_object=True)
        return self._vllm.SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.max_tokens,
            seed=request.seed,
            frequency_penalty=request.frequency_penalty,
            structured_outputs=structured,
        )
