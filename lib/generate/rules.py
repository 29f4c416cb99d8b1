"""Rules on a single triplet: each returns a machine-readable reason for rejection and the evidence, or None.

The released generator applies none of these (its parser accepts empty strings, refusals and leaked labels), so
what they catch is counted and shown rather than silently dropped. All are tolerant: they look for clear cases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lib.common.triplets import Triplet
from lib.generate.duplicates import count_words, words
from lib.generate.languages import wrong_language

if TYPE_CHECKING:
    from lib.params.params import CleaningParams

_REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]?m|i am|we are) (?:very |so |really )?(?:sorry|afraid)\b|sorry\b|i apologi[sz]e\b|unfortunately\b"
    r"|as an? )?[^.!?\n]{0,60}?(?:\b(?:i|we) (?:cannot|can['’]?t|can not|won['’]?t|will not|am (?:unable|not able) to"
    r"|['’]m (?:unable|not able) to) (?:help|assist|comply|fulfil+|create|generate|provide|produce|write|continue"
    r"|complete|do that|answer)\b"
    r"|\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"^\W*(?:n/?a|none|null|todo|string|lorem ipsum.*|<[^>]{1,60}>|\[[^\]]{1,60}\])\W*$", re.IGNORECASE
)
COPY_WORDS = 6  # a query of at least this many words that stands word for word in the positive was copied
_UNITS = {"phrase": (1, 15), "sentence": (4, 50), "passage": (20, 400)}


def reject(
    triplet: Triplet, cleaning: CleaningParams, slots: Mapping[str, str] | None = None
) -> tuple[str, str] | None:
    """Return (reason, evidence) of the first rule that a triplet breaks, or None when it passes all.

    ``slots`` are the values its prompt was filled with; without them the rules on length, and for bitext the one
    on language, have nothing to compare with and pass.
    """
    found = _form(triplet) or (_copies(triplet) if triplet.category != "long_short" else _labels(triplet))
    if found is None and slots:
        found = wrong_length(triplet, slots, cleaning.length_tolerance)
    if found is None and cleaning.language:
        found = _language(triplet, cleaning, slots or {})
    return found


def _form(triplet: Triplet) -> tuple[str, str] | None:
    for slot, text in (("query", triplet.query), ("positive", triplet.positive), ("negative", triplet.negative)):
        if not words(text) and (slot != "negative" or text):
            return "empty", f"{slot}: {text!r}"
        if _REFUSAL.search(text[:200]):
            return "refusal", f"{slot}: {text[:80]}"
        if _PLACEHOLDER.search(text) and (slot == "query" or triplet.category != "long_short"):  # "None" can be a label
            return "placeholder", f"{slot}: {text[:80]}"
    return None


def _copies(triplet: Triplet) -> tuple[str, str] | None:
    query, positive, negative = words(triplet.query), words(triplet.positive), words(triplet.negative)
    if query == positive:
        return "query_equals_positive", triplet.query[:80]
    if negative and negative == positive:
        return "positive_equals_negative", triplet.positive[:80]
    if negative and negative == query:
        return "query_equals_negative", triplet.query[:80]
    long = len(query) >= COPY_WORDS and triplet.category not in ("sts", "bitext")  # STS pairs are meant to overlap
    return ("query_copied", triplet.query[:80]) if long and _within(query, positive) else None


def _labels(triplet: Triplet) -> tuple[str, str] | None:
    label, misleading = words(triplet.positive), words(triplet.negative)
    if misleading and label == misleading:
        return "label_equals_misleading", triplet.positive[:80]
    if label == words(triplet.query):
        return "query_equals_positive", triplet.query[:80]
    return ("label_in_text", triplet.positive[:80]) if _within(label, words(triplet.query)) else None


def _within(part: list[str], whole: list[str]) -> bool:
    return bool(part) and f" {' '.join(part)} " in f" {' '.join(whole)} "


def bounds(asked: str) -> tuple[float, float] | None:
    """Return the (lowest, highest) word count that a slot asks for: "60", "5 to 15 words", "at least 10 words".

    A bare number is what the paper's prompts call the minimum for a document, and answers may run to twice it.
    None when the slot says nothing about words.
    """
    numbers = [int(number) for number in re.findall(r"\d+", str(asked))]
    if not numbers:
        return None
    if "less than" in asked:
        return 1, numbers[0] - 1
    if "at most" in asked:
        return 1, numbers[0]
    if "at least" in asked or "more than" in asked:
        return numbers[0], float("inf")
    return (numbers[0], numbers[1]) if len(numbers) > 1 else (numbers[0], 2 * numbers[0])


def wanted(category: str, slots: Mapping[str, str]) -> list[tuple[str, str, tuple[float, float]]]:
    """Return (field of the triplet, name of the slot, word bounds) for each length that the slots ask for."""
    plan = {
        "short_long": [("query", "query_length"), ("positive", "num_words"), ("negative", "num_words")],
        "long_short": [("query", "num_words")],
        "long_long": [("query", "min_words"), ("positive", "min_words")],
    }
    found = [(part, slot, bounds(str(slots[slot]))) for part, slot in plan.get(category, []) if slot in slots]
    if category in ("sts", "bitext") and slots.get("unit") in _UNITS:
        found += [(part, "unit", _UNITS[slots["unit"]]) for part in ("query", "positive", "negative")]
    return [(part, slot, limits) for part, slot, limits in found if limits]


def wrong_length(triplet: Triplet, slots: Mapping[str, str], tolerance: float) -> tuple[str, str] | None:
    """Return (``too_short`` or ``too_long``, evidence) when a text misses its slot by more than ``tolerance``."""
    for part, slot, (low, high) in wanted(triplet.category, slots):
        text = getattr(triplet, part)
        if not text:
            continue
        count = count_words(text)
        if count < low * (1 - tolerance) - 1 or count > high * (1 + tolerance) + 1:
            return ("too_short" if count < low else "too_long"), f"{part}: {count} words for {slot} {slots[slot]!r}"
    return None


def _language(triplet: Triplet, cleaning: CleaningParams, slots: Mapping[str, str]) -> tuple[str, str] | None:
    source, _, target = slots.get("language", triplet.language).partition(" -> ")  # bitext reads "source -> target"
    source, target = slots.get("src_lang", source), slots.get("tgt_lang", target or source)
    asked = {"query": source, "positive": target, "negative": target}
    for part, language in asked.items():
        text = getattr(triplet, part)
        seen = wrong_language(text, language, cleaning.language_min_chars, cleaning.language_margin)
        if seen:
            return "wrong_language", f"{part}: asked for {language}, reads like {seen!r}: {text[:60]}"
    return None
