"""Influence: from a table of scores to what each category did to each task, and how much of it came back.

``analyse`` reads a results table once and gives everything that the figures, the claims and the printed tables need,
with the sentences that must stand beside the numbers. A mark in one study says that its noise alone would rarely give
such an effect; it is a second study, with fresh runs, that shows it: ``compare`` puts the two beside each other, cell
by cell. Scores go in from 0 to 1; effects come out in points. Neither torch nor mteb is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common import bundled
from lib.common.design import BASE
from lib.common.files import KitError
from lib.influence.designs import interaction_block, interactions
from lib.influence.effects import across_tasks, effects
from lib.influence.power import noise, seeds_buy
from lib.influence.regression import main_effects
from lib.influence.scores import Study, read, study
from lib.influence.tables import outcomes
from lib.params.model import InfluenceParams

KEYS = ["level", "task", "type", "factor"]
NAMES = ["first", "first_se", "first_p", "second", "second_se", "second_p"]
LEVEL_NAMES = {"type": "task types", "task": "evaluation sets", "overall": "all sets together"}


@dataclass(frozen=True)
class Analysis:
    """Estimates of one study. Effects, errors and intervals in points, scores in `tidy` from 0 to 1."""

    study: Study
    settings: InfluenceParams
    effects: pd.DataFrame  # levels task, type, overall: inference across runs
    across: pd.DataFrame  # by type, and overall with type "": inference across runs and datasets
    interactions: pd.DataFrame
    draws: str | Path | pd.DataFrame | None = None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def block(self) -> pd.DataFrame:
        """F-tests of all interactions together."""
        return interaction_block(self.study)

    @cached_property
    def noise(self) -> pd.DataFrame:
        """Noise floor per task."""
        return noise(self.study, self.draws, self.settings.alpha, self.settings.power)

    @cached_property
    def seeds_buy(self) -> pd.DataFrame:
        """What more seeds would show, for one task and for one type."""
        return seeds_buy(self.study, self.settings.seeds_considered, self.settings.alpha, self.settings.power)

    @cached_property
    def reliability(self) -> pd.DataFrame:
        """How much of the effects would come back, per level and category."""
        return reliability(self.study, self.effects)

    @property
    def corrected(self) -> str:
        """Name of the corrected p that decides the marks: p_bh or p_holm."""
        return f"p_{self.settings.correction}"

    @cached_property
    def tidy(self) -> pd.DataFrame:
        """The study as rows again: subset, public, factors, seed, task, type, score; the untrained base is "base"."""
        data = self.study
        wide = data.runs.join(pd.DataFrame(data.y, columns=list(data.tasks)))
        rows = wide.melt(id_vars=list(data.runs.columns), var_name="task", value_name="score").dropna(subset=["score"])
        if data.base:
            base = pd.DataFrame(data.base.items(), columns=["task", "score"]).query("task in @data.tasks")
            base = base.assign(subset=BASE, seed=0, **dict.fromkeys(data.factors, 0))
            rows = pd.concat([rows, base], ignore_index=True)
        rows["type"] = rows["task"].map(dict(zip(data.tasks, data.types, strict=True)))
        if "public" not in rows:
            rows["public"] = (rows["subset"] != BASE).astype(int)
        return rows.reset_index(drop=True)


def analyse(results: str | Path | pd.DataFrame, settings: InfluenceParams | None = None, draws=None) -> Analysis:
    """Return the `Analysis` of a results table (path or DataFrame); `draws` is a table of scores per draw or its path.

    Tasks in `settings.exclude` take no part. Raises KitError for a table that cannot be used.
    """
    settings = settings or InfluenceParams()
    table, notes = without_excluded(read(results), settings.exclude)
    data = study(table, settings.nan)
    across = across_tasks(data, settings.alpha)
    main = effects(data, "all", settings.normalize, settings.terms, settings.alpha, draws)
    pairs = interactions(data, settings.alpha)
    notes += [*main.attrs["notes"], *across.attrs["notes"]]
    notes += [f"Interactions: {note}" for note in pairs.attrs["notes"] if note not in notes]
    return Analysis(data, settings, main, across, pairs, draws, list(dict.fromkeys(notes)))


def published() -> pd.DataFrame:
    """The scores of Wang et al. (2024), Table 17, as a results table: one run without and one with synthetic data."""
    scores = bundled.reference("published_mteb_scores")
    rows = scores[["task", "type"]].assign(seed=0)
    without = rows.assign(subset="public", synthetic=0, score=scores["wang2024_without_synthetic"] / 100)
    whole = rows.assign(subset="public+synthetic", synthetic=1, score=scores["wang2024_full"] / 100)
    return pd.concat([without, whole], ignore_index=True)


def reliability(scores, effects: pd.DataFrame) -> pd.DataFrame:
    """Return ``level, factor, reliability, shrinkage, n, split_half``: one row per level and category, "" for all.

    ``reliability``, about the correlation with a repetition of the study: 1 - mean(se^2) / variance of the estimates,
    at least 0, NaN for fewer than three cells; ``shrinkage``: mean factor by which the ``n`` effects are to be shrunk;
    ``split_half``: correlation of the effects of one half of the seeds with those of the other, stepped up to all seeds
    (Spearman-Brown), NaN with one seed.
    """
    data, rows = study(scores), []
    for level, part in effects.groupby("level", sort=False):
        y, halves = outcomes(data, level).y, [data.parity == half for half in (0, 1)]
        a, b = (main_effects(data.only(runs), y[runs]).effect if runs.any() else None for runs in halves)
        for place, factor in enumerate(("", *data.factors)):
            own = part if factor == "" else part[part["factor"] == factor]
            own = own[own["se"].notna() & own["effect"].notna()]
            variance = own["effect"].var(ddof=1) if len(own) > 2 else np.nan
            share = max(1 - (own["se"] ** 2).mean() / variance, 0.0) if variance > 0 else np.nan
            which = slice(None) if factor == "" else place - 1
            # the correlation of the pairs without a gap
            r = np.nan if b is None else pd.Series(a[which].ravel()).corr(pd.Series(b[which].ravel()), min_periods=3)
            half = 2 * r / (1 + r) if r > -1 else np.nan
            rows.append((level, factor, share, own["reliability"].mean(), len(own), half))
    return pd.DataFrame(rows, columns=["level", "factor", "reliability", "shrinkage", "n", "split_half"])


def without_excluded(table: pd.DataFrame, exclude: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return a table without the excluded tasks, and a sentence that says so, if any. KitError when nothing is left."""
    tasks = table["task"].astype(str).str.strip() if "task" in table else pd.Series("", table.index)
    found = [name for name in dict.fromkeys(exclude) if (tasks == name).any()]
    kept = table[~tasks.isin(found)]
    if found and kept.empty:
        raise KitError(f"every task of the table is in influence.exclude ({', '.join(found)}); take one out of it")
    from lib.score.suites import DISTRUSTED

    named = [f"{name} (its score {DISTRUSTED[name]})" if name in DISTRUSTED else name for name in found]
    count = "1 task takes" if len(found) == 1 else f"{len(found)} tasks take"
    said = f"{count} no part in the influence, as influence.exclude says: {', '.join(named)}."
    return kept, [said] if found else []


def compare(first: Analysis, second: Analysis) -> pd.DataFrame:
    """Return one row per level x task or type x category: the effect in two studies without a run in common, in points.

    Columns: KEYS, NAMES, ``difference`` (second minus first), ``marked_first`` (significant after correction),
    ``same_sign``, ``returned`` (same sign and p < alpha in the second, uncorrected, since the first has named the
    cell). KitError for studies of other sets or categories, or that share runs.
    """
    one, two = ({*part.study.tasks, *part.study.factors} for part in (first, second))
    if other := one ^ two:
        raise KitError(f"{min(other)} is in one of the two studies only; compare studies of one profile")
    runs = ["subset", "seed", *first.study.factors]
    scores = [pd.concat([part.study.runs[runs], pd.DataFrame(part.study.y)], axis=1) for part in (first, second)]
    if len(shared := scores[0].merge(scores[1], how="inner")):
        name, seed = shared.iloc[0][["subset", "seed"]]
        raise KitError(f"run {name} seed {seed} is in both studies; a second study needs fresh seeds")
    alpha, measured = first.settings.alpha, ["effect", "se", "p"]
    left = first.effects[[*KEYS, *measured, first.corrected]].set_axis([*KEYS, *NAMES[:3], "corrected"], axis=1)
    right = second.effects[[*KEYS, *measured]].set_axis([*KEYS, *NAMES[3:]], axis=1)
    table = left.merge(right, on=KEYS, validate="one_to_one")
    table["difference"] = table["second"] - table["first"]
    table["marked_first"] = table.pop("corrected") < alpha
    table["same_sign"] = np.sign(table["first"]) == np.sign(table["second"])
    table["returned"] = table["same_sign"] & (table["second_p"] < alpha)
    table.attrs = {"alpha": alpha}
    return table


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per level: how well the second study agrees with the first.

    ``n`` cells; ``r`` with ``r_low, r_high`` (95 %, Fisher; cells share runs, so it is rough), ``spearman``;
    ``reliability`` of both studies together (Spearman-Brown of r); ``slope`` through zero: what is left of one point;
    ``marked`` cells, those with the ``same_sign``, those ``returned``, the ``slope_marked`` of those, and
    ``by_chance``: returns expected if nothing were there.
    """
    rows = []
    for level, part in table.groupby("level", sort=False):
        part = part.dropna(subset=["first", "second"])
        marked, enough = part[part["marked_first"]], len(part) > 2
        r, rank = (part["first"].corr(part["second"], how) if enough else np.nan for how in ("pearson", "spearman"))
        half = 1.96 / np.sqrt(max(len(part) - 3, 1))
        low, high = np.tanh(np.arctanh(np.clip(r, -0.9999, 0.9999)) + np.array([-half, half]))
        row = {"level": level, "n": len(part), "r": r, "r_low": low, "r_high": high, "spearman": rank}
        row["reliability"] = 2 * r / (1 + r) if r > 0 else 0.0 if r <= 0 else np.nan
        row |= {"slope": slope(part), "marked": len(marked), "same_sign": marked["same_sign"].sum()}
        row |= {"returned": marked["returned"].sum(), "slope_marked": slope(marked)}
        rows.append(row | {"by_chance": 0.5 * table.attrs.get("alpha", 0.05) * len(marked)})  # of both signs one agrees
    return pd.DataFrame(rows)


def ceilings(first: Analysis, second: Analysis) -> dict[str, float]:
    """Return per level the largest correlation that two studies of the same truth can be expected to have.

    sqrt(reliability of one x reliability of the other) (Spearman 1904); NaN where a study has too few cells.
    """
    each = [part.reliability.query("factor == ''").set_index("level")["reliability"] for part in (first, second)]
    return np.sqrt(each[0] * each[1]).to_dict()


def slope(part: pd.DataFrame) -> float:
    """What is left of one point: least squares of the second on the first through zero, NaN without cells."""
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
