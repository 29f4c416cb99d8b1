"""Cleaning: rules on single triplets, duplicates, contamination; everything dropped is counted by its reason.

Order matters for the counts: rules first, then duplicates among what passed, then contamination among what is
left, so each triplet has one reason. The result depends on the triplets, the parameters and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lib.common.design import Triplet
from lib.common.files import KitError
from lib.generate.overlap import find, near_duplicates, words
from lib.generate.rules import reject

if TYPE_CHECKING:
    from lib.params.params import CleaningParams

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


def clean(
    triplets: Sequence[Triplet],
    cleaning: CleaningParams,
    slots: Sequence[Mapping[str, str]] | Mapping[str, Mapping[str, str]] | None = None,
    suites: Mapping[str, Iterable[str]] | None = None,
) -> tuple[list[Triplet], dict]:
    """Return the triplets that pass and a report that can be written as JSON.

    ``slots``: the slot values of each triplet's prompt, in step with ``triplets`` or keyed by their ids (None: no
    slot rules).
    ``suites``: the evaluation sets' texts, ``{set: texts}``, as ``lib.generate.sources.suite_texts()`` returns them.
    The report: ``asked``, ``kept``, ``reasons`` {reason: count}, ``rejected`` [{position, id, category, reason,
    detail}], ``contamination`` {set: {texts, texts_touched, triplets, example}}. With ``cleaning.contamination``
    "report", contaminated triplets are kept and listed under ``contaminated``.
    Raises KitError when ``slots`` is not in step.
    """
    if isinstance(slots, Mapping):
        slots = [slots.get(triplet.id, {}) for triplet in triplets]
    if slots is not None and len(slots) != len(triplets):
        raise KitError(f"{len(slots)} slot rows for {len(triplets)} triplets; give one row of slots per triplet")
    dropped: dict[int, tuple[str, str]] = {}  # position -> (reason, detail)
    if cleaning.rules:
        for position, triplet in enumerate(triplets):
            if found := reject(triplet, cleaning, slots[position] if slots else None):
                dropped[position] = found
    if cleaning.duplicates:
        dropped |= _duplicates({p: t for p, t in enumerate(triplets) if p not in dropped}, cleaning)
    sets, contaminated = {}, []
    if cleaning.contamination != "off" and suites:
        left = [position for position in range(len(triplets)) if position not in dropped]
        result = find([triplets[position] for position in left], suites, cleaning.contamination_ngram)
        sets = result.sets
        for index, names in result.hits.items():
            position, named = left[index], ", ".join(names)
            contaminated.append({"position": position, "id": triplets[position].id, "sets": named})
            if cleaning.contamination == "remove":
                dropped[position] = ("contaminated", named)
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
        "contaminated": contaminated,
    }
    return [triplet for position, triplet in enumerate(triplets) if position not in dropped], report


def _duplicates(triplets: Mapping[int, Triplet], cleaning: CleaningParams) -> dict[int, tuple[str, str]]:
    """Return {position: (reason, evidence)} of the repeats among ``triplets``, {position: triplet}.

    Two triplets with one query and one instruction would be false negatives of each other in a batch, so the
    later goes even when its positive differs. Near duplicates share most words of query and positive together.
    """

    def evidence(earlier: int, position: int) -> str:
        return f"of {triplets[earlier].id or f'row {earlier + 1}'}: {triplets[position].query[:60]}"

    dropped: dict[int, tuple[str, str]] = {}
    first: dict[tuple, int] = {}
    for position, triplet in triplets.items():
        earlier = first.setdefault((triplet.category, triplet.instruction, tuple(words(triplet.query))), position)
        if earlier != position:
            dropped[position] = ("duplicate", evidence(earlier, position))
    rest = [position for position in triplets if position not in dropped]
    texts = [f"{triplets[position].query}\n{triplets[position].positive}" for position in rest]
    twins = near_duplicates(texts, cleaning.near_duplicate, cleaning.permutations, cleaning.seed)
    for position, twin in zip(rest, twins, strict=True):
        if twin >= 0:
            dropped[position] = ("near_duplicate", evidence(rest[twin], position))
    return dropped
