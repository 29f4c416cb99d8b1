"""One pass over a results table: everything that the figures, the claims and the printed tables need.

Reads the table once, asks `lib.influence.influence` for every estimate, and keeps the sentences that must stand beside the
numbers. Needs neither torch nor mteb.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common.design import BASE
from lib.common.files import KitError
from lib.influence import influence
from lib.influence.scores import uncut
from lib.params.params import InfluenceParams


@dataclass(frozen=True)
class Analysis:
    """Estimates of one study. Effects, errors and intervals in points, scores in `tidy` from 0 to 1."""

    study: influence.Study
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
        return influence.interaction_block(self.study, "all")

    @cached_property
    def noise(self) -> pd.DataFrame:
        """Noise floor per task."""
        return influence.noise(self.study, self.draws, self.settings.alpha, self.settings.power)

    @cached_property
    def attainable(self) -> pd.DataFrame:
        """What each test can reach in this design."""
        return influence.attainable(self.study, self.settings.alpha)

    @cached_property
    def seeds_buy(self) -> pd.DataFrame:
        """What more seeds would show, for one task and for one type."""
        settings = self.settings
        parts = [
            influence.seeds_buy(self.study, level, settings.seeds_considered, settings.alpha, settings.power)
            for level in ("task", "type")
        ]
        return pd.concat(parts, ignore_index=True)

    @property
    def corrected(self) -> str:
        """Name of the corrected p that decides the marks: p_bh or p_holm."""
        return f"p_{self.settings.correction}"

    @property
    def generators(self) -> list[str]:
        """Names of the generators whose runs are in the table ("" where it does not say)."""
        return list(dict.fromkeys(self.tidy.loc[self.tidy["subset"] != BASE, "generator"]))


def read(results: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Return the results as a DataFrame. Raises KitError for a file that is missing or is no table."""
    if isinstance(results, pd.DataFrame):
        return results
    path = Path(results)
    if not path.is_file():
        raise KitError(f"{path} does not exist; run `make reproduce` to make it, or give the path of your own table")
    try:
        return uncut(pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig"), path)
    except (OSError, ValueError) as error:
        raise KitError(
            f"{path} cannot be read as CSV ({str(error).strip().splitlines()[0]}); mend or restore it"
        ) from None


def published() -> pd.DataFrame:
    """The scores of Wang et al. (2024), Table 17, as a results table: one run without and one with synthetic data."""
    from lib.common import bundled

    scores = bundled.reference("published_mteb_scores")
    columns = (("public", 0, "wang2024_without_synthetic"), ("public+synthetic", 1, "wang2024_full"))
    parts = [
        scores[["task", "type"]].assign(subset=name, synthetic=flag, seed=0, score=scores[column] / 100)
        for name, flag, column in columns
    ]
    return pd.concat(parts, ignore_index=True)


def analyse(results: str | Path | pd.DataFrame, settings: InfluenceParams | None = None, draws=None) -> Analysis:
    """Return the `Analysis` of a results table (path or DataFrame); `draws` is a table of scores per draw or its path.

    Tasks in `settings.exclude` take no part. A table with a `generator` column of several values is analysed for the
    generator with most rows, the first one among equals; the others appear in the main results. Raises KitError for a
    table that cannot be used.
    """
    settings = settings or InfluenceParams()
    table, notes = without(read(results), settings.exclude)
    parts = _by_generator(table)
    studies = {name: influence.study(part, nan=settings.nan) for name, part in parts.items()}
    name = max(parts, key=lambda key: len(parts[key]))
    if len(parts) > 1:
        notes.append(f"The runs of {len(parts)} generators are in the table; influence is that of {name}.")
    study = studies[name]
    across = influence.across_tasks(study, "all", settings.alpha)
    effects = influence.effects(
        study, level="all", normalize=settings.normalize, terms=settings.terms, alpha=settings.alpha, draws=draws
    )
    interactions = influence.interactions(study, "all", settings.alpha)
    notes += [n for table in (effects, across) for n in table.attrs.get("notes", [])]
    notes += [f"Interactions: {n}" for n in interactions.attrs.get("notes", []) if n not in notes]
    rows = [tidy(one).assign(generator=key) for key, one in studies.items()]
    return Analysis(
        study,
        settings,
        pd.concat(rows, ignore_index=True),
        effects,
        across,
        interactions,
        influence.reliability(study, effects),
        draws,
        list(dict.fromkeys(notes)),
    )


def without(table: pd.DataFrame, exclude: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
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


def tidy(study: influence.Study) -> pd.DataFrame:
    """Return a checked study as rows again, scores from 0 to 1; the untrained base has subset "base", no category."""
    wide = study.runs.join(pd.DataFrame(study.y, columns=list(study.tasks), index=study.runs.index))
    rows = wide.melt(id_vars=list(study.runs.columns), var_name="task", value_name="score").dropna(subset=["score"])
    if study.base:
        base = pd.DataFrame({"subset": BASE, "seed": 0, "task": list(study.base), "score": list(study.base.values())})
        rows = pd.concat(
            [rows, base[base["task"].isin(study.tasks)].assign(**dict.fromkeys(study.factors, 0))], ignore_index=True
        )
    rows["type"] = rows["task"].map(dict(zip(study.tasks, study.types, strict=True)))
    if "public" not in rows:
        rows["public"] = (rows["subset"] != BASE).astype(int)
    return rows.reset_index(drop=True)
