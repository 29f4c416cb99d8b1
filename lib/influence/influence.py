"""Influence: from a table of scores to what each category did to each task, and how much of it would replicate.

``analyse`` reads a results table once and gives everything that the figures, the claims and the printed tables need,
with the sentences that must stand beside the numbers. The estimates are in the files beside it:

    scores, factors              read and check a table
    regression, errors           least squares by statsmodels; the error of a main effect across runs
    effects, across              would these datasets move again; would others of their kind
    interactions, power          beyond main effects; what a design can show
    reliability, replication     how much would come back; what did
    tables                       levels, gains, false alarms of every test
    verdicts, claims             what the paper's claims come to here

Two questions are never mixed up: would these very datasets move again (errors across runs), and would other datasets of
this kind move (errors across runs and datasets)? Scores go in on mteb's scale, 0 to 1; effects come out in points.
Neither torch nor mteb is needed.
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
from lib.influence.across import across_tasks
from lib.influence.effects import effects
from lib.influence.interactions import interaction_block, interactions
from lib.influence.power import noise, seeds_buy
from lib.influence.reliability import reliability
from lib.influence.scores import Study, read, study
from lib.params.params import InfluenceParams


@dataclass(frozen=True)
class Analysis:
    """Estimates of one study. Effects, errors and intervals in points, scores in `tidy` from 0 to 1."""

    study: Study
    settings: InfluenceParams
    tidy: pd.DataFrame  # generator, subset, public, factors, seed, task, type, score; base rows included
    effects: pd.DataFrame  # levels task, type, overall: inference across runs
    across: pd.DataFrame  # by type, and overall with type "": inference across runs and datasets
    interactions: pd.DataFrame
    reliability: pd.DataFrame  # per level and category: how much of the effects would come back
    draws: str | Path | pd.DataFrame | None = None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def block(self) -> pd.DataFrame:
        """F-tests of all interactions together, at every level."""
        return interaction_block(self.study, "all")

    @cached_property
    def noise(self) -> pd.DataFrame:
        """Noise floor per task."""
        return noise(self.study, self.draws, self.settings.alpha, self.settings.power)

    @cached_property
    def seeds_buy(self) -> pd.DataFrame:
        """What more seeds would show, for one task and for one type."""
        options = self.settings.seeds_considered, self.settings.alpha, self.settings.power
        return pd.concat([seeds_buy(self.study, level, *options) for level in ("task", "type")], ignore_index=True)

    @property
    def corrected(self) -> str:
        """Name of the corrected p that decides the marks: p_bh or p_holm."""
        return f"p_{self.settings.correction}"

    @property
    def generators(self) -> list[str]:
        """Names of the generators whose runs are in the table ("" where it does not say)."""
        return list(dict.fromkeys(self.tidy.loc[self.tidy["subset"] != BASE, "generator"]))


def analyse(results: str | Path | pd.DataFrame, settings: InfluenceParams | None = None, draws=None) -> Analysis:
    """Return the `Analysis` of a results table (path or DataFrame); `draws` is a table of scores per draw or its path.

    Tasks in `settings.exclude` take no part. A table with a `generator` column of several values is analysed for the
    generator with most rows, the first one among equals; the others appear in the main results. Raises KitError for a
    table that cannot be used.
    """
    settings = settings or InfluenceParams()
    table, notes = without_excluded(read(results), settings.exclude)
    parts = _by_generator(table)
    studies = {name: study(part, settings.nan) for name, part in parts.items()}
    name = max(parts, key=lambda key: len(parts[key]))
    if len(parts) > 1:
        notes.append(f"The runs of {len(parts)} generators are in the table; influence is that of {name}.")
    data = studies[name]
    across = across_tasks(data, "all", settings.alpha)
    main = effects(data, "all", settings.normalize, settings.terms, settings.alpha, draws)
    pairs = interactions(data, "all", settings.alpha)
    notes += [*main.attrs["notes"], *across.attrs["notes"]]
    notes += [f"Interactions: {note}" for note in pairs.attrs["notes"] if note not in notes]
    rows = pd.concat([_tidy(one).assign(generator=key) for key, one in studies.items()], ignore_index=True)
    again = reliability(data, main)
    return Analysis(data, settings, rows, main, across, pairs, again, draws, list(dict.fromkeys(notes)))


def published() -> pd.DataFrame:
    """The scores of Wang et al. (2024), Table 17, as a results table: one run without and one with synthetic data."""
    scores = bundled.reference("published_mteb_scores")
    columns = (("public", 0, "wang2024_without_synthetic"), ("public+synthetic", 1, "wang2024_full"))
    parts = [
        scores[["task", "type"]].assign(subset=name, synthetic=flag, seed=0, score=scores[column] / 100)
        for name, flag, column in columns
    ]
    return pd.concat(parts, ignore_index=True)


def without_excluded(table: pd.DataFrame, exclude: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return a table without the excluded tasks, and the sentence that says so (none if it has none of them).

    Raises KitError when nothing would be left.
    """
    columns = [name for name in table.columns if str(name).strip() == "task"]
    tasks = table[columns[0]].astype(str).str.strip() if len(columns) == 1 else pd.Series("", table.index)
    found = [name for name in dict.fromkeys(exclude) if (tasks == name).any()]
    if not found:
        return table, []
    kept = table[~tasks.isin(found)]
    if kept.empty:
        raise KitError(f"every task of the table is in influence.exclude ({', '.join(found)}); take one out of it")
    from lib.score.suites import DISTRUSTED

    named = [f"{name} (its score {DISTRUSTED[name]})" if name in DISTRUSTED else name for name in found]
    count = "1 task takes" if len(found) == 1 else f"{len(found)} tasks take"
    return kept, [f"{count} no part in the influence, as influence.exclude says: {', '.join(named)}."]


def _by_generator(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split a table by generator; rows of the untrained base belong to all of them."""
    if "generator" not in table:
        return {"": table}
    generator = table["generator"].fillna("").astype(str).str.strip()
    base = table["subset"] == BASE if "subset" in table else np.zeros(len(table), bool)
    names = list(dict.fromkeys(generator[~base]))
    if len(names) < 2:
        return {names[0] if names else "": table}
    return {name: table[base | (generator == name)] for name in names}


def _tidy(data: Study) -> pd.DataFrame:
    """Return a checked study as rows again, scores from 0 to 1; the untrained base has subset "base", no category."""
    wide = data.runs.join(pd.DataFrame(data.y, columns=list(data.tasks), index=data.runs.index))
    rows = wide.melt(id_vars=list(data.runs.columns), var_name="task", value_name="score").dropna(subset=["score"])
    if data.base:
        base = pd.DataFrame({"subset": BASE, "seed": 0, "task": list(data.base), "score": list(data.base.values())})
        base = base[base["task"].isin(data.tasks)].assign(**dict.fromkeys(data.factors, 0))
        rows = pd.concat([rows, base], ignore_index=True)
    rows["type"] = rows["task"].map(dict(zip(data.tasks, data.types, strict=True)))
    if "public" not in rows:
        rows["public"] = (rows["subset"] != BASE).astype(int)
    return rows.reset_index(drop=True)
