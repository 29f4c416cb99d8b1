"""Reading: stored answers become triplets, and every answer that does not is counted by its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lib.common.design import CODES
from lib.common.triplets import Triplet
from lib.generate.parsing import Parsed, Rejection, parse_response
from lib.generate.prompts import instruction


def to_triplets(category: str, responses: Sequence[dict]) -> tuple[list[Triplet], Counter]:
    """Return the triplets of the answers that can be read, and how many were rejected for which reason.

    The negative is the LLM's own where the category has one, else "". Outer white space is removed.
    """
    triplets, rejected = [], Counter()
    for number, row in enumerate(responses):
        parsed = read_answer(category, row)
        if isinstance(parsed, Rejection):
            rejected[parsed.reason] += 1
            continue
        slots = row.get("slots") or {}
        triplets.append(
            Triplet(
                instruction=instruction(category, slots),
                query=parsed.query.strip(),
                positive=parsed.positive.strip(),
                negative=parsed.negative.strip(),
                category=category,
                language=slots.get("language") or _languages(slots),
                id=row.get("id") or f"{CODES[category]}-{number:06d}",
            )
        )
    return triplets, rejected


def read_answer(category: str, row: dict) -> Parsed | Rejection:
    """Parse the answer of one row; an answer the server refused to give is rejected as ``no_answer``."""
    if str(row.get("finish") or "").startswith("error"):
        return Rejection("no_answer", row["finish"])
    return parse_response(category, row["response"])


def _languages(slots: dict[str, str]) -> str:
    """Return "source -> target" for bitext, "" when no language is named."""
    return f"{slots['src_lang']} -> {slots['tgt_lang']}" if "src_lang" in slots and "tgt_lang" in slots else ""
