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
_LOW_HALF = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_DEPTH = 12


class Broken(ValueError):
    """Not an object, or one that could be read in more than one way."""


class EndOfText(ValueError):
    """The text ends before the object does."""


def read_object(text: str, start: int) -> tuple[list[tuple[str, object]], int]:
    """Return the (key, value) pairs of the object at ``start`` and the position after it.

    Raises EndOfText when it is not closed and Broken when it cannot be read in exactly one way.
    """
    reader = _Reader(text, start)
    pairs = reader.object(0)
    if reader.guessed and not re.match(r"[ \t\]]*(?:\n|```|$)", text[reader.at : reader.at + 200]):
        raise Broken("a text holds unescaped quotes and the object does not end with its line")
    return pairs, reader.at


def read_list(text: str, start: int) -> list:
    """Return the items of the list at ``start``; of a list that is cut off or breaks, those read until then."""
    items: list = []
    try:
        _Reader(text, start).array(0, items)
    except (Broken, EndOfText):
        pass
    return items


class _Reader:
    """Reads ``text`` from position ``at``; ``guessed``: a text held quotes that should have been escaped."""

    def __init__(self, text: str, at: int):
        self.text, self.at, self.guessed = text, at, False

    def skip(self, count: int = 0) -> str:
        """Go past ``count`` characters and white space and return the character there. Raises EndOfText."""
        self.at = _SPACE.match(self.text, self.at + count).end()
        if self.at >= len(self.text):
            raise EndOfText
        return self.text[self.at]

    def object(self, depth: int) -> list[tuple[str, object]]:
        """Read an object whose brace stands here."""
        if depth > _DEPTH:
            raise Broken("objects are nested too deeply")
        pairs: list[tuple[str, object]] = []
        character = self.skip(1)
        while character != "}":
            key, inner = self.string(_AFTER_KEY)
            if inner:
                raise Broken("a key holds quotes")
            self.skip()  # to the colon: _AFTER_KEY has seen it
            self.skip(1)
            pairs.append((key, self.value(depth, _AFTER_ENTRY)))
            character = self.skip()
            if character == ",":
                character = self.skip(1)
            elif character != "}" and not _LOOKS_LIKE_KEY.match(self.text, self.at):
                found = self.text[self.at : self.at + 20]
                raise Broken(f"expected a comma or the end of the object before {found!r}")
        self.at += 1
        return pairs

    def array(self, depth: int, items: list) -> list:
        """Read a list whose bracket stands here into ``items``."""
        if depth > _DEPTH:
            raise Broken("lists are nested too deeply")
        character = self.skip(1)
        while character != "]":
            items.append(self.value(depth, _AFTER_ITEM))
            character = self.skip()
            if character == ",":
                character = self.skip(1)
            elif character != "]":
                raise Broken("a list is not separated by commas")
        self.at += 1
        return items

    def value(self, depth: int, after: re.Pattern) -> object:
        """Read the value that stands here; ``after`` must match what follows it when it is a text."""
        character = self.text[self.at]
        if character == "{":
            pairs = self.object(depth + 1)
            if len(dict(pairs)) != len(pairs):
                raise Broken("an object names one key twice")
            return dict(pairs)
        if character == "[":
            return self.array(depth + 1, [])
        if character in _CLOSERS:
            value, inner = self.string(after)
            self.guessed |= inner
            return value
        word = _WORD.match(self.text, self.at)
        if word is None:
            raise Broken(f"no value can start with {self.text[self.at : self.at + 20]!r}")
        self.at = word.end()
        named = {"true": True, "false": False, "null": None, "none": None}
        return named[word[0].lower()] if word[0][0].isalpha() else float(word[0])

    def string(self, after: re.Pattern) -> tuple[str, bool]:
        """Read a quoted text. It ends at the first closing quote that what must follow does follow.

        Returns the text, and whether quotes were met inside that should have been escaped.
        """
        opener = self.text[self.at]
        special = _SPECIAL.get(opener)
        if special is None:
            raise Broken(f"expected a quoted text before {self.text[self.at : self.at + 20]!r}")
        if self.text.startswith(opener * 3, self.at):
            raise Broken("three quotes in a row")
        parts, inner = [], 0
        self.at += 1
        while (match := special.search(self.text, self.at)) is not None:
            parts.append(self.text[self.at : match.start()])
            self.at = match.end()
            if match[0] == "\\":
                parts.append(self.escape(opener))
            elif after.match(self.text, self.at):
                return _checked("".join(parts), inner, opener)
            else:
                inner += 1
                parts.append(match[0])
        raise EndOfText

    def escape(self, opener: str) -> str:
        """Return the character that the escape after a backslash stands for."""
        letter, self.at = self.text[self.at : self.at + 1], self.at + 1
        if not letter:
            raise EndOfText
        if letter in _CLOSERS:  # all quotes were made typographic, the escaped ones too: give the straight one back
            return '"' if opener in _TYPOGRAPHIC and letter in _TYPOGRAPHIC else letter
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter not in _HEX:
            raise Broken(f"unknown escape \\{letter}")
        digits = self.text[self.at : self.at + _HEX[letter]]
        if len(digits) < _HEX[letter] and self.at + len(digits) == len(self.text):
            raise EndOfText
        code = int(digits, 16) if re.fullmatch(f"[0-9a-fA-F]{{{_HEX[letter]}}}", digits) else 0x110000
        if code > 0x10FFFF:
            raise Broken(f"unknown escape \\{letter}")
        self.at += len(digits)
        low = _LOW_HALF.match(self.text, self.at) if 0xD800 <= code < 0xDC00 else None
        if low is None:
            return chr(code)
        self.at = low.end()  # two \u escapes are the halves of one character
        return chr(0x10000 + ((code - 0xD800) << 10) + (int(low[1], 16) - 0xDC00))


def _checked(value: str, inner: int, opener: str) -> tuple[str, bool]:
    """Refuse a text whose ``inner`` unescaped quotes could also mean that it ended earlier."""
    apostrophes = opener in "'‘’"  # inside these an odd number of quotes is everyday English
    if inner and (value.count("{") != value.count("}") or _LOOKS_LIKE_KEY.search(value)):
        raise Broken("a text with unescaped quotes also holds half a pair of braces, or a key")
    if inner and _SUM.search(value):
        raise Broken("texts are added up with +")
    if inner % 2 and not apostrophes:
        raise Broken("a text holds an odd number of unescaped quotes")
    return value, bool(inner) and not apostrophes
