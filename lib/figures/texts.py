"""What notebooks show as text: tables to be read, a card per category, and what becomes of corrupted answers.

Tables are aligned in the cells themselves, as Jupyter drops style sheets until a cell is run.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pandas as pd
from pandas.api.types import is_numeric_dtype

from lib.common.design import LABELS
from lib.generate.generate import ask
from lib.generate.parsing import Parsed, parse_response, read_answer

if TYPE_CHECKING:
    from IPython.display import HTML

    from lib.params.params import Params

LOOK = 12  # answers asked for before one is chosen to be shown
_STYLE = "border:1px solid #ccc;border-radius:6px;padding:6px 10px;margin:2px 0;white-space:pre-wrap;text-align:left"


def signed(value: float) -> str:
    """Return a number with its sign and one digit, with a true minus."""
    return f"{value:+.1f}".replace("-", "−")


def reading(table: pd.DataFrame, formats: Mapping[str, Callable | str] | None = None) -> HTML:
    """Return a table to be read: texts on the left, whole, numbers on the right; ``formats`` are per column."""
    from IPython.display import HTML

    sides = ["right" if is_numeric_dtype(table[column]) else "left" for column in table]
    shown = {column: [str(column)] for column in table}
    for column in table:
        how = (formats or {}).get(column, str)
        shown[column] += [how.format(value) if isinstance(how, str) else how(value) for value in table[column]]
    text = ""
    for i, line in enumerate(zip(*shown.values(), strict=True)):
        tag = "td" if i else "th"
        cells = [f"<{tag} style='text-align:{side};vertical-align:top'>" for side in sides]
        cells = [f"{cell}{html.escape(value)}</{tag}>" for cell, value in zip(cells, line, strict=True)]
        text += f"<tr>{''.join(cells)}</tr>"
    return HTML(f"<table>{text}</table>")


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


def corrupted_answers() -> pd.DataFrame:
    """Return what the parser makes of one short-short answer corrupted in many ways: columns way, answer, result."""
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
    results, sound = [], parse_response("short_short", text)
    for answer in ways.values():
        parsed = parse_response("short_short", answer)
        taken = "taken" if parsed == sound else "taken, but changed"
        results.append(taken if isinstance(parsed, Parsed) else f"rejected: {parsed.reason}")
    return pd.DataFrame({"way": list(ways), "answer": list(ways.values()), "result": results})
