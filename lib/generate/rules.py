"""Rules on a single triplet: each returns a machine-readable reason for rejection and the evidence, or None.

The released generator applies none of these (its parser accepts empty strings, refusals and leaked labels), so
what they catch is counted and shown rather than silently dropped. All are tolerant: they look for clear cases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lib.common.design import Triplet
from lib.generate.overlap import count_words, words

if TYPE_CHECKING:
    from lib.params.params import CleaningParams

COPY_WORDS = 6  # a query of at least this many words that stands word for word in the positive was copied
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
# splits what the paper calls one language. Romanised varieties, Latin-script Kurdish and languages it does not
# know (Burmese is known, Sundanese, Sindhi and Yiddish are not) are left out: they are never judged.
_KNOWN = """
Afrikaans af; Albanian sq; Amharic am; Arabic ar,ary,arz; Armenian hy; Assamese as; Azerbaijani az; Basque eu;
Belarusian be; Bengali bn; Bosnian bs,hr,sr; Breton br; Burmese my; Catalan ca; Chinese zh,wuu,yue; Croatian
hr,bs,sr; Czech cs; Danish da; Dutch nl; English en; Esperanto eo; Estonian et; Filipino tl; Finnish fi; French
fr; Galician gl; Georgian ka; German de; Greek el; Gujarati gu; Hausa ha; Hebrew he; Hindi hi; Hungarian hu;
Icelandic is; Indonesian id,ms; Irish ga; Italian it; Japanese ja; Javanese jv; Kannada kn; Kazakh kk; Khmer km;
Korean ko; Kyrgyz ky; Lao lo; Latin la; Latvian lv,ltg; Lithuanian lt; Macedonian mk; Malagasy mg; Malay ms,id;
Malayalam ml; Marathi mr; Mongolian mn; Nepali ne; Norwegian no,nn,da; Oriya or; Oromo om; Pashto ps; Persian fa;
Polish pl; Portuguese pt; Punjabi pa; Romanian ro; Russian ru; Sanskrit sa; Scottish Gaelic gd; Serbian sr,hr,bs;
Sinhala si; Slovak sk; Slovenian sl; Somali so; Spanish es; Swahili sw; Swedish sv; Tamil ta; Telugu te; Thai th;
Turkish tr; Ukrainian uk; Urdu ur; Uyghur ug; Uzbek uz,uzs; Vietnamese vi; Welsh cy; Western Frisian fy; Xhosa xh
"""
LANGUAGES = {
    name: tuple(codes.split(","))
    for name, codes in (entry.rsplit(" ", 1) for entry in " ".join(_KNOWN.split()).split("; "))
}
_READ = 400  # characters that the language detector looks at
_DENSE = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


def reject(
    triplet: Triplet, cleaning: CleaningParams, slots: Mapping[str, str] | None = None
) -> tuple[str, str] | None:
    """Return (reason, evidence) of the first rule that a triplet breaks, or None when it passes all.

    ``slots`` are the values its prompt was filled with; without them the rules on length, and for bitext the one
    on language, have nothing to compare with and pass.
    """
    found = _form(triplet) or (_copies(triplet) if triplet.category != "long_short" else _labels(triplet))
    if found is None and slots:
        found = _length(triplet, slots, cleaning.length_tolerance)
    if found is None and cleaning.language:
        found = _language(triplet, cleaning, slots or {})
    return found


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
    """Return the (lowest, highest) word count that a slot asks for: "60", "5 to 15 words", "at least 10", "phrase".

    A bare number is what the paper's prompts call the minimum for a document, and answers may run to twice it.
    None when the slot says nothing about words.
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


def _length(triplet: Triplet, slots: Mapping[str, str], tolerance: float) -> tuple[str, str] | None:
    """Return (``too_short`` or ``too_long``, evidence) when a text misses its slot by more than ``tolerance``."""
    for part, slot, (low, high) in wanted(triplet.category, slots):
        count = count_words(text) if (text := getattr(triplet, part)) else None
        if count is not None and not low * (1 - tolerance) - 1 <= count <= high * (1 + tolerance) + 1:
            return ("too_short" if count < low else "too_long"), f"{part}: {count} words for {slot} {slots[slot]!r}"
    return None


def _language(triplet: Triplet, cleaning: CleaningParams, slots: Mapping[str, str]) -> tuple[str, str] | None:
    source, _, target = slots.get("language", triplet.language).partition(" -> ")  # bitext reads "source -> target"
    source, target = slots.get("src_lang", source), slots.get("tgt_lang", target or source)
    for part, language in {"query": source, "positive": target, "negative": target}.items():
        text = getattr(triplet, part)
        seen = wrong_language(text, language, cleaning.language_min_chars, cleaning.language_margin)
        if seen:
            return "wrong_language", f"{part}: asked for {language}, reads like {seen!r}: {text[:60]}"
    return None


def judgeable(text: str, min_chars: int = 60) -> bool:
    """Is a text long enough to be judged? A Chinese, Japanese, Korean, Thai or Lao character counts as three."""
    return len(text) >= min_chars or len(text) + 2 * len(_DENSE.findall(text)) >= min_chars


def detect(text: str) -> str:
    """Return the code of the most likely language of a text (py3langid: 139 languages, 4 MB, 0.2 ms a text).

    Measured on the 1,935 bundled texts of at least 50 characters with a margin of 0.1: 1 rejected although in the
    right language (a line of SQL), and 0.03 % passed when asked for another of the 13 languages. lingua in its low
    accuracy mode rejected six times as many and took ten times as long.
    """
    from py3langid import classify

    return classify(text[:_READ])[0]


def wrong_language(text: str, language: str, min_chars: int = 60, margin: float = 0.1) -> str | None:
    """Return the code of the language a text is in when it is clearly not in ``language``, else None.

    "Clearly": the best language leads the asked one by more than ``margin`` of log-probability per character.
    Texts shorter than ``min_chars`` and languages the detector does not know are never judged.
    """
    codes = LANGUAGES.get(language, ())
    if not codes or not judgeable(text, min_chars) or (best := detect(text)) in codes:
        return None
    from py3langid import rank

    scores = dict(rank(text[:_READ]))
    lead = scores[best] - max(scores[code] for code in codes)
    return best if lead / min(len(text), _READ) > margin else None
