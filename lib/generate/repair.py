"""Repair: read an object that is almost JSON, mending only what has one reading.

Mended: trailing and missing commas between entries, single and typographic quotes, raw line breaks in texts,
unescaped quotes inside a text where the text's end is beyond doubt, Python's True, False and None and its
escapes. Not mended: an object that is not closed (EndOfText), unknown escapes, bare keys, anything whose end
could be read in two ways (Broken). Why not a repair library: those close what was cut off and always return
something (tests/benchmarks/parsing_yield.py has the numbers), and a half document makes a wrong positive.
"""

from __future__ import annotations

import re

_TYPOGRAPHIC = "“”„‟"
_CLOSERS = {'"': '"', "'": "'", "‘": "’'", "’": "’'", **dict.fromkeys(_TYPOGRAPHIC, _TYPOGRAPHIC + '"')}
_SPECIAL = {opener: re.compile("[\\\\" + closers + "]") for opener, closers in _CLOSERS.items()}
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"(?:true|false|null|True|False|None|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])")
_QUOTE = "[\"'“”„‟‘’]"
_KEY = rf"{_QUOTE}[\w][\w \-]{{0,39}}{_QUOTE}\s*:"
_AFTER_KEY = re.compile(r"\s*:")
_AFTER_ENTRY = re.compile(rf"\s*(?:,\s*)?(?:\}}|{_KEY})")
_AFTER_ITEM = re.compile(rf"\s*(?:,\s*(?:{_QUOTE}|[\[\]{{\d])|\])")
_LOOKS_LIKE_KEY = re.compile(_KEY)
_SUM = re.compile(rf"{_QUOTE}\s*\+\s*{_QUOTE}")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", "\n": ""}
_HEX = {"x": 2, "u": 4, "U": 8}
_DEPTH = 12


class Broken(ValueError):
    """Not an object, or one that could be read in more than one way."""


class EndOfText(ValueError):
    """The text ends before the object does."""


def read_object(text: str, start: int) -> tuple[list[tuple[str, object]], int]:
    """Return the (key, value) pairs of the object at ``start`` and the position after it.

    Raises EndOfText when it is not closed and Broken when it cannot be read in exactly one way.
    """
    pairs, end, guessed = _object(text, start, 0)
    if guessed and not re.match(r"[ \t\]]*(?:\n|```|$)", text[end : end + 200]):
        raise Broken("a text holds unescaped quotes and the object does not end with its line")
    return pairs, end


def read_list(text: str, start: int) -> list:
    """Return the items of the list at ``start``; of a list that is cut off or breaks, those read until then."""
    items: list = []
    try:
        _array(text, start, 0, items)
    except (Broken, EndOfText):
        pass
    return items


def _object(text: str, start: int, depth: int) -> tuple[list[tuple[str, object]], int, bool]:
    if depth > _DEPTH:
        raise Broken("objects are nested too deeply")
    pairs: list[tuple[str, object]] = []
    guessed = False
    position = _skip(text, start + 1)
    while text[position] != "}":
        key, position, odd = _string(text, position, _AFTER_KEY)
        if odd:
            raise Broken("a key holds quotes")
        position = _skip(text, _skip(text, position) + 1)  # the colon is there: _AFTER_KEY has seen it
        value, position, odd = _value(text, position, depth, _AFTER_ENTRY)
        guessed |= odd
        pairs.append((key, value))
        position = _skip(text, position)
        if text[position] == ",":
            position = _skip(text, position + 1)
        elif text[position] != "}" and not _LOOKS_LIKE_KEY.match(text, position):
            raise Broken(f"expected a comma or the end of the object before {text[position : position + 20]!r}")
    return pairs, position + 1, guessed


def _value(text: str, position: int, depth: int, after: re.Pattern) -> tuple[object, int, bool]:
    character = text[position]
    if character == "{":
        pairs, end, guessed = _object(text, position, depth + 1)
        if len(dict(pairs)) != len(pairs):
            raise Broken("an object names one key twice")
        return dict(pairs), end, guessed
    if character == "[":
        return _array(text, position, depth + 1)
    if character in _CLOSERS:
        return _string(text, position, after)
    word = _WORD.match(text, position)
    if word is None:
        raise Broken(f"no value can start with {text[position : position + 20]!r}")
    named = {"true": True, "false": False, "null": None, "none": None}
    return named[word[0].lower()] if word[0][0].isalpha() else float(word[0]), word.end(), False


def _array(text: str, start: int, depth: int, items: list | None = None) -> tuple[list, int, bool]:
    if depth > _DEPTH:
        raise Broken("lists are nested too deeply")
    items, guessed = [] if items is None else items, False
    position = _skip(text, start + 1)
    while text[position] != "]":
        value, position, odd = _value(text, position, depth, _AFTER_ITEM)
        guessed |= odd
        items.append(value)
        position = _skip(text, position)
        if text[position] == ",":
            position = _skip(text, position + 1)
        elif text[position] != "]":
            raise Broken("a list is not separated by commas")
    return items, position + 1, guessed


def _skip(text: str, position: int) -> int:
    """Return the next position that is not white space. Raises EndOfText where there is none."""
    position = _SPACE.match(text, position).end()
    if position >= len(text):
        raise EndOfText
    return position


def _string(text: str, start: int, after: re.Pattern) -> tuple[str, int, bool]:
    """Read a quoted text. It ends at the first closing quote that what must follow does follow.

    Returns the text, the position after it, and whether quotes were met inside that should have been escaped.
    """
    opener = text[start]
    special = _SPECIAL.get(opener)
    if special is None:
        raise Broken(f"expected a quoted text before {text[start : start + 20]!r}")
    if text.startswith(opener * 3, start):
        raise Broken("three quotes in a row")
    parts, inner, position = [], 0, start + 1
    while (match := special.search(text, position)) is not None:
        parts.append(text[position : match.start()])
        position = match.end()
        if match[0] == "\\":
            character, position = _escape(text, position, opener)
            parts.append(character)
        elif after.match(text, position):
            return _checked("".join(parts), inner, opener, position)
        else:
            inner += 1
            parts.append(match[0])
    raise EndOfText


def _checked(value: str, inner: int, opener: str, end: int) -> tuple[str, int, bool]:
    """Refuse a text whose unescaped quotes could also mean that it ended earlier."""
    apostrophes = opener in "'‘’"  # inside these an odd number of quotes is everyday English
    if inner and (value.count("{") != value.count("}") or _LOOKS_LIKE_KEY.search(value)):
        raise Broken("a text with unescaped quotes also holds half a pair of braces, or a key")
    if inner and _SUM.search(value):
        raise Broken("texts are added up with +")
    if inner % 2 and not apostrophes:
        raise Broken("a text holds an odd number of unescaped quotes")
    return value, end, bool(inner) and not apostrophes


def _escape(text: str, position: int, opener: str) -> tuple[str, int]:
    """Return the character that the escape after a backslash stands for, and the position after it."""
    if position >= len(text):
        raise EndOfText
    letter = text[position]
    if letter in _CLOSERS:  # all quotes were made typographic, the escaped ones too: give the straight one back
        return ('"' if opener in _TYPOGRAPHIC and letter in _TYPOGRAPHIC else letter), position + 1
    if letter in _ESCAPES:
        return _ESCAPES[letter], position + 1
    if letter in _HEX:
        digits = text[position + 1 : position + 1 + _HEX[letter]]
        if len(digits) < _HEX[letter] and position + 1 + len(digits) == len(text):
            raise EndOfText
        if re.fullmatch("[0-9a-fA-F]+", digits) and len(digits) == _HEX[letter] and int(digits, 16) <= 0x10FFFF:
            return _pair(text, position + 1 + _HEX[letter], int(digits, 16))
    raise Broken(f"unknown escape \\{letter}")


def _pair(text: str, end: int, code: int) -> tuple[str, int]:
    """Join the two halves of a surrogate pair written as two \\u escapes."""
    low = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})").match(text, end)
    if 0xD800 <= code < 0xDC00 and low:
        return chr(0x10000 + ((code - 0xD800) << 10) + (int(low[1], 16) - 0xDC00)), low.end()
    return chr(code), end
