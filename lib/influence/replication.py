"""Two studies side by side: which effects of the first one come back in a second one with fresh runs.

A mark in one study says that its noise alone would rarely give such an effect; it is the second study that shows it.
``compare`` puts the two beside each other, cell by cell; ``agreement`` and ``sentences`` say in numbers and in words
what came back, and what would have come back by chance.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.influence import Analysis, analyse

KEYS = ["level", "task", "type", "factor"]
LEVEL_NAMES = {"type": "task types", "task": "evaluation sets", "overall": "all sets together"}
CHANCE = 0.5  # share of signs that agree when nothing is there


def compare(first: str | Path | Analysis, second: str | Path | Analysis, settings=None) -> pd.DataFrame:
    """Return one row per level x task or type x category: the effect in either study, in points.

    ``first, second``: results tables (or their analyses) of two studies of the same sets and categories, without a run
    in common. Columns: ``level, task, type, factor``; ``first, first_se, first_p`` and the same of ``second``;
    ``difference`` (second minus first), ``marked_first`` (significant after correction in the first), ``same_sign``,
    and ``returned`` (same sign and p < alpha in the second, uncorrected, since the first has named the cell).
    Raises KitError for studies that cannot be compared.
    """
    one, two = (part if isinstance(part, Analysis) else analyse(part, settings) for part in (first, second))
    _check(one, two)
    alpha = one.settings.alpha
    columns = [*KEYS, "effect", "se", "p"]
    left = one.effects[[*columns, one.corrected]].rename(columns={"effect": "first", "se": "first_se", "p": "first_p"})
    right = two.effects[columns].rename(columns={"effect": "second", "se": "second_se", "p": "second_p"})
    for part in (left, right):
        part[["task", "type"]] = part[["task", "type"]].fillna("")
    table = left.merge(right, on=KEYS, validate="one_to_one")
    table["difference"] = table["second"] - table["first"]
    table["marked_first"] = table.pop(one.corrected) < alpha
    table["same_sign"] = np.sign(table["first"]) == np.sign(table["second"])
    table["returned"] = table["same_sign"] & (table["second_p"] < alpha)
    table.attrs = {"alpha": alpha, "unit": "points"}
    return table


def _check(one: Analysis, two: Analysis) -> None:
    """Refuse two studies whose cells are not the same, or that share runs."""
    for what, left, right in (
        ("evaluation sets", one.study.tasks, two.study.tasks),
        ("categories", one.study.factors, two.study.factors),
    ):
        if other := sorted(set(left) ^ set(right)):
            where = f"{other[0]} is in one of them only"
            raise KitError(f"the two studies have other {what} ({where}); compare studies of one profile")
    keys = ["subset", "seed", *one.study.factors]
    scores = [pd.concat([part.study.runs[keys], pd.DataFrame(part.study.y)], axis=1) for part in (one, two)]
    shared = scores[0].merge(scores[1], how="inner")
    if len(shared):
        name, seed = shared.iloc[0][["subset", "seed"]]
        raise KitError(f"run {name} seed {seed} is in both studies; a second study needs fresh seeds")


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per level: how well the second study agrees with the first.

    ``n`` cells; ``r`` (Pearson) with ``r_low, r_high`` (95 %, Fisher; cells share runs, so it is rough), ``spearman``;
    ``reliability`` of both studies taken together (Spearman-Brown of r); ``slope`` of the second on the first through
    zero: what is left of one point; ``marked`` cells, those with the ``same_sign``, those ``returned``, the
    ``slope_marked`` of those, and ``by_chance``: returns expected if nothing were there.
    """
    rows = []
    for level, part in table.groupby("level", sort=False):
        part = part.dropna(subset=["first", "second"])
        marked = part[part["marked_first"]]
        r = float(part["first"].corr(part["second"])) if len(part) > 2 else np.nan
        half = 1.96 / np.sqrt(max(len(part) - 3, 1))
        low, high = np.tanh(np.arctanh(np.clip(r, -0.9999, 0.9999)) + np.array([-half, half]))
        row = {"level": level, "n": len(part), "r": r, "r_low": float(low), "r_high": float(high)}
        row["spearman"] = float(part["first"].corr(part["second"], "spearman")) if len(part) > 2 else np.nan
        row["reliability"] = 2 * r / (1 + r) if r > 0 else 0.0 if r <= 0 else np.nan
        row |= {"slope": slope(part), "marked": len(marked), "same_sign": int(marked["same_sign"].sum())}
        row |= {"returned": int(marked["returned"].sum()), "slope_marked": slope(marked)}
        rows.append(row | {"by_chance": CHANCE * table.attrs.get("alpha", 0.05) * len(marked)})
    return pd.DataFrame(rows)


def ceilings(first: Analysis, second: Analysis) -> dict[str, float]:
    """Return per level the largest correlation that two studies of the same truth can be expected to have.

    sqrt(reliability of one x reliability of the other) (Spearman 1904), each estimated from the study's own errors; NaN
    where a study has too few cells. What two kinds of model agree on is to be read against it.
    """
    each = [part.reliability.query("factor == ''").set_index("level")["reliability"] for part in (first, second)]
    return {level: float(np.sqrt(each[0][level] * each[1][level])) for level in each[0].index if level in each[1]}


def slope(part: pd.DataFrame) -> float:
    """What is left of one point: least squares of the second on the first through zero, NaN without cells.

    Through zero, as no effect comes back as no effect.
    """
    square = float((part["first"] ** 2).sum())
    return float((part["first"] * part["second"]).sum()) / square if square > 0 else np.nan


def sentences(table: pd.DataFrame) -> list[str]:
    """Say in words what came back: per level the agreement, and each marked cell of types and of all sets."""
    alpha, lines = table.attrs.get("alpha", 0.05), []
    for row in agreement(table).itertuples():
        text = f"{LEVEL_NAMES[row.level]}: {row.marked} of {row.n} effects marked in the first study"
        if row.marked:
            text += f"; {row.same_sign} came back with the same sign, {row.returned} at p < {alpha:g} "
            text += f"(chance alone: {row.by_chance:.1f}), at {row.slope_marked:.2f} of their size"
        lines.append(f"{text}.")
        if row.n > 4:
            text = f"  all {row.n}: correlation {row.r:.2f} ({row.r_low:.2f} to {row.r_high:.2f}), rank correlation "
            text += f"{row.spearman:.2f}; 1 point came back as {row.slope:.2f}; reliability of both studies together "
            lines.append(f"{text}{row.reliability:.2f}.")
    for row in table[table["marked_first"] & (table["level"] != "task")].itertuples():
        back = "came back" if row.returned else "same sign" if row.same_sign else "did not come back"
        text = f"  {row.factor} on {row.type or 'all sets'}: {row.first:+.2f} ± {row.first_se:.2f}, then "
        lines.append(f"{text}{row.second:+.2f} ± {row.second_se:.2f} (p {row.second_p:.3f}): {back}.")
    return lines
