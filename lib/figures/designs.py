"""The reports of the designs without a regression: each category by itself, and generators beside each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lib.common import bundled
from lib.common.bundled import ROOT
from lib.common.design import CROSSED, GENERATORS, ISOLATION, generator_of, parse_run
from lib.common.files import KitError, digest, digest_file
from lib.figures.contrasts import generators
from lib.figures.effects import alone_map
from lib.influence import claims
from lib.influence.alone import isolation
from lib.influence.generators import contrasts, cost_per_thousand
from lib.influence.influence import without_excluded
from lib.influence.scores import read, study
from lib.influence.verdicts import Evidence
from lib.params.params import InfluenceParams, Params

# the kinds of claims that only a design can decide
RULES = {ISOLATION: ("alone",), CROSSED: ("interaction_with",), GENERATORS: ("generator_parity", "cost_ratio")}
COSTS = "costs.csv"  # beside the results: what the generators' answers took
ISOLATION_NOTES = (
    "Every run has the same number of steps. Beside public data a category has its share of them and public data the "
    "rest; alone it has all: the lower half shows several times the dose of the upper one.",
    "All effects of the upper half are differences to the same few runs on public data: what luck these had is in all.",
)
GENERATOR_NOTES = (
    "Every generator has the same number of triplets, of the same tasks as far as both have them, and the same steps; "
    "the runs of a seed share start, order and public data, so that generators are compared seed by seed.",
    "Seeds are the only repetition here: no second set of answers was asked of any generator.",
)


def design_of(results: pd.DataFrame) -> str:
    """Return the design of a table by its runs' names: isolation or generators, "" for all with a regression."""
    if "subset" not in results:
        return ""
    names = [str(name) for name in results["subset"].unique()]
    if any(generator_of(name) for name in names):
        return GENERATORS
    try:
        runs = [parse_run(name) for name in names if name != "base"]
    except KitError:
        return ""
    alone = [subset for subset, public in runs if not public]
    return ISOLATION if alone and all(len(subset) < 2 for subset, _ in runs) else ""


@dataclass(frozen=True)
class Contrast:
    """What the figures of one of these designs are drawn from, as `lib.figures.catalogue.Report` is of the others."""

    design: str
    table: pd.DataFrame  # of lib.influence.alone.isolation, or of lib.influence.generators.contrasts
    settings: InfluenceParams
    inputs: dict[str, str]
    notes: list[str]
    costs: pd.DataFrame | None = None  # per generator and category
    data: Path | None = None
    second: None = None  # seeds are the only repetition of these designs

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The claims about this design with their verdicts."""
        reference = bundled.reference("published_mteb_scores")
        evidence = Evidence(None, reference, self.costs, contrasts=self.table, settings=self.settings)
        return claims.evaluate(evidence, claims.load(design=self.design))

    @property
    def figures(self) -> tuple[tuple[str, str, Callable], ...]:
        """The design's figures, as `lib.figures.catalogue.FIGURES`."""
        corrected = f"p_{self.settings.correction}"
        if self.design == ISOLATION:
            question = "What does each category do by itself, with and without public data?"
            return (("alone", question, lambda r: alone_map(r.table, r.settings.alpha, corrected)),)
        question = "Does it matter who wrote the triplets?"
        return (("generators", question, lambda r: generators(r.table, r.settings.alpha)),)

    @property
    def appendix(self) -> list[str]:
        """Lines of INDEX.md after the figures: what a thousand valid triplets of each generator took."""
        if self.costs is None:
            return []
        head = "| generator | valid of asked | tokens read | tokens written | seconds | price |"
        lines = ["", "Cost of a thousand valid triplets:", "", head, "|---|---|---|---|---|---|"]
        for row in cost_per_thousand(self.costs).itertuples():
            price = _told(row.cost, f" {row.currency}", 2)
            numbers = " | ".join(_told(value) for value in (row.tokens_in, row.tokens_out, row.seconds))
            lines.append(f"| {row.generator} | {row.valid} of {row.asked} | {numbers} | {price} |")
        return lines


def drawn(params: Params, design: str) -> Path | None:
    """Return the folder of a design's figures: of its last run here, else the committed ones, None where neither is."""
    folder = params.data_figure_dir
    places = (folder.with_name(f"{folder.name}-{design}"), ROOT / "figures" / f"{params.profile}-{design}")
    return next((place for place in places if (place / "INDEX.md").is_file()), None)


def _told(value: float, unit: str = "", digits: int = 0) -> str:
    return "not measured" if pd.isna(value) else f"{value:,.{digits}f}{unit}"


def build(design: str, file: Path, settings: InfluenceParams | None = None, data: Path | None = None) -> Contrast:
    """Return the report of a results table of one of these designs; a `costs.csv` beside it is read too."""
    settings, costs = settings or InfluenceParams(), file.with_name(COSTS)
    kept, notes = without_excluded(read(file), settings.exclude)
    inputs = {path.name: digest_file(path) for path in (file, costs) if path.is_file()}
    inputs["settings"] = digest(settings.model_dump(mode="json"))
    if design == ISOLATION:
        table = isolation(study(kept, settings.nan), settings.alpha)
        return Contrast(design, table, settings, inputs, [*ISOLATION_NOTES, *notes, *table.attrs["notes"]], data=data)
    table = contrasts(kept, settings.margin, settings.alpha)
    spent = pd.read_csv(costs) if costs.is_file() else None
    return Contrast(design, table, settings, inputs, [*GENERATOR_NOTES, *notes], spent, data)
