"""The catalogue: what the figures are drawn from, and every figure with the question that it answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lib.common import bundled
from lib.common.design import CODES, CROSSED, FACTORIAL, GENERATORS, ISOLATION
from lib.common.files import KitError, read_json
from lib.figures import forest, matrix, replication, scores, structure
from lib.figures.base import need
from lib.generate.dataset import cost_table
from lib.influence import claims, tables
from lib.influence.designs import cost_per_thousand, isolation
from lib.influence.influence import Analysis
from lib.influence.verdicts import Evidence
from lib.params.params import InfluenceParams

# the kinds of claims that only a design can decide, and what must be read beside its figures
RULES = {ISOLATION: ("alone",), CROSSED: ("interaction_with",), GENERATORS: ("generator_parity", "cost_ratio")}
NOTES = {
    CROSSED: (
        "Every run has the same number of steps. Without public data the categories share them all: what public data "
        "do to a category's effect includes that it has fewer steps beside them.",
    ),
    ISOLATION: (
        "Every run has the same number of steps. Beside public data a category has its share of them and public data "
        "the rest; alone it has all: the lower half shows several times the dose of the upper one.",
        "All effects of the upper half are differences to the same few runs on public data: what luck these had is in "
        "all.",
    ),
    GENERATORS: (
        "Every generator has the same number of triplets, of the same tasks as far as both have them, and the same "
        "steps; the runs of a seed share start, order and public data, so that generators are compared seed by seed.",
        "Seeds are the only repetition here: no second set of answers was asked of any generator.",
    ),
}


@dataclass(frozen=True)
class Report:
    """What the figures are drawn from. The designs isolation and generators have no analysis but a table of contrasts
    (of `influence.designs.isolation` or `influence.designs.contrasts`)."""

    analysis: Analysis | None
    inputs: dict[str, str]  # file -> 16 hex digits of its content
    data: Path | None = None  # the run's data folder, for counts and costs
    second: pd.DataFrame | None = None  # the same effects in a second study, see `lib.figures.replication`
    contrasts: pd.DataFrame | None = None
    costs: pd.DataFrame | None = None  # per generator and category
    settings: InfluenceParams = InfluenceParams()
    said: tuple[str, ...] = ()  # what the contrasts say of themselves

    @property
    def design(self) -> str:
        """The design that the figures belong to."""
        if self.analysis is None:
            return ISOLATION if "public" in self.contrasts else GENERATORS
        return CROSSED if "public" in self.analysis.study.factors else FACTORIAL

    @property
    def own(self) -> bool:
        """Whether the categories are somebody's own: then nothing of the paper's is drawn beside them."""
        return not set(self.analysis.study.factors) & {*CODES, *CODES.values(), "public", "synthetic"}

    @property
    def figures(self) -> tuple[tuple[str, str, Callable], ...]:
        """What answers the study's question: name, question, drawing."""
        if self.design == FACTORIAL:
            return tuple(each for each in FIGURES if each[0] not in ONLY_DESIGNS)
        found = tuple(each for each in FIGURES if each[0] in DRAWN[self.design])
        if self.design == ISOLATION:
            return tuple(
                (n, q.replace("? (isolation design)", ", with and without public data?"), d) for n, q, d in found
            )
        return found

    @property
    def notes(self) -> list[str]:
        """What must be read beside the figures."""
        found = self.said if self.analysis is None else self.analysis.notes
        return [*NOTES.get(self.design, ()), *(re.sub(r" for : ", " for all tasks: ", note) for note in found)]

    @cached_property
    def reference(self) -> pd.DataFrame:
        """Published scores per data set."""
        return bundled.reference("published_mteb_scores")

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The claims with verdicts, see `lib.influence.claims.evaluate`."""
        costs = self.costs
        if self.analysis is not None and self.data is not None and (self.data / "generation.json").is_file():
            costs = cost_table(self.data)
        given = {"replication": self.second, "contrasts": self.contrasts, "settings": self.settings}
        found = Evidence(self.analysis, self.reference, costs, **given)
        return claims.evaluate(found, claims.load(design=self.design))

    @property
    def appendix(self) -> list[str]:
        """Lines of INDEX.md after the figures: what a thousand valid triplets of each generator took."""
        if self.design != GENERATORS or self.costs is None:
            return []
        head = "| generator | valid of asked | tokens read | tokens written | seconds | price |"
        lines = ["", "Cost of a thousand valid triplets:", "", head, "|---|---|---|---|---|---|"]
        for row in cost_per_thousand(self.costs).itertuples():
            parts = [(row.tokens_in, ""), (row.tokens_out, ""), (row.seconds, ""), (row.cost, f".2f {row.currency}")]
            told = " | ".join(
                "not measured" if pd.isna(x) else f"{x:,.{2 * bool(unit)}f}{unit[3:]}" for x, unit in parts
            )
            lines.append(f"| {row.generator} | {row.valid} of {row.asked} | {told} |")
        return lines

    def level(self, name: str) -> pd.DataFrame:
        """The effects of one level: task, type or overall."""
        return self.analysis.effects[self.analysis.effects["level"] == name]


def data_counts(data: Path | None) -> pd.DataFrame:
    """Valid triplets per category of this run and its public pairs: columns source, category (code), rows."""
    found = {}
    if data is not None and (data / "generation.json").is_file():
        made = read_json(data / "generation.json")["categories"]
        found = {CODES[name]: numbers["valid"] for name, numbers in made.items()}
    if data is not None and (data / "public.jsonl").is_file():
        with open(data / "public.jsonl", encoding="utf-8") as lines:
            found["public"] = sum(1 for line in lines if line.strip())
    rows = [("this study", category, count) for category, count in found.items()]
    return pd.DataFrame(rows, columns=["source", "category", "rows"])


def _analysis(draw: Callable) -> Callable:
    return lambda r: draw(r.analysis)


def _both(draw: Callable) -> Callable:
    return lambda r: draw(r.analysis, r.second)


def _main_results(r: Report):
    return scores.main_results(r.analysis.tidy)


def _generators(r: Report):
    return forest.generators(r.contrasts, r.settings.alpha)


def _alone(r: Report):
    table = isolation(r.analysis.study, r.settings.alpha) if r.contrasts is None else r.contrasts
    return matrix.alone_map(table, r.settings)


def _influence(r: Report):
    return matrix.heat_map(r.analysis, None if r.own else claims.cells(r.claims), r.second)


def _replication(r: Report):
    need(r.second is not None, "no second study at hand (replication.csv); `make replicate` makes one")
    return replication.replication(r.second)


def _counts(r: Report):
    ours = data_counts(r.data)
    need(len(ours) > 0, "no training data beside these results (data/generation.json), so nothing to count")
    return scores.counts(pd.concat([ours, bundled.reference("published_counts")], ignore_index=True))


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


# name of the files, what the figure answers (and what it corresponds to in the paper), how it is drawn
FIGURES: tuple[tuple[str, str, Callable], ...] = (
    ("influence", "Which category helps or harms which task type? (Figure 3)", _influence),
    ("tasks", "Which datasets move, and how surely? (Figure 4, all types)", _both(forest.forest)),
    ("replication", "What came back when the study was done a second time?", _replication),
    ("alone", "What does each category do by itself? (isolation design)", _alone),
    ("crossed", "How do public and synthetic data act together? (crossed design)", _analysis(forest.terms)),
    ("lattice", "What are the 16 numbers behind one dataset's effects?", _analysis(structure.lattice)),
    ("main_results", "What does synthetic data do to the scores? (Table 1)", _main_results),
    ("counts", "How many examples are there of each category? (Table 2)", _counts),
    ("sparsity", "Who carries the gain?", _sparsity),
    ("trade_off", "What is paid for a gain?", _analysis(structure.trade_off)),
    ("interactions", "Do the categories add up?", _analysis(structure.interaction_map)),
    ("half_normal", "Which contrasts stand out of the noise?", _analysis(structure.half_normal)),
    ("noise", "How large must an effect be to be seen?", _both(replication.floor)),
    ("power", "What can this design show at all?", _analysis(replication.power)),
    ("published", "What did synthetic data do in the published scores? (Wang et al. 2024, Table 17)", _published),
    ("generators", "Does it matter who wrote the triplets?", _generators),
)
# designs that are drawn with other figures than these; the interactions of crossed stand in "crossed"
DRAWN = {
    CROSSED: ("crossed", "alone", "influence", "main_results", "noise"),
    ISOLATION: ("alone",),
    GENERATORS: ("generators",),
}
ONLY_DESIGNS = ("alone", "crossed", "generators")
# drawn by notebooks 06 to 08 from tables of scores
OWN_FIGURES = {
    "predict": (
        "How much of this could have been predicted from fewer trainings, or from none?",
        "notebooks/06_predict.ipynb",
    ),
    "improve": ("Is a mixture better than all of the data where it was not chosen?", "notebooks/07_improve.ipynb"),
    "winners_curse": ("What does choosing pretend?", "notebooks/07_improve.ipynb"),
    "models": ("On which influences do two kinds of model agree?", "`make compare`"),
    "why": ("What explains why a category helps one set and harms another?", "notebooks/08_why.ipynb"),
    "why_cells": ("How do the explanations go with the effects, cell by cell?", "notebooks/08_why.ipynb"),
}
# drawn by notebook 02 from the training data
DATA_FIGURES = {
    "data_counts": "How many answers became examples, and where were the others lost? (Table 2)",
    "data_languages": "Are the texts in the language that was asked for?",
    "data_lengths": "Are the texts as long as was asked for?",
    "data_overlap": "How many words do query and positive, query and negative share?",
}
# drawn by notebooks 03 and 04 as they explain one run, the last that was explained
LESSON_FIGURES = {
    "lesson_push": ("How hard is a wrong answer pushed away, and what does a hard negative change?", "03_train"),
    "lesson_scorers": ("Where do a classifier and a search disagree on the same vectors?", "04_score"),
}
