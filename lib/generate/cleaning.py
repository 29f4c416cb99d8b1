"""Cleaning: rules on single triplets, duplicates, contamination; everything dropped is counted by its reason.

Rules first, then duplicates among what passed, then contamination among what is left: each triplet has one reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lib.common.bundled import DATA
from lib.common.design import Triplet
from lib.common.files import read_json
from lib.generate.overlap import count_words, find, near_duplicates, words
from lib.params.data import CleaningParams

REASONS = {  # reason -> what it means, in the order in which the checks run
    "empty": "a text holds no word",
    "refusal": "the model declined to answer",
    "placeholder": "a text is a placeholder such as '...'",
    "query_equals_positive": "query and positive are the same text",
    "positive_equals_negative": "positive and negative are the same text",
    "query_equals_negative": "query and negative are the same text",
    "query_copied": "the whole query stands word for word in the positive",
    "label_equals_misleading": "label and misleading label are the same",
    "label_in_text": "the label stands in the text to be classified",
    "too_short": "a text is far shorter than its slot asked for",
    "too_long": "a text is far longer than its slot asked for",
    "wrong_language": "a text is clearly in another language than asked for",
    "duplicate": "an earlier triplet has the same query",
    "near_duplicate": "an earlier triplet has nearly the same words",
    "contaminated": "a text shares a run of words with an evaluation set",
}
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
_UNITS = {"phrase": (1, 15), "sentence": (4, 50), "passage": (20, 400)}
_LENGTH_SLOTS = {  # category -> {field of the triplet: slot that asks for its length}
    "short_long": {"query": "query_length", "positive": "num_words", "negative": "num_words"},
    "long_short": {"query": "num_words"},
    "long_long": {"query": "min_words", "positive": "min_words"},
    "sts": {"query": "unit", "positive": "unit", "negative": "unit"},
    "bitext": {"query": "unit", "positive": "unit", "negative": "unit"},
}
# The paper's language names (section 2.6 of its generator) and py3langid's codes; several codes where the detector
# splits what the paper calls one language. What it does not know (romanised varieties, Sindhi, ...) is never judged.
LANGUAGES = read_json(DATA / "languages.json")
_READ = 400  # characters that the language detector looks at
_MARGIN = 0.1  # of log-probability per character by which another language must lead
_DENSE = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


def clean(
    triplets: Sequence[Triplet],
    cleaning: CleaningParams,
    slots: Mapping[str, Mapping[str, str]] | None = None,
    suites: Mapping[str, Iterable[str]] | None = None,
) -> tuple[list[Triplet], dict]:
    """Return the triplets that pass and a report that can be written as JSON.

    ``slots``: {id: the slot values of that triplet's prompt}; ``suites``: {evaluation set: its texts}. The report:
    ``asked``, ``kept``, ``reasons`` {reason: count}, ``rejected`` [{position, id, category, reason, detail}],
    ``contamination`` {set: {texts, texts_touched, triplets, example}}, ``contaminated`` (dropped or only reported).
    """
    dropped: dict[int, tuple[str, str]] = {}  # position -> (reason, detail)
    if cleaning.rules:
        for position, triplet in enumerate(triplets):
            if found := reject(triplet, cleaning, (slots or {}).get(triplet.id)):
                dropped[position] = found
    if cleaning.duplicates:
        dropped |= _duplicates({p: t for p, t in enumerate(triplets) if p not in dropped}, cleaning.near_duplicate)
    left, hits, sets = [p for p in range(len(triplets)) if p not in dropped], {}, {}
    if cleaning.contamination != "off" and suites:
        hits, sets = find([triplets[position] for position in left], suites, cleaning.contamination_ngram)
    shared = {left[index]: ", ".join(names) for index, names in hits.items()}
    if cleaning.contamination == "remove":
        dropped |= {position: ("contaminated", names) for position, names in shared.items()}
    counts = Counter(reason for reason, _ in dropped.values())
    report = {
        "asked": len(triplets),
        "kept": len(triplets) - len(dropped),
        "reasons": {reason: counts[reason] for reason in REASONS if counts[reason]},
        "rejected": [
            {"position": p, "id": triplets[p].id, "category": triplets[p].category, "reason": reason, "detail": detail}
            for p, (reason, detail) in sorted(dropped.items())
        ],
        "contamination": sets,
        "contaminated": [{"position": p, "id": triplets[p].id, "sets": names} for p, names in shared.items()],
    }
    return [triplet for position, triplet in enumerate(triplets) if position not in dropped], report


def _duplicates(triplets: Mapping[int, Triplet], threshold: float) -> dict[int, tuple[str, str]]:
    """Return {position: (reason, evidence)} of the repeats among ``triplets``, {position: triplet}.

    Two with one query and one instruction are false negatives of each other: the later goes, whatever its positive.
    """
    repeats: dict[int, tuple[str, int]] = {}  # position -> (reason, the earlier one)
    first: dict[tuple, int] = {}
    for position, triplet in triplets.items():
        earlier = first.setdefault((triplet.category, triplet.instruction, tuple(words(triplet.query))), position)
        if earlier != position:
            repeats[position] = ("duplicate", earlier)
    rest = [position for position in triplets if position not in repeats]
    texts = [f"{triplets[position].query}\n{triplets[position].positive}" for position in rest]
    for position, twin in zip(rest, near_duplicates(texts, threshold), strict=True):
        if twin >= 0:
            repeats[position] = ("near_duplicate", rest[twin])
    return {
        position: (reason, f"of {triplets[one].id or f'row {one + 1}'}: {triplets[position].query[:60]}")
        for position, (reason, one) in repeats.items()
    }


def reject(
    triplet: Triplet, cleaning: CleaningParams, slots: Mapping[str, str] | None = None
) -> tuple[str, str] | None:
    """Return (reason, evidence) of the first rule that a triplet breaks, or None; ``slots``: those of its prompt."""
    slots, tolerance = slots or {}, cleaning.length_tolerance
    if found := _form(triplet) or _copies(triplet):
        return found
    for part, slot, (low, high) in wanted(triplet.category, slots):
        count = count_words(getattr(triplet, part))
        if count and not low * (1 - tolerance) - 1 <= count <= high * (1 + tolerance) + 1:
            return ("too_short" if count < low else "too_long"), f"{part}: {count} words for {slot} {slots[slot]!r}"
    source, _, target = slots.get("language", triplet.language).partition(" -> ")  # bitext reads "source -> target"
    source, target = slots.get("src_lang", source), slots.get("tgt_lang", target or source)
    for part, language in {"query": source, "positive": target, "negative": target}.items():
        text = getattr(triplet, part)
        if cleaning.language and (seen := wrong_language(text, language, cleaning.language_min_chars)):
            return "wrong_language", f"{part}: asked for {language}, reads like {seen!r}: {text[:60]}"
    return None


def _form(triplet: Triplet) -> tuple[str, str] | None:
    for slot in ("query", "positive", "negative"):
        text = getattr(triplet, slot)
        if not words(text) and (slot != "negative" or text):
            return "empty", f"{slot}: {text!r}"
        if _REFUSAL.search(text[:200]):
            return "refusal", f"{slot}: {text[:80]}"
        if _PLACEHOLDER.search(text) and (slot == "query" or triplet.category != "long_short"):  # "None" can be a label
            return "placeholder", f"{slot}: {text[:80]}"
    return None


def _copies(triplet: Triplet) -> tuple[str, str] | None:
    texts = (triplet.query, triplet.positive, triplet.negative)
    query, positive, negative = (f" {' '.join(words(text))} " for text in texts)
    label = triplet.category == "long_short"  # the positive is the label of the query, the negative a misleading one
    # texts of STS and bitext are meant to overlap
    copied = triplet.category not in ("long_short", "sts", "bitext") and len(query.split()) >= 6
    checks = (
        (label and negative == positive, "label_equals_misleading", triplet.positive),
        (query == positive, "query_equals_positive", triplet.query),
        (label and positive in query, "label_in_text", triplet.positive),
        (not label and negative == positive, "positive_equals_negative", triplet.positive),
        (not label and negative == query, "query_equals_negative", triplet.query),
        (copied and query in positive, "query_copied", triplet.query),
    )
    return next(((reason, text[:80]) for broken, reason, text in checks if broken), None)


def bounds(asked: str) -> tuple[float, float] | None:
    """Return the (lowest, highest) word count that a slot asks for: "5 to 15 words", "at least 10", "phrase", or None.

    A bare number is a minimum in the paper's prompts, and answers may run to twice it.
    """
    numbers = [int(number) for number in re.findall(r"\d+", asked)]
    if not numbers:
        return _UNITS.get(asked)
    if "less than" in asked:
        return 1, numbers[0] - 1
    if "at most" in asked:
        return 1, numbers[0]
    if "at least" in asked or "more than" in asked:
        return numbers[0], float("inf")
    return (numbers[0], numbers[1]) if len(numbers) > 1 else (numbers[0], 2 * numbers[0])


def wanted(category: str, slots: Mapping[str, str]) -> list[tuple[str, str, tuple[float, float]]]:
    """Return (field of the triplet, name of the slot, word bounds) for each length that the slots ask for."""
    asked = [(part, slot) for part, slot in _LENGTH_SLOTS.get(category, {}).items() if slot in slots]
    return [(part, slot, limits) for part, slot in asked if (limits := bounds(str(slots[slot])))]


def judgeable(text: str, min_chars: int = 60) -> bool:
    """Is a text long enough to be judged? A Chinese, Japanese, Korean, Thai or Lao character counts as three."""
    return len(text) >= min_chars or len(text) + 2 * len(_DENSE.findall(text)) >= min_chars


def detect(text: str) -> str:
    """Return the code of the most likely language of a text (py3langid: 139 languages, 0.2 ms a text).

    Of the 1,935 bundled texts of at least 50 characters it rejects one, a line of SQL; lingua six times as many.
    """
    from py3langid import classify

    return classify(text[:_READ])[0]


def wrong_language(text: str, language: str, min_chars: int = 60) -> str | None:
    """Return the code of the language a text is in when it is clearly not in ``language``, else None."""
    codes = LANGUAGES.get(language, ())
    if not codes or not judgeable(text, min_chars) or (best := detect(text)) in codes:
        return None
    from py3langid import rank

    scores = dict(rank(text[:_READ]))
    lead = scores[best] - max(scores[code] for code in codes)
    return best if lead / min(len(text), _READ) > _MARGIN else None
