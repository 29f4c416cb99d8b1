"""What is said and how: names, order and colours of categories and types, effects in words, tables to be read."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from lib.common.design import CODES, LABELS, minus
from lib.generate.generate import ask
from lib.generate.parsing import Parsed, parse_response, read_answer
from lib.influence.tables import OVERALL
from lib.params.model import InfluenceParams
from lib.params.params import Params

# Okabe and Ito's palette, told apart by readers with any of the common colour vision deficiencies.
CATEGORY_COLOURS = {"ss": "#E69F00", "sl": "#0072B2", "ls": "#009E73", "ll": "#CC79A7", "sts": "#56B4E9"}
CATEGORY_COLOURS |= {"bt": "#D55E00", "public": "#000000"}
CATEGORY_NAMES = {CODES[name]: label for name, label in LABELS.items()}
CATEGORY_NAMES |= {"sts": "STS data", "bt": "bitext data", "public": "public data"}
OWN_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#8A7500")
# MTEB's order of task types; a type that MTEB does not know comes after these, in alphabetical order.
TYPES = tuple("Classification Clustering PairClassification Reranking Retrieval STS Summarization BitextMining".split())
TYPE_NAMES = {"PairClassification": "Pair classif.", "BitextMining": "Bitext mining"}
CORRECTIONS = {"bh": "Benjamini-Hochberg", "holm": "Holm"}

BESIDE = {1: " beside public data", 0: " without public data"}
PLAIN = {"border": 0, "na_rep": "", "classes": "wide", "index_names": False}  # for pandas' to_html
_STYLE = "border:1px solid #ccc;border-radius:6px;padding:6px 10px;margin:2px 0;white-space:pre-wrap;text-align:left"


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """The rows on task types and, with the type OVERALL, on all sets together."""
    table = table[table["level"] != "task"]
    return table.assign(type=table["type"].where(table["level"] == "type", OVERALL))


def order_types(types: Iterable[str]) -> list[str]:
    """Task types in MTEB's order, unknown ones after them by name, all sets together last."""
    present = set(types)
    unknown = sorted(present - {*TYPES, OVERALL})
    return [*(name for name in TYPES if name in present), *unknown, *(present & {OVERALL})]


def by_type(table: pd.DataFrame, then: str, ascending: bool = True) -> pd.DataFrame:
    """The rows sorted by type in MTEB's order, then by a column; rows that tie stay as they are."""
    order = order_types(table["type"])
    table = table.sort_values(then, ascending=ascending, kind="stable")
    return table.sort_values("type", key=lambda kinds: kinds.map(order.index), kind="stable", ignore_index=True)


def type_name(task_type: str) -> str:
    """Short label of a task type for an axis."""
    return TYPE_NAMES.get(task_type, task_type)


def category_name(code: str) -> str:
    """`sl` -> `short-long`, `sl:ll` -> `short-long × long-long`; unknown codes as they are."""
    return " × ".join(CATEGORY_NAMES.get(part, part) for part in code.split(":"))


def certain(settings: InfluenceParams) -> str:
    """What a mark stands for: `Benjamini-Hochberg p < 0.05`."""
    return f"{CORRECTIONS[settings.correction]} p < {settings.alpha:g}"


def defined(codes: Iterable[str]) -> str:
    """The abbreviations among the codes, spelled out: `ss short-short, sl short-long`."""
    return ", ".join(f"{code} {category_name(code)}" for code in codes if category_name(code) != code)


def order_factors(codes: Iterable[str]) -> list[str]:
    """Categories in the design's order (ss, sl, ls, ll, sts, bt), others after them by name."""
    present = set(codes)
    return [c for c in CODES.values() if c in present] + sorted(present - set(CODES.values()))


def palette(codes: Iterable[str]) -> dict[str, str]:
    """A colour per category: the kit's own for its categories, others the palette's remaining ones in their order."""
    codes = order_factors(codes)  # the same colours whatever order a figure has them in
    taken = {code: CATEGORY_COLOURS[code] for code in codes if code in CATEGORY_COLOURS}
    free = [shade for shade in OWN_COLOURS if shade not in taken.values()]
    import seaborn as sns

    free += sns.husl_palette(max(1, len(codes) - len(free)), l=0.5).as_hex()
    return taken | dict(zip((code for code in codes if code not in taken), free, strict=False))


def read_effects(folder: Path) -> pd.DataFrame | None:
    """Return the effects among the figures of a folder, on task types and on all sets together; None without any."""
    path = next((p for name in ("influence", "alone") if (p := folder / f"{name}.csv").is_file()), None)
    table = pd.DataFrame() if path is None else pd.read_csv(path, keep_default_na=False, na_values="")
    if not {"factor", "type", "effect", "se"} <= set(table):
        return None
    table = table[table["level"] != "task"] if "level" in table else table
    return table.assign(type=table["type"].fillna(OVERALL).replace(OVERALL, "all sets together"))


def headline(effects: pd.DataFrame | None, settings: InfluenceParams, most: int = 4) -> str:
    """The sentence above everything: which effects are told from noise, with their errors, in points."""
    if effects is None:
        return "There are no effects of categories to tell of here; see the claims, and what is missing."
    p = effects[f"p_{settings.correction}"]
    if p.isna().all():
        return "No noise is measured in these runs, so no effect can be told from it; more seeds would measure it."
    marked = effects[p < settings.alpha].sort_values("effect", key=abs, ascending=False)
    cells = []
    for _, row in marked.head(most).iterrows():
        what = category_name(row["factor"]) + BESIDE.get(row.get("public"), "")
        cells.append(f"{what} on {row['type']} {minus(row['effect'], 1)} ± {row['se']:.1f} points")
        if pd.notna(row.get("second")):
            cells[-1] += f" (second study {minus(row['second'], 1)} ± {row['second_se']:.1f})"
    told = f"Of {len(effects)} effects {len(marked) or 'none'} can be told from the noise between runs"
    more = f"; and {len(marked) - most} smaller ones" if len(marked) > most else ""
    return f"{told}, corrected for all{': ' if cells else ''}{'; '.join(cells)}{more}."


def effect_table(effects: pd.DataFrame, settings: InfluenceParams) -> pd.DataFrame:
    """Return the effects as text, a row per type, a column per category: ``+1.30 ± 0.34*`` (points, error, marked)."""
    marked = effects[f"p_{settings.correction}"] < settings.alpha
    rows = zip(effects["effect"], effects["se"], marked, strict=True)
    texts = [minus(e, 2) + (f" ± {se:.2f}" if se >= 0 else "") + "*" * bool(mark) for e, se, mark in rows]
    where = effects["type"] + (effects["public"].map(BESIDE) if "public" in effects else "")
    wide = effects.assign(text=texts, where=where).pivot(index="where", columns="factor", values="text")
    wide = wide.reindex(index=where.unique(), columns=effects["factor"].unique()).rename(columns=category_name)
    return wide.rename_axis(index=None, columns=None)


def reading(table: pd.DataFrame, formats: Mapping[str, str] | None = None):
    """IPython's HTML of a table to be read: texts on the left, whole, numbers on the right; ``formats`` are per column.

    It is aligned in the cells themselves, as Jupyter drops style sheets until a cell is run.
    """
    from IPython.display import HTML

    sides = ["right" if is_numeric_dtype(table[column]) else "left" for column in table]
    shown = {column: [str(column), *map(str, table[column])] for column in table}
    for column, how in (formats or {}).items():
        shown[column][1:] = [how.format(value).replace("-", "−") for value in table[column]]
    lines = []
    for tag, line in zip(["th", *["td"] * len(table)], zip(*shown.values(), strict=True), strict=True):
        cells = (
            f"<{tag} style='text-align:{side};vertical-align:top'>{html.escape(value)}</{tag}>"
            for side, value in zip(sides, line, strict=True)
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return HTML(f"<table>{''.join(lines)}</table>")


def card(params: Params, category: str) -> str:
    """Return HTML that shows one answer of a category: slots, prompt, answer as it came, triplet or rejection.

    Shows the first answer that is not bare JSON, since those are the ones to learn from, else the first.
    """
    rows = ask(params, category, min(12, params.generation.n.get(category) or 12), progress=False)
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
