"""Requests, answers, the append-only store that never loses a paid answer, and the answers that come with the kit.

The store holds one line of JSON per answer, keyed by the content of its request. A process killed at any moment leaves
at most one unfinished last line, which the next one cuts off. The bundled answers were written for this kit by a large
language model (lib/data/classroom/README.md): training and test texts, not a source of facts.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from lib.common.bundled import DATA
from lib.common.files import KitError, cannot_write, digest, read_json, read_jsonl, writing
from lib.params.data import GenerationParams

CLASSROOM = "classroom"  # the bundle that studies replay
GENERATORS = DATA / "generators"  # answers of others, a folder each
_FIRST = 9  # fields of a request that its key always holds


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt with all that decides its answer. ``key`` is the digest of exactly these fields.

    ``examples``: (prompt, answer) of the worked examples that stand before the prompt in the conversation.
    """

    system: str
    prompt: str
    model: str
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    structured: str = "off"
    schema: dict | None = None
    examples: tuple[tuple[str, str], ...] = ()
    frequency_penalty: float = 0.0

    @property
    def key(self) -> str:
        """Content address of the answer: same prompt, model and sampling, same key."""
        fields = [getattr(self, name) for name in self.__slots__]
        while len(fields) > _FIRST and fields[-1] in ((), 0.0):  # answers bought before there were such fields stay
            fields.pop()
        return digest(fields)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation in the form chat templates and servers take."""
        turns = [("system", self.system)] if self.system else []
        for prompt, answer in self.examples:
            turns += [("user", prompt), ("assistant", answer)]
        return [{"role": role, "content": text} for role, text in (*turns, ("user", self.prompt))]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: ``finish`` is "stop", "length" (cut at max_tokens) or "error: why"; tokens None when unknown."""

    key: str
    response: str
    finish: str = "stop"
    tokens_in: int | None = None
    tokens_out: int | None = None


class AnswerStore:
    """The answers of one category, open for reading and appending; use it in a ``with`` statement.

    Raises KitError when another process holds it, when the disk is full and when a finished line is broken.
    """

    def __init__(self, path: Path):
        self.path, self.answers = path, {}

    def __enter__(self) -> AnswerStore:
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise KitError(f"another process is generating into {self.path}; wait for it or stop it") from None
        *lines, torn = self.path.read_bytes().split(b"\n")
        if torn:  # the last process died while it wrote this line
            os.ftruncate(self._file, sum(len(line) + 1 for line in lines))
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                self.answers.setdefault(row["key"], row)
            except (ValueError, KeyError, TypeError):
                raise KitError(
                    f"{self.path}, line {number} is not an answer; delete it to have it asked again"
                ) from None
        self._session, self._start = uuid.uuid4().hex[:8], time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        with writing(self.path):
            os.fsync(self._file)
            os.close(self._file)

    def append(self, answer: Answer) -> dict:
        """Write one answer down (a single write, unbuffered) and return its row."""
        row = asdict(answer) | {"session": self._session, "at": round(time.monotonic() - self._start, 3)}
        # Halves of surrogate pairs are joined, and lone ones become U+FFFD: UTF-8 holds neither.
        row["response"] = answer.response.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8")
        with writing(self.path):
            written = os.write(self._file, line)
        if written < len(line):  # the next process cuts the half line off
            raise cannot_write(self.path, OSError(errno.ENOSPC, "no space for the whole line"))
        self.answers.setdefault(answer.key, row)
        return row

    def seconds(self, keys: set[str]) -> float:
        """Return the seconds spent until the last of these answers came, summed over all sessions."""
        last: dict[str, float] = {}
        for key in keys & self.answers.keys():
            row = self.answers[key]
            last[row["session"]] = max(last.get(row["session"], 0.0), row["at"])
        return round(sum(last.values()), 3)


class Replay:
    """Bundled answers stand in for an LLM; the tokens are those of a bundle that counted them."""

    def __init__(self, generation: GenerationParams):
        self.bundle = generation.bundle

    @staticmethod
    def model(generation: GenerationParams, category: str, stage: str, index: int) -> str:
        """Return the model name of a request for one bundled answer: it says which."""
        bundle = "" if generation.bundle == CLASSROOM else f"{generation.bundle} "
        return f"bundled answers: {bundle}{category}/{stage}/{index}"

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield the bundled answer of each request, in order."""
        rows, free = cache(responses), None if self.bundle == CLASSROOM else 0
        for request in requests:
            category, stage, index = request.model.split()[-1].split("/")
            # brainstorms are the classroom's, and cost another bundle's generator nothing
            source = (self.bundle, "responses") if stage == "instance" else (CLASSROOM, "brainstorm")
            row = {"finish": "stop", "tokens_in": free, "tokens_out": free} | rows(category, *source)[int(index)]
            yield Answer(request.key, *(row[name] for name in ("response", "finish", "tokens_in", "tokens_out")))


def responses(category: str, bundle: str = CLASSROOM, kind: str = "responses") -> list[dict]:
    """Return the bundled answers of a category: ``{"slots": {...}, "response": text}`` each (no slots: "brainstorm").

    Those of another ``bundle`` (a folder of lib/data/generators) are as they came, good or bad, with their ``finish``,
    ``tokens_in`` and ``tokens_out``. Raises KitError for an unknown bundle or category.
    """
    path = _bundle(bundle) / kind / f"{category}.jsonl"
    if not path.exists():
        known = sorted(p.stem for p in path.parent.glob("*.jsonl"))
        raise KitError(f"no bundled {kind} answers for {category!r} in {bundle}; there are {', '.join(known)}")
    return read_jsonl(path)


def made_with(generation: GenerationParams) -> str:
    """Return the template variant that the bundled answers were asked with (the classroom's go with any)."""
    if generation.bundle == CLASSROOM:
        return generation.variant
    return read_json(_bundle(generation.bundle) / "made.json")["variant"]


def _bundle(name: str) -> Path:
    known = [CLASSROOM, *sorted(path.parent.name for path in GENERATORS.glob("*/made.json"))]
    if name not in known:
        raise KitError(f"there are no bundled answers {name!r}; set generation.bundle to {' or '.join(known)}")
    return DATA / CLASSROOM if name == CLASSROOM else GENERATORS / name
