"""Real pairs from docstrings: a function's summary line and the description that follows it.

Python packages carry thousands of such pairs, written by people, on the machine already. The source files are
read as text and only the pieces "def ...: docstring" are parsed (``ast``): nothing is imported or executed, and
76 MB of source take a few seconds. Docstrings of C extensions have no source file and are skipped.
"""

from __future__ import annotations

import ast
import importlib.util
import random
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lib.cleaning.contamination import find
from lib.cleaning.dedup import near_duplicates, words
from lib.files import KitError
from lib.triplets import Triplet

if TYPE_CHECKING:
    from lib.params import PublicParams

# Tests, vendored copies, and torch's two compilers, whose docstrings are notes to their own developers.
_SKIPPED = {"tests", "test", "testing", "_testing", "_vendor", "externals", "_inductor", "_dynamo"}
_OPENING = re.compile(r':[ \t]*(?:#[^\n]*)?\n[ \t]*[rRuU]?"""')
_NOT_LETTER = re.compile(r"[\d_]|[^\w\s]")
_SECTION = re.compile(  # where the prose of a docstring ends
    r"^\s*(?:>>>|\.\. |[-=~^*]{3,}\s*$|:(?:param|type|return|rtype|raises)\b|[*\-+] |\d+[.)] |\||\+[-=]"
    r"|(?:Args?|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?|References|See Also|Attributes|Shape|"
    r"Inputs?|Outputs?|Keyword Args|Usage|Warnings?|Methods|Warns|Other Parameters|Keyword Arguments)\s*:{0,2}\s*$)",
    re.IGNORECASE)
_ROLE = re.compile(r":(?:[\w+.-]+:)?[\w+.-]+:`~?\.?([^`<]*?)(?:\s*<[^>]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^>]*>`_{0,2}")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_LONGEST_HEADER = 4000  # characters between "def" and its docstring


def source_files(package: str) -> list[Path]:
    """Return the package's Python files in a fixed order, tests and vendored copies left out.

    The package is located, never imported. Raises KitError when it is not installed.
    """
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise KitError(f"package {package!r} of public.packages is not installed; install it or leave it out")
    root = Path(list(spec.submodule_search_locations)[0])
    files = [path for path in root.rglob("*.py") if not _SKIPPED & set(path.relative_to(root).parts)]
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def _definition(source: str, before: int) -> int:
    """Return where the line of the last ``def`` or ``class`` before a position starts, or -1."""
    floor = max(before - _LONGEST_HEADER, 0)
    at = before
    while (at := max(source.rfind("def ", floor, at), source.rfind("class ", floor, at))) >= 0:
        line = source.rfind("\n", 0, at) + 1
        if source[line:at].strip() in ("", "async"):
            return line
    return -1


def docstrings(source: str) -> Iterator[str]:
    """Yield the docstrings of a source text's functions and classes that have more than one paragraph."""
    for opening in _OPENING.finditer(source):
        end = source.find('"""', opening.end())
        start = _definition(source, opening.start())
        if start < 0 or end < 0 or not _PARAGRAPH.search(source, opening.end(), end):
            continue
        piece = source[start : end + 3]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # other people's invalid escapes
                node = ast.parse("if 1:\n" + piece if piece[0] in " \t" else piece).body[0]
        except (SyntaxError, ValueError):
            continue
        node = node.body[0] if isinstance(node, ast.If) else node
        text = ast.get_docstring(node) if len(node.body) == 1 else None  # else the string comes after a statement
        if text and "\n\n" in text:
            yield text


def _plain(text: str) -> str:
    """Take the reStructuredText marks off a paragraph and join its lines."""
    text = _LINK.sub(r"\1", _ROLE.sub(r"\1", text))
    text = re.sub(r"\[\d+\]_|\|(\w+)\|", r"\1", text)
    text = re.sub(r"``?|\*\*", "", text).replace("\\", "")
    return re.sub(r"\s+([.,;])", r"\1", re.sub(r"\s+", " ", text)).rstrip(":").strip()


def split(docstring: str, min_words: int, max_words: int) -> tuple[str, str] | None:
    """Return (summary line, description), or None where the docstring has no prose description.

    The description is the prose between the summary and the first section, list, doctest or directive, cut at
    the last sentence that ends within ``max_words`` words.
    """
    paragraphs = _PARAGRAPH.split(docstring.strip())
    if not 3 <= len(paragraphs[0].split()) <= 30 or _SECTION.match(paragraphs[0]) or "(" in paragraphs[0][:20]:
        return None
    prose: list[str] = []
    for paragraph in paragraphs[1:]:
        lines = paragraph.split("\n")
        if any(_SECTION.match(line) for line in lines):
            break
        if paragraph.startswith((" ", "\t")) or ":math:" in paragraph or "$" in paragraph:
            continue  # a code or formula block, or prose that is mostly formula
        prose.append(_plain(paragraph))
    kept: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z`'\"(])", " ".join(prose)):
        if len(" ".join([*kept, sentence]).split()) > max_words:
            break
        kept.append(sentence)
    description = " ".join(kept).strip()
    if len(description.split()) < min_words or not description.endswith((".", "!", "?")):
        return None
    if len(_NOT_LETTER.findall(description)) > 0.15 * len(description):
        return None  # mostly code or formula
    return _plain(paragraphs[0]), description


def _candidates(public: PublicParams) -> list[tuple[str, str, str]]:
    found: dict[tuple, tuple[str, str, str]] = {}
    for package in public.packages:
        for path in source_files(package):
            source = path.read_text(encoding="utf-8", errors="replace")
            for text in docstrings(source):
                pair = split(text, public.min_words, public.max_words)
                if pair and words(pair[0]) != words(pair[1])[: len(words(pair[0]))]:
                    found.setdefault(tuple(words(pair[0])), (package, *pair))
    return list(found.values())  # one pair per summary: two would be false negatives of each other


def pairs(public: PublicParams, exclude: Mapping[str, Iterable[str]]) -> list[Triplet]:
    """Return ``public.n`` sampled pairs (all where there are fewer); see ``lib.sources.docstring_pairs``."""
    candidates = _candidates(public)
    twins = near_duplicates([description for _, _, description in candidates], 0.6)
    triplets = [
        Triplet(public.instruction, summary, description, "", "public", "English", f"{package}-{number}")
        for number, (package, summary, description) in enumerate(candidates) if twins[number] < 0
    ]
    leaked = find(triplets, exclude).hits
    clean = [triplet for position, triplet in enumerate(triplets) if position not in leaked]
    return random.Random(public.seed).sample(clean, min(public.n, len(clean)))
