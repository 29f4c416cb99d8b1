"""The catalogue: what the figures are drawn from, and every figure of the report with the question that it answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lib.common import bundled
from lib.common.design import CODES
from lib.common.files import KitError, read_json
from lib.figures import contrasts, effects, forest, gains, noise, replication, scores, structure
from lib.generate.costs import cost_table
from lib.influence import claims, tables
from lib.influence.alone import isolation
from lib.influence.gain_verdicts import own_rows
from lib.influence.influence import Analysis
from lib.influence.interactions import crossed, half_normal
from lib.influence.outcomes import cells, run_means
from lib.influence.verdicts import Evidence

ONLY_CROSSED = ("crossed", "alone")
OF_CROSSED = (*ONLY_CROSSED, "influence", "main_results", "noise")  # its interactions stand in "crossed"
CROSSED_NOTE = (
    "Every run has the same number of steps. Without public data the categories share them all: what public data do to "
    "a category's effect includes that it has fewer steps beside them."
)


@dataclass(frozen=True)
class Report:
    """What the figures are drawn from: the analysis, the published scores, counts, and the judged claims."""

    analysis: Analysis
    inputs: dict[str, str]  # file -> 16 hex digits of its content
    data: Path | None = None  # the run's data folder, for counts and costs
    second: pd.DataFrame | None = None  # the same effects in a second study, see `lib.figures.replication`

    @property
    def own(self) -> bool:
        """Whether the categories are somebody's own: then nothing of the paper's is drawn beside them."""
        return not set(self.analysis.study.factors) & {*CODES, *CODES.values(), "public", "synthetic"}

    @property
    def figures(self) -> tuple[tuple[str, str, Callable], ...]:
        """What answers the study's question: with and without public data another one than of the factorial."""
        crossed = "public" in self.analysis.study.factors
        return tuple(each for each in FIGURES if (each[0] in OF_CROSSED if crossed else each[0] not in ONLY_CROSSED))

    @property
    def appendix(self) -> list[str]:
        """Lines of INDEX.md after the figures."""
        return []

    @property
    def notes(self) -> list[str]:
        """What must be read beside the figures."""
        dose = [CROSSED_NOTE] if "public" in self.analysis.study.factors else []
        return dose + [re.sub(r" for : ", " for all tasks: ", note) for note in self.analysis.notes]

    @cached_property
    def reference(self) -> pd.DataFrame:
        """Published scores per data set."""
        return bundled.reference("published_mteb_scores")

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The claims with verdicts, see `lib.influence.claims.evaluate`."""
        found = Evidence(self.analysis, self.reference, costs(self.data), self.second)
        return claims.evaluate(found)

    def level(self, name: str) -> pd.DataFrame:
        """The effects of one level: task, type or overall."""
        return self.analysis.effects[self.analysis.effects["level"] == name]


def need(given: bool, otherwise: str) -> None:
    """Refuse a figure that these results cannot give, with the reason."""
    if not given:
        raise KitError(otherwise)


def strongest(table: pd.DataFrame) -> tuple[str, str]:
    """The dataset and category with the largest |t| (|effect| where there is no error), as an example."""
    rows = table[(table["level"] == "task") & (table["factor"] != "public")]
    size = (rows["t"] if rows["t"].notna().any() else rows["effect"]).abs()
    need(size.notna().any(), "these runs cannot tell any category's effect from another's")
    return tuple(rows.loc[size.idxmax(), ["task", "factor"]])


def _influence(r: Report):
    a = r.analysis
    about = None if r.own else claims.cells(r.claims)
    rows = a.reliability[a.reliability["level"] == "type"]
    together = rows[rows["factor"] == ""]  # all categories
    share = float((together if len(together) else rows)["reliability"].median())
    return effects.heat_map(a.effects, a.across, about, a.settings.alpha, a.corrected, r.second, share)


def _tasks(r: Report):
    a = r.analysis
    return forest.forest(a.effects, a.across, alpha=a.settings.alpha, corrected=a.corrected, replication=r.second)


def _replication(r: Report):
    need(r.second is not None, "no second study at hand (replication.csv); `make replicate` makes one")
    return replication.replication(r.second)


def _alone(r: Report):
    a = r.analysis
    need("public" in a.study.factors, "only for designs with runs without public data: isolation and crossed")
    return effects.alone_map(isolation(a.study, a.settings.alpha), a.settings.alpha, a.corrected)


def _crossed(r: Report):
    a = r.analysis
    need("public" in a.study.factors, "only for a design with all categories with and without public data: crossed")
    return contrasts.terms(crossed(a.study, a.settings.alpha), a.settings.alpha, a.corrected)


def _lattice(r: Report):
    task, factor = strongest(r.analysis.effects)
    shown = cells(r.analysis.study, task=task)
    if "public" in shown:
        shown = shown[shown["public"] == 1].drop(columns="public").reset_index(drop=True)
    need(len(shown.columns) <= 8, "a lattice of more than four categories is too large to read")
    effect = r.level("task").query("task == @task and factor == @factor").iloc[0]
    return structure.lattice(shown, factor, task, effect)


def _counts(r: Report):
    ours = data_counts(r.data)
    need(len(ours) > 0, "no training data beside these results (data/generation.json), so nothing to count")
    return scores.counts(pd.concat([ours, bundled.reference("published_counts")], ignore_index=True))


def _sparsity(r: Report):
    ours = None
    if "synthetic" not in r.analysis.study.factors:
        with suppress(KitError):  # no seed with both corners
            ours = tables.gains(own_rows(r.analysis))
    need(not r.own or ours is not None, "no run without or with all the categories, so no gain to share out")
    return gains.sparsity(ours, None if r.own else tables.published_gains(r.reference))


def _trade_off(r: Report):
    study = r.analysis.study
    need(len(set(study.types)) > 1, "a trade-off needs two task types")
    need(study.runs["subset"].nunique() > 3, "a trade-off needs four subsets or more")
    return gains.trade_off(run_means(study), r.level("type"))


def _interactions(r: Report):
    a = r.analysis
    need(a.interactions["effect"].notna().any(), "these runs do not determine any interaction")
    return structure.interaction_map(a.interactions, a.effects, a.block, a.settings.alpha, a.corrected)


def _half_normal(r: Report):
    study = r.analysis.study
    need(len(study.factors) > 1, "a half-normal plot needs two categories or more")
    parts = [half_normal(study, type=kind).assign(type=kind) for kind in dict.fromkeys(study.types)]
    parts.append(half_normal(study).assign(type=tables.OVERALL))
    return structure.half_normal(pd.concat(parts, ignore_index=True), r.analysis.settings.alpha)


NO_NOISE = "no noise is measured in these results: as many coefficients as runs"


def _noise(r: Report):
    need(r.analysis.noise["se_effect"].notna().any(), NO_NOISE)
    return noise.floor(r.analysis.noise, r.level("task"), r.second, power=r.analysis.settings.power)


def _power(r: Report):
    a = r.analysis
    need(a.noise["se_effect"].notna().any(), NO_NOISE)
    sizes = pd.Series(a.study.types).value_counts()
    seeds = len(a.study.runs) / len(a.study.runs.drop_duplicates(list(a.study.factors)))
    return noise.power(a.seeds_buy, sizes, a.settings.alpha, a.settings.power, seeds)


def _published(r: Report):
    need(not r.own, "the published scores say nothing about these categories")
    return scores.published(tables.published_gains(r.reference), "Wang et al. (2024), Table 17")


def data_counts(data: Path | None) -> pd.DataFrame:
    """Valid triplets per category of this run and its public pairs: columns source, category (code), rows."""
    rows = []
    if data is not None and (data / "generation.json").is_file():
        found = read_json(data / "generation.json")["categories"]
        rows = [("this study", CODES[name], numbers["valid"]) for name, numbers in found.items()]
    if data is not None and (data / "public.jsonl").is_file():
        with open(data / "public.jsonl", encoding="utf-8") as lines:
            rows.append(("this study", "public", sum(1 for line in lines if line.strip())))
    return pd.DataFrame(rows, columns=["source", "category", "rows"])


def costs(data: Path | None) -> pd.DataFrame | None:
    """Costs of the run's generation, or None without a data folder."""
    return cost_table(data) if data is not None and (data / "generation.json").is_file() else None


# name of the files, what the figure answers (and what it corresponds to in the paper), how it is drawn
FIGURES: tuple[tuple[str, str, Callable], ...] = (
    ("influence", "Which category helps or harms which task type? (Figure 3)", _influence),
    ("tasks", "Which datasets move, and how surely? (Figure 4, all types)", _tasks),
    ("replication", "What came back when the study was done a second time?", _replication),
    ("alone", "What does each category do by itself? (isolation design)", _alone),
    ("crossed", "How do public and synthetic data act together? (crossed design)", _crossed),
    ("lattice", "What are the 16 numbers behind one dataset's effects?", _lattice),
    (
        "main_results",
        "What does synthetic data do to the scores? (Table 1)",
        lambda r: scores.main_results(r.analysis.tidy),
    ),
    ("counts", "How many examples are there of each category? (Table 2)", _counts),
    ("sparsity", "Who carries the gain?", _sparsity),
    ("trade_off", "What is paid for a gain?", _trade_off),
    ("interactions", "Do the categories add up?", _interactions),
    ("half_normal", "Which contrasts stand out of the noise?", _half_normal),
    ("noise", "How large must an effect be to be seen?", _noise),
    ("power", "What can this design show at all?", _power),
    ("published", "What did synthetic data do in the published scores? (Wang et al. 2024, Table 17)", _published),
)
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
