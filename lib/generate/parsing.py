"""Parsing: an LLM's answer becomes a triplet, or a rejection with a machine-readable reason that is counted.

Around the object, fences, chatter and reasoning blocks are ignored. What is not JSON goes through
``lib.generate.repair``, which mends only what has a single reading. Nothing is guessed: an answer that stops early is
``truncated`` even where its pieces could be closed. What the texts say is judged later, in ``lib.generate.cleaning``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lib.common.design import CODES, Triplet
from lib.common.files import KitError
from lib.generate.prompts import FIXED_INSTRUCTION, KEYS
from lib.generate.repair import Broken, EndOfText, mended, read_list

_START = re.compile(r"""\{(?=\s*(?:["'“”„‟‘’}]|$))""")
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair
_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_WRAPPERS = ("text", "content", "value", "document", "string")


@dataclass(frozen=True, slots=True)
class Parsed:
    """The texts of one answer; ``negative`` is the LLM's own (long-short: its misleading label), or "" for none."""

    query: str
    positive: str
    negative: str = ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an answer was not taken; ``detail`` is for people. Reasons:

    empty invalid_json truncated missing_key not_text duplicate_key several_objects bad_unicode no_answer
    """

    reason: str
    detail: str = ""


class _Repeated(Exception):
    """An object that names one key twice; which value was meant cannot be known."""


def to_triplets(category: str, responses: Sequence[dict]) -> tuple[list[Triplet], Counter]:
    """Return the triplets of the answers that can be read, and how many were rejected for which reason.

    Outer white space is removed. The language of bitext reads "source -> target".
    """
    triplets, rejected = [], Counter()
    for number, row in enumerate(responses):
        parsed = read_answer(category, row)
        if isinstance(parsed, Rejection):
            rejected[parsed.reason] += 1
            continue
        slots = row.get("slots") or {}
        both = f"{slots['src_lang']} -> {slots['tgt_lang']}" if "src_lang" in slots and "tgt_lang" in slots else ""
        instruction = FIXED_INSTRUCTION.get(category) or slots.get("task", "")
        texts = (text.strip() for text in (parsed.query, parsed.positive, parsed.negative))
        name = row.get("id") or f"{CODES[category]}-{number:06d}"
        triplets.append(Triplet(instruction, *texts, category, slots.get("language") or both, name))
    return triplets, rejected


def read_answer(category: str, row: dict) -> Parsed | Rejection:
    """Parse the answer of one row: ``no_answer`` where the server refused, ``truncated`` where it ran to a limit."""
    finish = str(row.get("finish") or "")
    if finish.startswith("error"):
        return Rejection("no_answer", finish)
    if finish == "length":
        return Rejection("truncated", "the answer ran to a limit of its length")
    return parse_response(category, row["response"])


def parse_response(category: str, text: str) -> Parsed | Rejection:
    """Read one answer. Never raises on any string; raises KitError for an unknown category only."""
    if category not in KEYS:
        raise KitError(f"unknown category {category!r}; the categories are {', '.join(CODES)}")
    if not text.strip():
        return Rejection("empty", "the answer is empty")
    keys = KEYS[category]
    found, problem = _objects(_THINKING.sub("", text))
    complete = [values for values in (_locate(value, keys) for value in found) if values is not None]
    if problem is not None and (problem.reason != "invalid_json" or not complete):
        return problem
    if not complete:
        nearest = max(found, key=lambda value: sum(key in value for key in keys))
        missing = [key for key in keys if key not in nearest]
        return Rejection("missing_key", ", ".join(missing) or "the keys lie in more than one place")
    if any(other != complete[0] for other in complete[1:]):
        return Rejection("several_objects", f"{len(complete)} different objects hold the keys")
    for key, value in complete[0].items():
        if not isinstance(value, str):
            return Rejection("not_text", f"{key} is of type {type(value).__name__}")
        if _HALF.search(value):
            return Rejection("bad_unicode", f"{key} holds half of a surrogate pair")
        if _is_blank(value):
            return Rejection("empty", key)
    return Parsed(*complete[0].values())


def _objects(text: str) -> tuple[list[dict], Rejection | None]:
    """Return all JSON objects at the top level of the answer, and what was wrong with the rest (or None)."""
    found: list[dict] = []
    problem, position = None, 0
    for _ in range(200):
        if (match := _START.search(text, position)) is None:
            break
        try:
            value, position = _read(text, match.start())
            found.append(value)
        except _Repeated as error:
            return found, Rejection("duplicate_key", str(error))
        except EndOfText:
            return found, Rejection("truncated", "the answer ends inside an object")
        except Broken as error:
            problem = problem or Rejection("invalid_json", str(error))
            depth, position = 0, len(text)
            for brace in re.finditer("[{}]", text[match.start() :]):  # what lies inside a broken object is not read
                depth += 1 if brace[0] == "{" else -1
                if depth == 0:
                    position = match.start() + brace.end()
                    break
    if not found and problem is None:
        with suppress(ValueError, RecursionError):
            if isinstance(inner := json.loads(text, strict=False), str):  # an object that was made a text once more
                return _objects(inner)
        problem = Rejection("invalid_json", "there is no JSON object in the answer")
    return found, problem


def _read(text: str, start: int) -> tuple[dict, int]:
    """Read the object at ``start``: as JSON (raw control characters allowed), else by careful repair."""
    with suppress(ValueError, RecursionError):
        return _DECODER.raw_decode(text, start)
    better, end = mended(text, start)
    try:
        return _DECODER.decode(better), end
    except (ValueError, RecursionError) as error:
        raise Broken(str(error)) from None


def _no_repeats(pairs: list[tuple[str, object]]) -> dict:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _Repeated("an object names one key twice")
    return values


_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_no_repeats)


def _plain(key: str) -> str:
    return re.sub(r"[\W_]+", "", key).lower()


def _locate(value: object, keys: tuple[str, ...], depth: int = 0) -> dict | None:
    """Return {key: value} of the object, or of the only object inside it, that has all keys; else None."""
    if not isinstance(value, dict) or depth > 4:
        return None
    if all(key in value for key in keys):
        return {key: _unwrap(value[key], key) for key in keys}
    meant = {key: [name for name in value if _plain(name) == _plain(key)] for key in keys}  # "User Query" is user_query
    if all(len(names) == 1 for names in meant.values()):
        return {key: _unwrap(value[name], name) for key, (name,) in meant.items()}
    children = [child for item in value.values() for child in (item if isinstance(item, list) else [item])]
    inside = [got for child in children if (got := _locate(child, keys, depth + 1)) is not None]
    return inside[0] if len(inside) == 1 else None


def _unwrap(value: object, key: str) -> object:
    """Return the text of an object such as {"text": "..."}: one entry, under a name that says it is the text."""
    if isinstance(value, dict) and len(value) == 1:
        ((name, inner),) = value.items()
        if isinstance(inner, str) and _plain(name) in (*_WRAPPERS, _plain(key)):
            return inner
    return value


def _is_blank(text: str) -> bool:
    """True when nothing in the text can be seen: white space, control, format and unassigned characters only."""
    return all(character.isspace() or unicodedata.category(character)[0] in "CZ" for character in text)


def parse_brainstorm(text: str) -> list[str]:
    """Return the tasks of a brainstorm answer: the strings of its first list, else its bulleted or numbered lines.

    A list that is cut off yields the items that were finished. Never raises on any string.
    """
    text = _THINKING.sub("", text)
    for match in list(re.finditer(r"\[(?=\s*[\"'“”„‟‘’])", text))[:20]:
        try:
            items = _DECODER.raw_decode(text, match.start())[0]
        except (ValueError, RecursionError, _Repeated):
            items = read_list(text, match.start())
        if tasks := _tidy(item for item in items if isinstance(item, str)):
            return tasks
    lines = re.findall(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+(\S.*)$", text, re.MULTILINE)
    return _tidy(line.strip().rstrip(",").strip("\"'“”‘’ ") for line in lines)


def _tidy(tasks: Iterable[str]) -> list[str]:
    """Return the tasks on one line each, without those that are blank or hold half a surrogate pair."""
    lines = [" ".join(task.split()) for task in tasks]
    return [task for task in lines if not _is_blank(task) and not _HALF.search(task)]
