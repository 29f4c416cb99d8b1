"""LLMs that are asked: any OpenAI-compatible server, and vLLM in this process.

``ask(requests)`` yields an ``Answer`` per request, in any order and as early as it can, because an answer is on disk
the moment it is yielded. A request without an answer after all retries is left out; the next run asks for it again.
"""

from __future__ import annotations

import asyncio
import os
import queue
import random
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from lib.common.bundled import model_place
from lib.common.files import KitError
from lib.generate.answers import Answer, Replay, Request
from lib.params.data import GenerationParams

_RETRY = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_ONE_PROMPT_ONLY = re.compile(r"context.length|too long|maximum.{0,20}tokens|content.?(filter|policy)", re.I)
_LONGEST_WAIT = 60.0
_LIMITED = 100  # how often one request may be told that a rate limit is reached
_LOST_IN_A_ROW = 8  # requests given up without a success between them: the server is gone
_open: list = []  # (parameters, backend) of the one that is open


def open_backend(generation: GenerationParams):
    """Return the backend of ``generation``. A loaded model is kept for the next category; another one replaces it."""
    if not _open or _open[0][0] != generation:
        close_backends()
        if generation.backend == "released":
            raise KitError("released triplets are loaded, not asked for: set generation.backend to who is to answer")
        if generation.backend != "replay" and not generation.model:
            raise KitError(f"backend {generation.backend} needs to know which generator: set generation.model")
        backend = {"replay": Replay, "openai": OpenAIServer, "vllm": LocalVLLM}[generation.backend]
        _open.append((generation, backend(generation)))
    return _open[0][1]


def close_backends() -> None:
    """Give back what the open backend holds, such as a model's memory."""
    while _open:
        getattr(_open.pop()[1], "close", lambda: None)()


class OpenAIServer:
    """Asks ``<base_url>/chat/completions``. The key, where one is needed, comes from the environment only.

    Behind the address may be one GPU or a hundred. Not the ``openai`` client: it retries each request alone, where
    here a rate limit that one request meets holds back all of them and is no failure.
    """

    def __init__(self, generation: GenerationParams):
        self.generation = generation
        self.url = generation.base_url.rstrip("/") + "/chat/completions"
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise KitError(f"generation.base_url is {generation.base_url!r}; it must begin with http:// or https://")

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield answers as they come, from a thread of its own: a notebook has an event loop running in this one."""
        answers: queue.SimpleQueue = queue.SimpleQueue()
        loop = asyncio.new_event_loop()
        work = loop.create_task(self._all(requests, answers.put))

        def run() -> None:
            with suppress(BaseException):  # the task keeps its error
                loop.run_until_complete(work)
            answers.put(work)

        thread = threading.Thread(target=run, name="answers", daemon=True)
        thread.start()
        try:
            while (item := answers.get()) is not work:
                yield item
            work.result()
        finally:
            loop.call_soon_threadsafe(work.cancel)
            thread.join()
            loop.close()

    async def _all(self, requests: Sequence[Request], deliver) -> None:
        self._quiet_until, self._lost = 0.0, 0
        here = urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")
        key = os.environ.get(self.generation.api_key_env, "")
        timeout, limits = httpx.Timeout(self.generation.timeout, connect=15.0), httpx.Limits(max_connections=None)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = httpx.AsyncClient(timeout=timeout, limits=limits, headers=headers, trust_env=not here)
        waiting = iter(requests)  # shared by all workers; each takes the next

        async def worker() -> None:
            for request in waiting:
                if answer := await self._one(client, request):
                    deliver(answer)

        try:
            async with client, asyncio.TaskGroup() as group:
                for _ in range(min(self.generation.concurrency, len(requests))):
                    group.create_task(worker())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _one(self, client: httpx.AsyncClient, request: Request) -> Answer | None:
        """Ask until there is an answer; None when retries are used up. Raises KitError when none can help."""
        failures = limits = 0
        while True:
            while (wait := self._quiet_until - time.monotonic()) > 0:
                await asyncio.sleep(wait * random.uniform(1.0, 1.1))
            try:
                reply = await client.post(self.url, json=_body(request))
                status, trouble = reply.status_code, f"status {reply.status_code}: {' '.join(reply.text.split())[:300]}"
                if status == 200:
                    data = reply.json()
                    choice, usage = data["choices"][0], data.get("usage") or {}
                    text, finish = choice["message"].get("content") or "", choice.get("finish_reason") or "stop"
                    self._lost = 0
                    return Answer(request.key, text, finish, usage.get("prompt_tokens"), usage.get("completion_tokens"))
            except (httpx.TransportError, ValueError, LookupError, TypeError, AttributeError) as error:
                status, trouble = None, f"{type(error).__name__}: {error}".rstrip(": ")
            if status is not None and status not in _RETRY:
                if status in (400, 413, 422) and _ONE_PROMPT_ONLY.search(trouble):
                    return Answer(request.key, "", f"error: {trouble}")
                key = f"put a valid key into {self.generation.api_key_env}"
                advice = {401: key, 403: key, 404: "check generation.model and generation.base_url"}
                fix = advice.get(status, "change the generation parameter it names")
                raise KitError(f"{self.url} refuses the request ({trouble}); {fix}")
            if status == 429 and limits < _LIMITED:
                limits += 1  # no worker sends anything for as long as the server says, else ever longer
                told = reply.headers.get("retry-after", "")
                pause = float(told) if re.fullmatch(r"\d+(\.\d+)?", told) else min(_LONGEST_WAIT, 2 ** min(limits, 6))
                self._quiet_until = max(self._quiet_until, time.monotonic() + min(pause, 600.0))
            else:
                failures += 1
                if failures > self.generation.retries:
                    break
                await asyncio.sleep(min(_LONGEST_WAIT, 0.5 * 2**failures) * random.uniform(0.5, 1.0))
        self._lost += 1
        if self._lost >= _LOST_IN_A_ROW:
            raise KitError(f"{self.url} no longer answers ({trouble}); what came is kept, run again later")
        return None


def _body(request: Request) -> dict:
    """Return the request as the protocol has it."""
    names = ("model", "messages", "temperature", "top_p", "max_tokens", "seed", "frequency_penalty")
    body = {name: getattr(request, name) for name in names if getattr(request, name) or name != "frequency_penalty"}
    if request.structured != "off":
        body["response_format"] = {"type": request.structured}
    if request.structured == "json_schema":
        body["response_format"]["json_schema"] = {"name": "answer", "strict": True, "schema": request.schema}
    return body


# Requests handed over at once: a killed run loses at most these, and at their end the device waits for the last of them
BLOCK, BLOCK_CPU = 2048, 40
CACHE_CPU = 4 * 2**30  # bytes; by itself vLLM takes 90 % of a processor's memory, or refuses to start


class LocalVLLM:
    """Loads ``generation.model`` (a folder or a hub name). Raises KitError when vLLM is absent or cannot load it."""

    def __init__(self, generation: GenerationParams):
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        try:
            import torch
            import vllm
            from vllm.exceptions import VLLMClientError
        except ImportError as error:
            raise KitError(f"backend vllm needs the vllm package ({error}); or choose backend openai") from None
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
            why, fix = str(error).partition("\n")[0], "max_model_len, gpu_memory and tensor_parallel"
            raise KitError(f"vLLM cannot load {generation.model!r}: {why}; check generation.model, {fix}") from error

    def close(self) -> None:
        """Stop the engine and free its memory."""
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield answers block by block, in order."""
        for start in range(0, len(requests), self._at_once):
            yield from self._block(requests[start : start + self._at_once])

    def _block(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield the answers of one call. A prompt that is too long refuses the call: halves find out which it was."""
        try:
            sampling = [self._sampling(request) for request in requests]
            outputs = self._llm.chat([request.messages for request in requests], sampling, use_tqdm=False)
        except self._refused as error:
            if len(requests) == 1:
                yield Answer(requests[0].key, "", f"error: {' '.join(str(error).split())[:300]}")
            else:
                yield from self._block(requests[: len(requests) // 2])
                yield from self._block(requests[len(requests) // 2 :])
            return
        for request, output in zip(requests, outputs, strict=True):
            best = output.outputs[0]
            tokens = (len(output.prompt_token_ids), len(best.token_ids))
            yield Answer(request.key, best.text, best.finish_reason or "stop", *tokens)

    def _sampling(self, request: Request):
        forms = {"json_schema": {"json": request.schema}, "json_object": {"json_object": True}}
        held_to = forms.get(request.structured)
        names = ("temperature", "top_p", "max_tokens", "seed", "frequency_penalty")
        return self._vllm.SamplingParams(
            **{name: getattr(request, name) for name in names},
            structured_outputs=self._vllm.sampling_params.StructuredOutputsParams(**held_to) if held_to else None,
        )
