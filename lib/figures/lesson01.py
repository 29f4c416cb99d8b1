"""What notebook 01 shows: one card per category, a table of spoilt answers, and where the answers went."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lib.common.design import CODES, LABELS
from lib.generate.generate import ask
from lib.generate.parsing import Parsed, parse_response, read_answer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lib.params.params import Params

LOOK = 12  # answers asked for before one is chosen to be shown
_STYLE = "border:1px solid #ccc;border-radius:6px;padding:6px 10px;margin:2px 0;white-space:pre-wrap;text-align:left"


def card(params: Params, category: str) -> str:
    """Return HTML that shows one answer of a category: slots, prompt, answer as it came, triplet or rejection.

    Shows the first answer that is not bare JSON, since those are the ones to learn from, else the first.
    """
    rows = ask(params, category, min(LOOK, params.generation.n.get(category) or LOOK), progress=False)
    row = next((row for row in rows if not row["response"].lstrip().startswith("{")), rows[0])
    slots = "".join(f"<b>{html.escape(name)}</b>: {html.escape(value)}<br>" for name, value in row["slots"].items())
    answer = read_answer(category, row)
    if isinstance(answer, Parsed):
        parts = {"query": answer.query, "positive": answer.positive, "negative": answer.negative or "to be mined"}
        result = "".join(f"<div><b>{name}</b>: {html.escape(text)}</div>" for name, text in parts.items())
    else:
        result = f"<b>rejected</b>: {answer.reason} ({html.escape(answer.detail)})"
    return (
        f"<h4>{LABELS[category]} <small>({row['id']})</small></h4><div style='{_STYLE}'>{slots}</div>"
        f"<details><summary>the prompt as rendered</summary><div style='{_STYLE}'>{html.escape(row['prompt'])}</div>"
        f"</details><div style='{_STYLE};font-family:monospace;font-size:90%;background:#fafafa'>"
        f"{html.escape(row['response'])}</div>"
        f"<div style='{_STYLE};background:#eef6ee'>{result}</div>"
    )


def spoilt_answers() -> pd.DataFrame:
    """Return what the parser makes of one short-short answer spoilt in many ways: columns way, answer, result."""
    import pandas as pd

    good = {"input": "to dawdle (verb)", "positive_document": 'to be slow, to "take one\'s time"'}
    text = json.dumps(good)
    ways = {
        "as it should be": text,
        "chatter and fences": f"Sure, here it is!\n```json\n{text}\n```\nAnything else?",
        "trailing comma": text[:-1] + ",}",
        "Python quotes": str(good),
        "typographic quotes": "{" + ", ".join(f"“{k}”: “{v}”" for k, v in good.items()) + "}",
        "quotes not escaped": text.replace('\\"', '"'),
        "a raw line break": text.replace("slow,", "slow,\n"),
        "inside another object": json.dumps({"result": good}),
        "cut off": text[:-8],
        "a key is missing": text.replace("input", "query"),
        "a number, not a text": text.replace('"to dawdle (verb)"', "7"),
        "an empty text": text.replace("to dawdle (verb)", " "),
        "two different answers": text + text.replace("dawdle", "linger"),
        "a refusal": "I'm sorry, I can't help with that.",
    }
    rows = []
    for way, answer in ways.items():
        parsed = parse_response("short_short", answer)
        rows.append(
            (
                way,
                answer,
                "taken"
                if parsed == parse_response("short_short", text)
                else "taken, but changed"
                if isinstance(parsed, Parsed)
                else f"rejected: {parsed.reason}",
            )
        )
    return pd.DataFrame(rows, columns=["way", "answer", "result"])


def where_it_goes(counts: Mapping[str, Mapping], public: int) -> Figure:
    """Draw, per category, how many answers became triplets with and without a negative, and how many were lost."""
    import matplotlib.pyplot as plt

    names = [category for category in CODES if category in counts]
    lost = {
        "not readable": [sum(counts[c]["rejected"].values()) for c in names],
        "cleaned away": [sum(counts[c]["cleaned"].values()) + counts[c]["duplicates"] for c in names],
    }
    bare = [counts[c]["without_negative"] for c in names]
    parts = {
        "triplets": [counts[c]["valid"] - n for c, n in zip(names, bare, strict=True)],
        "no safe negative found": bare,
        **lost,
    }
    colours = dict(zip(parts, ("#0072B2", "#56B4E9", "#D55E00", "#E69F00"), strict=True))
    parts = {part: numbers for part, numbers in parts.items() if any(numbers)}
    figure, axis = plt.subplots(figsize=(8, 0.45 * len(names) + 1.2), layout="constrained")
    labels = [LABELS[c] for c in names]
    left = [0] * len(names)
    for part, numbers in parts.items():
        axis.barh(labels, numbers, left=left, color=colours[part], label=part)
        left = [a + b for a, b in zip(left, numbers, strict=True)]
    for place, category in enumerate(names):
        axis.text(left[place], place, f" {counts[category]['valid']} of {counts[category]['asked']}", va="center")
    axis.set_xlim(0, 1.18 * max(left))
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("answers")
    axis.set_title(
        f"{sum(counts[c]['valid'] for c in names):,} triplets; {public:,} public pairs beside them",
        loc="left",
        fontsize=10,
    )
    axis.legend(
        frameon=False, ncols=len(parts), loc="upper right", bbox_to_anchor=(1, 1.16 - 0.008 * len(names)), fontsize=8
    )
    plt.close(figure)
    return figure
