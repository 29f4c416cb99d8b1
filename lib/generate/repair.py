"""Repair: an object that is almost JSON becomes JSON, where it has one reading only.

Mended: commas between entries, single and typographic quotes, raw line breaks in texts, unescaped quotes inside a text
whose end is beyond doubt, Python's True, False and None and its escapes. Not mended: an object that is not closed
(EndOfText), what could be read in two ways (Broken). Not a repair library: those close what was cut off and always
return something (tests/benchmarks/parsing_yield.py has the numbers), and a half document makes a wrong positive.
"""

from __future__ import annotations

import json
import re
from string import hexdigits

_TYPOGRAPHIC = "“”„‟"
_CLOSERS = {'"': '"', "'": "'", "‘": "’'", "’": "’'", **dict.fromkeys(_TYPOGRAPHIC, _TYPOGRAPHIC + '"')}
_ESCAPE = r"\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|U000[0-9a-fA-F]{5}|.)"
_SPECIAL = {opener: re.compile(f"{_ESCAPE}|[{closers}]", re.DOTALL) for opener, closers in _CLOSERS.items()}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\"}
_WORD = re.compile(r"[\w.+-]+")
_WORDS = {"True": "true", "False": "false", "None": "null"}
_SPACE = re.compile(r"\s*")
_QUOTE = "[\"'“”„‟‘’]"
_KEY = re.compile(rf"{_QUOTE}[\w][\w \-]{{0,39}}{_QUOTE}\s*:")
# what must follow a key, a text in an object, and a text in a list
_AFTER_KEY = re.compile(r"\s*:")
_AFTER_ENTRY = re.compile(rf"\s*(?:,\s*)?(?:\}}|{_KEY.pattern})")
_AFTER_ITEM = re.compile(rf"\s*(?:,\s*(?:{_QUOTE}|[\[\]{{\d])|\])")
_ITEM = re.compile(rf"\s*,?\s*(?={_QUOTE})")
_SUM = re.compile(rf"{_QUOTE}\s*\+\s*{_QUOTE}")


class Broken(ValueError):
    """Not an object, or one that could be read in more than one way."""


class EndOfText(ValueError):
    """The text ends before the object does."""


def mended(text: str, at: int) -> tuple[str, int]:
    """Return the object at ``at`` as JSON, piece by piece, and the position after it.

    Raises EndOfText when it is not closed and Broken when it cannot be read in exactly one way. What is wrong beyond
    that, such as a second comma, is left as it is: the result is no JSON then.
    """
    pieces, inside, last, guessed = [], [], "", False  # last: the sign before this place, or "value"
    while not pieces or inside:
        at = _SPACE.match(text, at).end()
        sign = text[at : at + 1]
        if not sign:
            raise EndOfText
        if sign in _CLOSERS:
            is_key = inside[-1] == "{" and last != ":"
            if is_key and last == "value":
                pieces.append(",")
            after = _AFTER_KEY if is_key else _AFTER_ENTRY if inside[-1] == "{" else _AFTER_ITEM
            value, at, quotes = _string(text, at, after)
            if is_key and quotes:
                raise Broken("a key holds quotes")
            guessed |= quotes
            pieces.append(json.dumps(value))
            last = "key" if is_key else "value"
        elif sign in "{[,:}]":
            if sign in "{[":
                inside.append(sign)
            elif sign in "}]":
                inside.pop()
                if last == ",":
                    pieces.pop()
            pieces.append(sign)
            at, last = at + 1, "value" if sign in "}]" else sign
        elif word := _WORD.match(text, at):
            pieces.append(_WORDS.get(word[0], word[0]))
            at, last = word.end(), "value"
        else:
            raise Broken(f"no value can start with {text[at : at + 20]!r}")
    if guessed and not re.match(r"[ \t\]]*(?:\n|```|$)", text[at : at + 200]):
        raise Broken("a text holds unescaped quotes and the object does not end with its line")
    return "".join(pieces), at


def read_list(text: str, start: int) -> list[str]:
    """Return the texts of the list at ``start``; of a list that is cut off or breaks, those read until then."""
    items, at = [], start + 1
    try:
        while match := _ITEM.match(text, at):
            item, at, _ = _string(text, match.end(), _AFTER_ITEM)
            items.append(json.loads(json.dumps(item)))  # which joins the halves of a character beyond 16 bits
    except (Broken, EndOfText):
        pass
    return items


def _string(text: str, at: int, after: re.Pattern) -> tuple[str, int, bool]:
    """Read a quoted text, which ends at the first closing quote that is followed by what must follow.

    Returns the text, the position after it, and whether quotes were met inside that should have been escaped.
    """
    opener = text[at]
    if text.startswith(opener * 3, at):
        raise Broken("three quotes in a row")
    parts, inner, at = [], 0, at + 1
    while match := _SPECIAL[opener].search(text, at):
        parts.append(text[at : match.start()])
        at = match.end()
        letter = match[0][1:2]
        if not letter and after.match(text, at):
            value, apostrophes = "".join(parts), opener in "'‘’"  # inside these a single quote is everyday English
            if inner and (value.count("{") != value.count("}") or _KEY.search(value) or _SUM.search(value)):
                raise Broken("a text with unescaped quotes also holds half a pair of braces, a key or a sum")
            if inner % 2 and not apostrophes:
                raise Broken("a text holds an odd number of unescaped quotes")
            return value, at, bool(inner) and not apostrophes
        if not letter:
            inner += 1
            parts.append(match[0])
        elif letter in _CLOSERS:  # all quotes were made typographic, the escaped ones too: give the straight one back
            parts.append('"' if opener in _TYPOGRAPHIC and letter in _TYPOGRAPHIC else letter)
        elif letter in _ESCAPES:
            parts.append(_ESCAPES[letter])
        elif len(match[0]) > 2:
            parts.append(chr(int(match[0][2:], 16)))
        elif letter in "uxU" and not text[at : at + 9].strip(hexdigits):
            break
        else:
            raise Broken(f"unknown escape \\{letter}")
    raise EndOfText
