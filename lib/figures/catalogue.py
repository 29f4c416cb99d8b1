"""The catalogue: what the figures are drawn from, and how each is drawn; `figures.yaml` says what they answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lib.common.bundled import reference
from lib.common.design import CODES, CROSSED, FACTORIAL, GENERATORS, ISOLATION
from lib.common.files import KitError
from lib.figures import data, forest, matrix, scores, structure
from lib.figures.base import TOLD, need
from lib.generate.dataset import cost_table
from lib.influence import claims, tables
from lib.influence.designs import isolation
from lib.influence.influence import Analysis
from lib.influence.verdicts import Evidence
from lib.params.model import InfluenceParams

# the kinds of claims that only a design can decide
RULES = {ISOLATION: ("alone",), CROSSED: ("interaction_with",), GENERATORS: ("generator_parity", "cost_ratio")}
ASKED: dict[str, tuple[str, str]] = {name: tuple(about) for name, about in TOLD["figures"].items()}


@dataclass(frozen=True)
class Report:
    """What the figures are drawn from. The designs isolation and generators have no analysis but a table of contrasts
    (of `influence.designs.isolation` or `influence.designs.contrasts`)."""

    analysis: Analysis | None
    inputs: dict[str, str]  # file -> 16 hex digits of its content
    data: Path | None = None  # the run's data folder, for counts and costs
    second: pd.DataFrame | None = None  # the same effects in a second study
    contrasts: pd.DataFrame | None = None
    costs: pd.DataFrame | None = None  # per generator and category
    settings: InfluenceParams = InfluenceParams()
    said: tuple[str, ...] = ()  # what the contrasts say of themselves

    @property
    def design(self) -> str:
        if self.analysis is None:
            return ISOLATION if "public" in self.contrasts else GENERATORS
        return CROSSED if "public" in self.analysis.study.factors else FACTORIAL

    @property
    def own(self) -> bool:
        """Whether the categories are somebody's own: then nothing of the paper's is drawn beside them."""
        return not set(self.analysis.study.factors) & {*CODES, *CODES.values(), "public", "synthetic"}

    @property
    def figures(self) -> tuple[tuple[str, str, Callable], ...]:
        found = tuple(each for each in FIGURES if self.design in DESIGNS.get(each[0], (FACTORIAL,)))
        if self.design != ISOLATION:
            return found
        return tuple((n, q.replace("? (isolation design)", ", with and without public data?"), d) for n, q, d in found)

    @property
    def notes(self) -> list[str]:
        found = self.said if self.analysis is None else self.analysis.notes
        return [*TOLD["notes"].get(self.design, ()), *(note.replace(" for : ", " for all tasks: ") for note in found)]

    @cached_property
    def reference(self) -> pd.DataFrame:
        return reference("published_mteb_scores")

    @cached_property
    def claims(self) -> pd.DataFrame:
        made = self.analysis is not None and self.data is not None and (self.data / "generation.json").is_file()
        given = {"replication": self.second, "contrasts": self.contrasts, "settings": self.settings}
        found = Evidence(self.analysis, self.reference, cost_table(self.data) if made else self.costs, **given)
        return claims.evaluate(found, claims.load(design=self.design))

    def level(self, name: str) -> pd.DataFrame:
        return self.analysis.effects[self.analysis.effects["level"] == name]


def _alone(r: Report):
    return matrix.alone_map(isolation(r.analysis.study, r.settings.alpha) if r.analysis else r.contrasts, r.settings)


def _sparsity(r: Report):
    ours = None
    if "synthetic" not in r.analysis.study.factors:
        with suppress(KitError):  # no seed with both corners
            ours = tables.gains(r.analysis.tidy)
    need(not r.own or ours is not None, "no run without or with all the categories, so no gain to share out")
    return scores.sparsity(ours, None if r.own else tables.published_gains(r.reference))


def _published(r: Report):
    need(not r.own, "the published scores say nothing about these categories")
    return scores.published(tables.published_gains(r.reference))


_DRAW: dict[str, Callable] = {
    "influence": lambda r: matrix.heat_map(r.analysis, None if r.own else claims.cells(r.claims), r.second),
    "tasks": lambda r: forest.forest(r.analysis, r.second),
    "replication": lambda r: scores.replication(r.second),
    "alone": _alone,
    "crossed": lambda r: forest.terms(r.analysis),
    "lattice": lambda r: structure.lattice(r.analysis),
    "main_results": lambda r: scores.main_results(r.analysis.tidy),
    "counts": lambda r: data.counts(r.data),
    "sparsity": _sparsity,
    "trade_off": lambda r: scores.trade_off(r.analysis),
    "interactions": lambda r: structure.interaction_map(r.analysis),
    "half_normal": lambda r: structure.half_normal(r.analysis),
    "noise": lambda r: forest.floor(r.analysis, r.second),
    "power": lambda r: structure.detectable(r.analysis),
    "published": _published,
    "generators": lambda r: forest.generators(r.contrasts, r.settings.alpha),
}
FIGURES = tuple((name, ASKED[name][0], draw) for name, draw in _DRAW.items())
# the designs that a figure belongs to, where not to the factorial alone; the interactions of crossed are in "crossed"
DESIGNS = dict.fromkeys(("influence", "main_results", "noise"), (FACTORIAL, CROSSED))
DESIGNS |= {"alone": (ISOLATION, CROSSED), "crossed": (CROSSED,), "generators": (GENERATORS,)}
