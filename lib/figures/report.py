"""The report: every figure with its numbers, the claims with their verdicts, and an index, from a results table alone.

`write_all("runs/classroom/results.csv", "figures/classroom")` is what `python -m lib figures` and notebook 05 call. It
needs neither torch nor mteb.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from lib.common import bundled
from lib.common.bundled import ROOT
from lib.common.design import CODES
from lib.common.files import KitError, digest, digest_file, write_text
from lib.common.numbers import minus
from lib.figures import replication as two
from lib.figures.base import category_name, save
from lib.figures.catalogue import DATA_FIGURES, FIGURES
from lib.influence import claims, tables
from lib.influence.influence import Analysis, analyse, published
from lib.influence.verdicts import Evidence
from lib.params.params import InfluenceParams

NOTEBOOK, DATA_NOTEBOOK = "notebooks/05_influence.ipynb", "notebooks/02_inspect.ipynb"
PUBLISHED = "published"
SECOND = "replication.csv"  # the table of the second study, committed beside the figures


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
    def notes(self) -> list[str]:
        """What must be read beside the figures."""
        return [re.sub(r" for : ", " for all tasks: ", note) for note in self.analysis.notes]

    @cached_property
    def reference(self) -> pd.DataFrame:
        """Published scores per data set."""
        return bundled.reference("published_mteb_scores")

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The claims with verdicts, see `lib.influence.claims.evaluate`."""
        return claims.evaluate(evidence(self))

    def level(self, name: str) -> pd.DataFrame:
        """The effects of one level: task, type or overall."""
        return self.analysis.effects[self.analysis.effects["level"] == name]


def build(
    results: str | Path,
    settings: InfluenceParams | None = None,
    draws: str | Path | None = None,
    data: str | Path | None = None,
    replication: str | Path | pd.DataFrame | None = None,
) -> Report:
    """Analyse a results file, or the bundled published scores when `results` is "published".

    `draws` and `data` default to `draws.csv` and `data/` beside the results, where they exist; `replication` is the
    table of a second study or its path (there may be none). A relative path of results is looked for here and then in
    the kit's root. Raises KitError as `analyse` does.
    """
    if str(results) == PUBLISHED:
        file = bundled.data_path("reference/published_mteb_scores.csv")
        analysis = analyse(published(), (settings or InfluenceParams()).model_copy(update={"exclude": ()}))
        analysis.notes.append(
            "The published scores are taken whole, SummEval included, as their authors averaged them."
        )
    else:
        file = Path(results)
        file = file if file.is_file() or file.is_absolute() else ROOT / file
        draws = Path(draws) if draws else file.parent / "draws.csv"
        draws = draws if draws.is_file() else None
        data = Path(data) if data else file.parent / "data"
        analysis = analyse(file, settings, draws)
    folder = data if data is not None and data.is_dir() else None
    used = [file, draws, *([folder / "generation.json", folder / "public.jsonl"] if folder else [])]
    inputs = {path.name: digest_file(path) for path in used if path is not None and path.is_file()}
    inputs["settings"] = digest(analysis.settings.model_dump(mode="json"))
    work = Report(analysis, inputs, folder)
    if replication is None or (isinstance(replication, str | Path) and not Path(replication).is_file()):
        return work
    return with_second(work, replication)


def second_study(out: Path) -> Path | None:
    """Return the second study's table beside the figures in `out`, or the committed one of that profile, if any."""
    found = (path for path in (out / SECOND, ROOT / "figures" / out.name / SECOND) if path.is_file())
    return next(found, None)


def with_second(report: Report, replication: str | Path | pd.DataFrame) -> Report:
    """Add a second study's table to a report; one about another first study is left out with a note."""
    table = two.read(replication)
    if not two.about(table, report.analysis.effects):
        note = f"{SECOND} is about another first study than these results and is not drawn; run `make replicate` again."
        report.analysis.notes.extend([note] if note not in report.analysis.notes else [])
        return report
    stamp = digest(table.to_csv(index=False, float_format="%.6g"))
    return replace(report, second=table, inputs=report.inputs | {SECOND: stamp})


def write_all(
    results: str | Path | Report,
    out_dir: str | Path,
    settings: InfluenceParams | None = None,
    draws: str | Path | None = None,
    data: str | Path | None = None,
    say: Callable[[str], object] | None = None,
) -> list[Path]:
    """Draw every figure, judge every claim and write INDEX.md into `out_dir`; return the paths written.

    `results` is a results.csv or a `Report`. A figure that these results cannot give is named in INDEX.md with the
    reason, not drawn. A `replication.csv` in `out_dir` is the second study of a report that has none. `say` gets every
    sentence that must be read beside the figures. Raises KitError for results that cannot be analysed.
    """
    report = results if isinstance(results, Report) else build(results, settings, draws, data)
    out, paths, missing = Path(out_dir), [], {}
    if report.second is None and (second := second_study(out)):
        report = with_second(report, second)
    for name, _, draw in FIGURES:
        try:
            paths += save(*draw(report), name, out).values()
        except KitError as error:
            missing[name] = str(error)
            for stale in (f"{name}.{kind}" for kind in ("svg", "png", "csv")):
                if stale != SECOND:  # an input, not a figure's table
                    (out / stale).unlink(missing_ok=True)  # a figure of earlier results would mislead
    paths.append(write_text(out / "claims.csv", report.claims.to_csv(index=False, lineterminator="\n")))
    paths.append(write_text(out / "claims.md", claims_markdown(report.claims)))
    paths.append(write_text(out / "INDEX.md", index(report, out, missing)))
    for sentence in (*report.notes, *(f"Not drawn: {name} ({why})." for name, why in missing.items())) if say else ():
        say(sentence)
    return paths


def index(report: Report, out: Path, missing: dict[str, str]) -> str:
    """The text of INDEX.md: figure, question, notebook, hash of the inputs; then what must be read beside them."""
    stamp = digest(report.inputs)
    lines = [
        "# Figures",
        "",
        f"Inputs {stamp}: " + ", ".join(f"{k} {v}" for k, v in report.inputs.items()) + ".",
        "",
        "| figure | answers | numbers | notebook | inputs |",
        "|---|---|---|---|---|",
    ]
    for name, title, _ in FIGURES:
        if name in missing:
            lines.append(f"| {name} | {title} | not drawn: {missing[name]} | {NOTEBOOK} | {stamp} |")
        else:
            lines.append(
                f"| [{name}]({name}.png) ([svg]({name}.svg)) | {title} | [{name}.csv]({name}.csv) "
                f"| {NOTEBOOK} | {stamp} |"
            )
    manifest = report.data / "manifest.json" if report.data else None
    data = digest_file(manifest) if manifest and manifest.is_file() else "unknown"
    for name in sorted(name for name in DATA_FIGURES if (out / f"{name}.svg").is_file()):
        lines.append(
            f"| [{name}]({name}.png) ([svg]({name}.svg)) | {DATA_FIGURES[name]} | [{name}.csv]({name}.csv) "
            f"| {DATA_NOTEBOOK} | triplets {data} |"
        )
    counts = report.claims["verdict"].value_counts()
    lines += [
        "",
        "Claims: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) + " ([claims.md](claims.md)).",
    ]
    if report.notes:
        lines += ["", "To be read beside the figures:", "", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def claims_markdown(judged: pd.DataFrame) -> str:
    """The claims as a table a person can read, with the rule that decided each."""
    lines = ["# Claims", "", "| claim | verdict | numbers | published | source |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.claim} | **{r.verdict}** | {r.numbers} | {r.published} | {r.source} |" for r in judged.itertuples()
    ]
    rules = dict(zip(judged["test"], judged["rule"], strict=True))
    return (
        "\n".join([*lines, "", "How each was decided:", "", *(f"- {kind}: {rule}" for kind, rule in rules.items())])
        + "\n"
    )


def evidence(report: Report) -> Evidence:
    """What the claims are judged on: the analysis, the published scores, the costs and the second study."""
    found = Evidence(report.analysis, report.reference, costs(report.data))
    return replace(found, replication=report.second) if hasattr(found, "replication") else found


def costs(data: Path | None) -> pd.DataFrame | None:
    """Costs of the run's generation, or None without a data folder."""
    if data is None or not (data / "generation.json").is_file():
        return None
    from lib.generate.costs import cost_table

    return cost_table(data)


def effect_table(a: Analysis, level: str = "type") -> pd.DataFrame:
    """Main effects as text, one row per type (or task) and a column per category: `+1.2 ± 0.3*` (points, se)."""
    rows = a.effects[a.effects["level"].isin([level, "overall"])]
    index = (
        rows["type"].where(rows["level"] == "type", tables.OVERALL)
        if level == "type"
        else rows["task"].where(rows["level"] == "task", tables.OVERALL)
    )
    text = [
        minus(e, 2) + (f" ± {se:.2f}" if se >= 0 else "") + ("*" if p < a.settings.alpha else "")
        for e, se, p in zip(rows["effect"], rows["se"], rows[a.corrected], strict=True)
    ]
    wide = rows.assign(row=index, text=text).pivot(index="row", columns="factor", values="text")
    wide = wide.reindex(index=list(dict.fromkeys(index)), columns=list(dict.fromkeys(rows["factor"])))
    return wide.rename(columns=category_name).rename_axis(index=None, columns=None)
