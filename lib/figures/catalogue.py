"""The catalogue: every figure of the report, the question it answers, and how it is drawn from a `Report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lib.common import bundled
from lib.common.design import CODES
from lib.common.files import KitError, read_json
from lib.influence import claims, tables
from lib.influence.effects import alone
from lib.influence.interactions import half_normal
from lib.influence.outcomes import cells, run_means

if TYPE_CHECKING:
    from lib.figures.report import Report


def strongest(effects: pd.DataFrame) -> tuple[str, str]:
    """The dataset and category with the largest |t| (|effect| where there is no error), as an example."""
    rows = effects[(effects["level"] == "task") & (effects["factor"] != "public")]
    size = rows["t"].abs() if rows["t"].notna().any() else rows["effect"].abs()
    if size.isna().all():
        raise KitError("these runs cannot tell any category's effect from another's")
    row = rows.loc[size.idxmax()]
    return row["task"], row["factor"]


def _lattice(r: Report):
    from lib.figures.lattice import lattice

    task, factor = strongest(r.analysis.effects)
    shown = cells(r.analysis.study, task=task)
    if "public" in shown:
        shown = shown[shown["public"] == 1].drop(columns="public").reset_index(drop=True)
    if len(shown.columns) > 8:
        raise KitError("a lattice of more than four categories is too large to read")
    effect = r.level("task").query("task == @task and factor == @factor").iloc[0]
    return lattice(shown, factor, task, effect)


def _alone(r: Report):
    from lib.figures.heat import alone_map

    if "public" not in r.analysis.study.factors:
        raise KitError("only for designs with runs without public data: isolation and crossed")
    parts = []
    for public in (1, 0):
        try:
            parts.append(alone(r.analysis.study, "type", public))
        except KitError:
            continue
    if not parts:
        raise KitError("no run of one category alone has a reference to be compared with")
    return alone_map(pd.concat(parts, ignore_index=True), r.analysis.settings.alpha, r.analysis.corrected)


def _heat(r: Report):
    from lib.figures.heat import heat_map

    a = r.analysis
    about = None if r.own else claims.cells(r.claims)
    return heat_map(a.effects, a.across, about, a.settings.alpha, a.corrected, r.second, reliability(a, "type"))


def reliability(analysis, level: str) -> float | None:
    """The reliability of a level's effects (median over the categories), where the analysis has it."""
    table = getattr(analysis, "reliability", None)
    rows = table[table["level"] == level] if table is not None and "level" in table else None
    if rows is not None and (rows["factor"] == "").any():  # all categories together
        rows = rows[rows["factor"] == ""]
    value = float(rows["reliability"].median()) if rows is not None and len(rows) else float("nan")
    return value if value == value else None


def _replication(r: Report):
    from lib.figures.replication import replication

    if r.second is None:
        raise KitError("no second study at hand (replication.csv); `make replicate` makes one")
    return replication(r.second)


def _forest(r: Report):
    from lib.figures.forest import forest

    a = r.analysis
    return forest(a.effects, a.across, alpha=a.settings.alpha, corrected=a.corrected, replication=r.second)


def _main(r: Report):
    from lib.figures.scores import main_results

    return main_results(r.analysis.tidy)


def _counts(r: Report):
    from lib.figures.scores import counts

    ours = data_counts(r.data)
    if ours.empty:
        raise KitError("no training data beside these results (data/generation.json), so nothing to count")
    return counts(pd.concat([ours, bundled.reference("published_counts")], ignore_index=True))


def _published(r: Report):
    from lib.figures.scores import published

    if r.own:
        raise KitError("the published scores say nothing about these categories")
    return published(tables.published_gains(r.reference), "Wang et al. (2024), Table 17")


def _sparsity(r: Report):
    from lib.figures.sparsity import sparsity
    from lib.influence.gain_verdicts import own_rows

    try:
        ours = None if "synthetic" in r.analysis.study.factors else tables.gains(own_rows(r.analysis))
    except KitError:
        ours = None
    if r.own and ours is None:
        raise KitError("no run without or with all the categories, so no gain to share out")
    return sparsity(ours, None if r.own else tables.published_gains(r.reference))


def _trade_off(r: Report):
    from lib.figures.sparsity import trade_off

    if len(set(r.analysis.study.types)) < 2:
        raise KitError("a trade-off needs two task types")
    if r.analysis.study.runs["subset"].nunique() < 4:
        raise KitError("a trade-off needs four subsets or more")
    return trade_off(run_means(r.analysis.study), r.level("type"))


def _interactions(r: Report):
    from lib.figures.interactions import matrix

    a = r.analysis
    if a.interactions["effect"].isna().all():
        raise KitError("these runs do not determine any interaction")
    return matrix(a.interactions, a.effects, a.block, a.settings.alpha, a.corrected)


def _half_normal(r: Report):
    from lib.figures import interactions

    study = r.analysis.study
    if len(study.factors) < 2:
        raise KitError("a half-normal plot needs two categories or more")
    parts = [half_normal(study, type=kind).assign(type=kind) for kind in dict.fromkeys(study.types)]
    parts.append(half_normal(study).assign(type=tables.OVERALL))
    return interactions.half_normal(pd.concat(parts, ignore_index=True), r.analysis.settings.alpha)


def _need_errors(r: Report) -> None:
    if r.analysis.noise["se_effect"].isna().all():
        raise KitError("no noise is measured in these results: as many coefficients as runs")


def _noise(r: Report):
    from lib.figures.noise import floor

    _need_errors(r)
    return floor(r.analysis.noise, r.level("task"), r.second, power=r.analysis.settings.power)


def _power(r: Report):
    from lib.figures.noise import power

    _need_errors(r)
    a = r.analysis
    sizes = pd.Series(a.study.types).value_counts()
    seeds = len(a.study.runs) / len(a.study.runs.drop_duplicates(list(a.study.factors)))
    return power(a.seeds_buy, sizes, a.settings.alpha, a.settings.power, seeds)


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


# name of the files, what the figure answers (and what it corresponds to in the paper), how it is drawn
FIGURES: tuple[tuple[str, str, Callable], ...] = (
    ("influence", "Which category helps or harms which task type? (Figure 3)", _heat),
    ("tasks", "Which datasets move, and how surely? (Figure 4, all types)", _forest),
    ("replication", "What came back when the study was done a second time?", _replication),
    ("alone", "What does each category do by itself? (isolation design)", _alone),
    ("lattice", "What are the 16 numbers behind one dataset's effects?", _lattice),
    ("main_results", "What does synthetic data do to the scores? (Table 1)", _main),
    ("counts", "How many examples are there of each category? (Table 2)", _counts),
    ("sparsity", "Who carries the gain?", _sparsity),
    ("trade_off", "What is paid for a gain?", _trade_off),
    ("interactions", "Do the categories add up?", _interactions),
    ("half_normal", "Which contrasts stand out of the noise?", _half_normal),
    ("noise", "How large must an effect be to be seen?", _noise),
    ("power", "What can this design show at all?", _power),
    ("published", "What did synthetic data do in the published scores? (Wang et al. 2024, Table 17)", _published),
)
# drawn by notebook 02 from the training data
DATA_FIGURES = {
    "data_counts": "How many answers became examples, and where were the others lost? (Table 2)",
    "data_languages": "Are the texts in the language that was asked for?",
    "data_lengths": "Are the texts as long as was asked for?",
    "data_overlap": "How many words do query and positive, query and negative share?",
}
