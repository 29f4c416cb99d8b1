"""What a table of effects says: in one sentence, and as a table of text."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lib.common.display import minus
from lib.figures.base import category_name
from lib.influence.tables import OVERALL
from lib.params.params import InfluenceParams

BESIDE = {1: " beside public data", 0: " without public data"}
HTML = {"border": 0, "na_rep": "", "classes": "wide", "index_names": False}  # for pandas' to_html


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
    told = (
        f"Of {len(effects)} effects {len(marked) or 'none'} can be told from the noise between runs, corrected for all"
    )
    cells = "; ".join(_cell(row) for _, row in marked.head(most).iterrows())
    more = f"; and {len(marked) - most} smaller ones" if len(marked) > most else ""
    return f"{told}{': ' if cells else ''}{cells}{more}."


def _cell(row: pd.Series) -> str:
    """``long-short on Reranking +1.3 ± 0.3 points (second study +1.4 ± 0.4)``."""
    what = category_name(row["factor"]) + BESIDE.get(row.get("public"), "")
    text, again = f"{what} on {row['type']} {minus(row['effect'], 1)} ± {row['se']:.1f} points", row.get("second")
    return text if pd.isna(again) else f"{text} (second study {minus(again, 1)} ± {row['second_se']:.1f})"


def effect_table(effects: pd.DataFrame, settings: InfluenceParams) -> pd.DataFrame:
    """Return the effects as text, a row per type, a column per category: ``+1.30 ± 0.34*`` (points, error, marked)."""
    marked = effects[f"p_{settings.correction}"] < settings.alpha
    rows = zip(effects["effect"], effects["se"], marked, strict=True)
    texts = [minus(e, 2) + (f" ± {se:.2f}" if se >= 0 else "") + "*" * bool(mark) for e, se, mark in rows]
    where = effects["type"] + (effects["public"].map(BESIDE) if "public" in effects else "")
    wide = effects.assign(text=texts, where=where).pivot(index="where", columns="factor", values="text")
    wide = wide.reindex(index=where.unique(), columns=effects["factor"].unique()).rename(columns=category_name)
    return wide.rename_axis(index=None, columns=None)
