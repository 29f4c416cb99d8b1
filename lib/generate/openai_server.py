"""Any OpenAI-compatible server: many requests at once, patient with limits, hasty with nothing.

vLLM, SGLang, llama.cpp, TGI, Ollama and the commercial services all speak this protocol. Behind one address
there may be one GPU or a hundred: this is how generation outgrows one machine.

Not the ``openai`` client: it retries each request alone, where here a rate limit that one request meets holds back
all of them and does not count as a failure, and it would be one more dependency for few lines less.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import queue
import random
import re
import threading
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import httpx

from lib.common.files import KitError
from lib.generate.answers import Answer, Request
from lib.params.params import GenerationParams

_RETRY = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_ONE_PROMPT_ONLY = re.compile(
    r"context length|context_length|too long|maximum.{0,20}tokens|content.?(filter|policy)", re.I
)
_LONGEST_WAIT = 60.0
_LIMITED = 100  # how often one request may be told that a rate limit is reached
_LOST_IN_A_ROW = 8  # requests given up without a success between them: the server is gone


class _Lost(Exception):
    """A request that got no answer after all retries."""


class OpenAIServer:
    """Asks ``<base_url>/chat/completions``. The key, where one is needed, comes from the environment only."""

    def __init__(self, generation: GenerationParams):
        if not generation.model:
            raise KitError("backend openai needs the generator's name as the server knows it; set generation.model")
        self.generation = generation
        self.url = generation.base_url.rstrip("/") + "/chat/completions"
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise KitError(f"generation.base_url is {generation.base_url!r}; it must begin with http:// or https://")

    def close(self) -> None:
        """Nothing is held between calls."""

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield answers in the order in which they come.

        The event loop runs in a thread of its own, because a notebook already has one running in this thread.
        """
        answers: queue.SimpleQueue = queue.SimpleQueue()
        loop = asyncio.new_event_loop()
        work = loop.create_task(self._all(requests, answers.put))

        def run() -> None:
            try:
                answers.put(loop.run_until_complete(work))  # None: the last answer has come
            except BaseException as error:
                answers.put(error)

        thread = threading.Thread(target=run, name="answers", daemon=True)
        thread.start()
        try:
            while (item := answers.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            loop.call_soon_threadsafe(work.cancel)
            thread.join()
            loop.close()

    async def _all(self, requests: Sequence[Request], deliver) -> None:
        self._quiet_until, self._lost = 0.0, 0
        self._jitter = random.Random(0)  # of the waits only; answers do not depend on it
        waiting = iter(requests)
        here = urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")
        key = os.environ.get(self.generation.api_key_env, "")
        async with httpx.AsyncClient(
            timeout=httpx.Timeout(self.generation.timeout, connect=15.0),
            trust_env=not here,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=self.generation.concurrency),
        ) as client:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self.generation.concurrency, len(requests))):
                        group.create_task(self._worker(client, waiting, deliver))
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None

    async def _worker(self, client: httpx.AsyncClient, waiting: Iterator[Request], deliver) -> None:
        for request in waiting:  # shared by all workers; each takes the next
            try:
                deliver(await self._one(client, request))
                self._lost = 0
            except _Lost as error:
                self._lost += 1
                if self._lost >= _LOST_IN_A_ROW:
                    raise KitError(
                        f"{self.url} no longer answers ({error}); what came is kept, run again later"
                    ) from None

    async def _one(self, client: httpx.AsyncClient, request: Request) -> Answer:
        """Ask until there is an answer. Raises _Lost when retries are used up, KitError when none can help."""
        failures = limits = 0
        while True:
            while (wait := self._quiet_until - time.monotonic()) > 0:
                await asyncio.sleep(wait * self._jitter.uniform(1.0, 1.1))
            try:
                reply = await client.post(self.url, json=_body(request))
                if reply.status_code == 200:
                    self._heed(reply.headers)
                    return _answer(request, reply.json())
                status, trouble = reply.status_code, f"status {reply.status_code}: {_message(reply.text)}"
            except (httpx.TransportError, ValueError, KeyError, IndexError, TypeError) as error:
                status, trouble = None, f"{type(error).__name__}: {error}".rstrip(": ")
            if status is not None and status not in _RETRY:
                if status in (400, 413, 422) and _ONE_PROMPT_ONLY.search(trouble):
                    return Answer(request.key, "", f"error: {trouble}")
                raise KitError(self._refusal(status, trouble))
            if status == 429 and limits < _LIMITED:
                limits += 1
                told = _retry_after(reply.headers)
                self._pause(min(_LONGEST_WAIT, 0.5 * 2 ** min(limits, 7)) if told is None else told)
                continue
            failures += 1
            if failures > self.generation.retries:
                raise _Lost(trouble)
            await asyncio.sleep(min(_LONGEST_WAIT, 0.5 * 2**failures) * self._jitter.uniform(0.5, 1.0))

    def _refusal(self, status: int, trouble: str) -> str:
        if status in (401, 403):
            return f"{self.url} refuses the key ({trouble}); put a valid one into {self.generation.api_key_env}"
        if status == 404:
            return f"{self.url} does not know model {self.generation.model!r} ({trouble}); check model and base_url"
        return f"{self.url} refuses the request ({trouble}); change the generation parameter it names"

    def _pause(self, seconds: float) -> None:
        """A limit is reached: no worker sends anything for so long."""
        self._quiet_until = max(self._quiet_until, time.monotonic() + min(seconds, 600.0))

    def _heed(self, headers: httpx.Headers) -> None:
        """Wait of our own accord when the server says that no request or token is left in this window."""
        for what in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{what}") == "0":
                self._pause(_duration(headers.get(f"x-ratelimit-reset-{what}", "")))


def _body(request: Request) -> dict:
    """Return the request as the protocol has it."""
    names = ("model", "messages", "temperature", "top_p", "max_tokens", "seed")
    body = {name: getattr(request, name) for name in names}
    if request.frequency_penalty:
        body["frequency_penalty"] = request.frequency_penalty
    if request.structured != "off":
        body["response_format"] = {"type": request.structured}
    if request.structured == "json_schema":
        body["response_format"]["json_schema"] = {"name": "answer", "strict": True, "schema": request.schema}
    return body


def _answer(request: Request, data: dict) -> Answer:
    """Read a reply's JSON. Raises KeyError, IndexError or TypeError when it is not a chat completion."""
    choice, usage = data["choices"][0], data.get("usage") or {}
    text, finish = choice["message"].get("content") or "", choice.get("finish_reason") or "stop"
    return Answer(request.key, text, finish, usage.get("prompt_tokens"), usage.get("completion_tokens"))


def _message(text: str) -> str:
    """Return the readable part of an error reply, on one line."""
    found = re.search(r'"message"\s*:\s*"((?:[^"\\]|\\.)*)"', text)
    return " ".join((found[1] if found else text).split())[:300]


def _retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds of a Retry-After header, which holds seconds or a date; None when there is none."""
    value = headers.get("retry-after", "")
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return _duration(headers.get("x-ratelimit-reset-requests", "")) or None


def _duration(text: str) -> float:
    """Return the seconds of a duration such as ``6m0s``, ``1.5s`` or ``250ms``; 0 for anything else."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text))
