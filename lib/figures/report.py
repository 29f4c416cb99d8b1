"""The report: every figure with its numbers, the claims with their verdicts, and an index, from a results table alone.

`write_all(build("runs/classroom/results.csv"), "figures/classroom")` is what `python -m lib figures` and notebook 05
call. It needs neither torch nor mteb.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lib.common import bundled
from lib.common.bundled import ROOT, shown
from lib.common.design import GENERATORS, ISOLATION, generator_of, parse_run
from lib.common.files import KitError, digest, digest_file, write_json, write_text
from lib.figures.base import save
from lib.figures.catalogue import ASKED, Report
from lib.influence.designs import contrasts, cost_per_thousand, isolation
from lib.influence.influence import analyse, published, without_excluded
from lib.influence.scores import read, study
from lib.params.model import InfluenceParams
from lib.params.params import Params
from lib.params.provenance import decisive

NOTEBOOK = "notebooks/05_influence.ipynb"
OF_DATA = [f"notebooks/{name}.ipynb" for name in ("02_inspect", "03_train", "04_score")]
PUBLISHED = "published"
SECOND = "replication.csv"  # the table of the second study, committed beside the figures
KEYS = ["level", "task", "type", "factor"]
COSTS = "costs.csv"  # beside the results of generators: what their answers took


def build(results: str | Path, settings: InfluenceParams | None = None, out: str | Path | None = None) -> Report:
    """Analyse a results file, or the bundled published scores when `results` is "published".

    `draws.csv`, `costs.csv` and `data/` beside the results (`data/` one folder up where designs share it) are used
    where they exist, and a second study's table in the folder `out` of the figures. A relative path is looked for here,
    then in the kit's root. Raises KitError as `analyse` does.
    """
    settings, extra, folder = settings or InfluenceParams(), [], None
    if str(results) == PUBLISHED:
        file = bundled.data_path("reference/published_mteb_scores.csv")
        analysis = analyse(published(), settings.model_copy(update={"exclude": ()}))
        analysis.notes.append(
            "The published scores are taken whole, SummEval included, as their authors averaged them."
        )
    else:
        file = Path(results)
        file = file if file.is_file() or file.is_absolute() else ROOT / file
        near, above = file.parent / "data", file.parent.parent / "data"
        folder = near if near.is_dir() else above if (above / "manifest.json").is_file() else None
        if design := design_of(read(file)):
            return _without_regression(design, file, settings, folder)
        draws = file.with_name("draws.csv")
        analysis = analyse(file, settings, draws if draws.is_file() else None)
        extra = [draws, *(folder / name for name in ("generation.json", "public.jsonl") if folder)]
    inputs = {path.name: digest_file(path) for path in (file, *extra) if path.is_file()}
    inputs["settings"] = digest(analysis.settings.model_dump(mode="json", exclude={"margin"}))  # of generators
    work = Report(analysis, inputs, folder, settings=analysis.settings)
    second = second_study(Path(out)) if out else None
    return with_second(work, second) if second else work


def design_of(results: pd.DataFrame) -> str:
    """The design of a table by its runs' names: isolation or generators, "" for all with a regression."""
    names = [str(name) for name in results["subset"].unique()] if "subset" in results else []
    if any(generator_of(name) for name in names):
        return GENERATORS
    try:
        runs = [parse_run(name) for name in names if name != "base"]
    except KitError:
        return ""
    alone = [subset for subset, public in runs if not public]
    return ISOLATION if alone and all(len(subset) < 2 for subset, _ in runs) else ""


def _without_regression(design: str, file: Path, settings: InfluenceParams, data: Path | None) -> Report:
    (kept, notes), costs = without_excluded(read(file), settings.exclude), file.with_name(COSTS)
    inputs = {path.name: digest_file(path) for path in (file, costs) if path.is_file()}
    inputs["settings"] = digest(settings.model_dump(mode="json"))
    if design == ISOLATION:
        table = isolation(study(kept, settings.nan), settings.alpha)
    else:
        table = contrasts(kept, settings.margin, settings.alpha)
    spent = pd.read_csv(costs) if costs.is_file() else None
    return Report(None, inputs, data, None, table, spent, settings, (*notes, *table.attrs.get("notes", ())))


def read_second(path: str | Path) -> pd.DataFrame:
    """Return a second study's effects beside the first's, as `lib.influence.influence.compare` makes them."""
    # the difference is not used; as a text it stays as it is written
    table = pd.read_csv(path, keep_default_na=False, na_values="", dtype={"difference": str})
    return table.fillna({"task": "", "type": ""})


def about(table: pd.DataFrame, effects: pd.DataFrame) -> bool:
    """Whether its first study is the one of these effects (half a standard error is another machine's rounding)."""
    both = table.merge(effects[[*KEYS, "effect"]].fillna({"task": "", "type": ""}), on=KEYS)
    apart, error = (both["first"] - both["effect"]).abs().median(), both["first_se"].median()
    return len(both) >= 0.5 * len(table) and bool(apart <= max(0.005, 0.5 * float(np.nan_to_num(error))))


def second_study(out: Path) -> Path | None:
    """Return the second study's table beside the figures in `out`, or the committed one of that profile, if any."""
    found = (path for path in (out / SECOND, ROOT / "figures" / out.name / SECOND) if path.is_file())
    return next(found, None)


def with_second(report: Report, path: Path) -> Report:
    """Add a second study's table to a report; one about another first study is left out with a note."""
    table = read_second(path)
    if not about(table, report.analysis.effects):
        note = f"{SECOND} is about another first study than these results and is not drawn; run `make replicate` again."
        report.analysis.notes.append(note)
        return report
    stamp = digest(table.to_csv(index=False, float_format="%.6g"))
    return replace(report, second=table, inputs=report.inputs | {SECOND: stamp})


def drawn(params: Params, design: str) -> Path | None:
    """Return the folder of a design's figures: of its last run here, else the committed ones, None where neither is."""
    folder = params.data_figure_dir
    places = (folder.with_name(f"{folder.name}-{design}"), ROOT / "figures" / f"{params.profile}-{design}")
    return next((place for place in places if (place / "INDEX.md").is_file()), None)


def of_design(params: Params) -> list[str]:
    """Draw the figures of a design other than the factorial, write its last file, and return what was found."""
    work = build(params.results_file, params.influence, params.figure_dir)
    drawn = sorted(path.stem for path in write_all(work, params.figure_dir) if path.suffix == ".png")
    verdicts = dict(zip(work.claims["id"], work.claims["verdict"], strict=True))
    record = {"inputs": work.inputs, "made_of": decisive(params, "influence"), "notes": work.notes}
    write_json(params.influence_file, record | {"verdicts": verdicts, "figures": drawn})
    return [f"{len(drawn)} figures, their numbers and INDEX.md in {shown(params.figure_dir)}"]


def write_all(report: Report, out_dir: str | Path, say: Callable[[str], object] = lambda sentence: None) -> list[Path]:
    """Draw every figure, judge every claim and write INDEX.md into `out_dir`; return the paths written.

    A figure that these results cannot give is named in INDEX.md with the reason, not drawn. `say`
    gets every sentence to be read beside the figures.
    """
    out, paths, missing = Path(out_dir), [], {}
    for name, _, draw in report.figures:
        try:
            paths += save(*draw(report), name, out).values()
        except KitError as error:
            missing[name] = str(error)
            for old in {f"{name}.{kind}" for kind in ("svg", "png", "csv")} - {SECOND}:  # SECOND is an input
                (out / old).unlink(missing_ok=True)  # a figure of earlier results would mislead
    judged = report.claims
    paths.append(write_text(out / "claims.csv", judged.to_csv(index=False, lineterminator="\n")))
    paths.append(write_text(out / "claims.md", claims_markdown(judged)))
    paths.append(write_text(out / "INDEX.md", index(report, out, missing)))
    for sentence in (*report.notes, *(f"Not drawn: {name} ({why})." for name, why in missing.items())):
        say(sentence)
    return paths


def index(report: Report, out: Path, missing: dict[str, str]) -> str:
    """The text of INDEX.md: figure, question, notebook, hash of the inputs; then what must be read beside them."""
    stamp = digest(report.inputs)
    manifest = report.data / "manifest.json" if report.data else None
    data = f"triplets {digest_file(manifest) if manifest and manifest.is_file() else 'unknown'}"
    lines = ["# Figures", "", f"Inputs {stamp}: " + ", ".join(f"{k} {v}" for k, v in report.inputs.items()) + ".", ""]
    lines += ["| figure | answers | numbers | notebook | inputs |", "|---|---|---|---|---|"]
    rows = [(name, title, NOTEBOOK, stamp) for name, title, _ in report.figures]
    others = [(n, *asked) for n, asked in ASKED.items() if asked[1] != NOTEBOOK and (out / f"{n}.svg").is_file()]
    rows += [(*row, data) for row in sorted(others, key=lambda row: (row[2], row[0])) if row[2] in OF_DATA]
    rows += [(*row, stamp) for row in sorted(others) if row[2] not in OF_DATA]
    for name, title, notebook, inputs in rows:
        files = f"[{name}]({name}.png) ([svg]({name}.svg)) | {title} | [{name}.csv]({name}.csv)"
        files = f"{name} | {title} | not drawn: {missing[name]}" if name in missing else files
        lines.append(f"| {files} | {notebook} | {inputs} |")
    if report.design == GENERATORS and report.costs is not None:
        head = "| generator | valid of asked | tokens read | tokens written | seconds | price |"
        lines += ["", "Cost of a thousand valid triplets:", "", head, "|---|---|---|---|---|---|"]
        for row in cost_per_thousand(report.costs).itertuples():
            told = [f"{value:,.0f}" for value in (row.tokens_in, row.tokens_out, row.seconds)]
            told = [text.replace("nan", "not measured") for text in told]
            told.append("not measured" if pd.isna(row.cost) else f"{row.cost:,.2f} {row.currency}")
            lines.append(f"| {row.generator} | {row.valid} of {row.asked} | {' | '.join(told)} |")
    counted = ", ".join(f"{n} {verdict}" for verdict, n in report.claims["verdict"].value_counts().items())
    lines += ["", f"Claims: {counted} ([claims.md](claims.md))."]
    if report.notes:
        lines += ["", "To be read beside the figures:", "", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def claims_markdown(judged: pd.DataFrame) -> str:
    """The claims as a table a person can read, with the rule that decided each."""
    lines = ["# Claims", "", "| claim | verdict | numbers | published | source |", "|---|---|---|---|---|"]
    for row in judged.itertuples():
        lines.append(f"| {row.claim} | **{row.verdict}** | {row.numbers} | {row.published} | {row.source} |")
    rules = dict(zip(judged["test"], judged["rule"], strict=True))
    lines += ["", "How each was decided:", "", *(f"- {kind}: {rule}" for kind, rule in rules.items())]
    return "\n".join(lines) + "\n"
