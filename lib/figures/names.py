"""What is what on the figures: names, order and colour of categories and task types, and effects in words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import seaborn as sns

from lib.common.design import CODES, LABELS, minus
from lib.influence.tables import OVERALL
from lib.params.model import InfluenceParams

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
HTML = {"border": 0, "na_rep": "", "classes": "wide", "index_names": False}  # for pandas' to_html


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
    """`sl` -> `short-long`; a term of two, `sl:ll` -> `short-long x long-long`; unknown codes as they are."""
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
    others = [code for code in codes if code not in taken]
    if len(others) > len(free):
        free += sns.husl_palette(len(others) - len(free), l=0.5).as_hex()
    return taken | dict(zip(others, free, strict=False))


def read_effects(folder: Path) -> pd.DataFrame | None:
    """Return the effects among the figures of a folder, on task types and on all sets together; None without any."""
    path = next((p for name in ("influence", "alone") if (p := folder / f"{name}.csv").is_file()), None)
    table = pd.DataFrame() if path is None else pd.read_csv(path, keep_default_na=False, na_values="")
    if not {"factor", "type", "effect", "se"} <= set(table):
        return None
    table = table[table["level"] != "task"] if "level" in table else table
    return table.assign(type=table["type"].fillna(OVERALL).replace(OVERALL, "all sets together"))


def headline(effects: pd.DataFrame | None, settings: InfluenceParams, most: int = 4) -> str:
    """Return the sentence above everything: which effects are told from noise, with their errors, in points."""
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
    told = (
        f"Of {len(effects)} effects {len(marked) or 'none'} can be told from the noise between runs, corrected for all"
    )
    more = f"; and {len(marked) - most} smaller ones" if len(marked) > most else ""
    return f"{told}{': ' if cells else ''}{'; '.join(cells)}{more}."


def effect_table(effects: pd.DataFrame, settings: InfluenceParams) -> pd.DataFrame:
    """Return the effects as text, a row per type, a column per category: ``+1.30 ± 0.34*`` (points, error, marked)."""
    marked = effects[f"p_{settings.correction}"] < settings.alpha
    rows = zip(effects["effect"], effects["se"], marked, strict=True)
    texts = [minus(e, 2) + (f" ± {se:.2f}" if se >= 0 else "") + "*" * bool(mark) for e, se, mark in rows]
    where = effects["type"] + (effects["public"].map(BESIDE) if "public" in effects else "")
    wide = effects.assign(text=texts, where=where).pivot(index="where", columns="factor", values="text")
    wide = wide.reindex(index=where.unique(), columns=effects["factor"].unique()).rename(columns=category_name)
    return wide.rename_axis(index=None, columns=None)
