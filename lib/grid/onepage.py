"""A run on one page: ``report.html`` needs nothing but a browser, and asks no other host for anything.

It is made of the files that a run leaves (tables, figures, executed notebooks), none of which it changes, so it can be
written at any time: what is not there yet is said on the page.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pandas as pd

from lib.common.bundled import data_path, shown
from lib.common.design import BASE, FACTORIAL
from lib.common.files import digest_file, write_text
from lib.figures import replication as two
from lib.figures.catalogue import ASKED
from lib.figures.names import HTML, defined, effect_table, headline, read_effects
from lib.figures.report import SECOND
from lib.grid import results, status
from lib.grid.jobs import listed, spoken
from lib.influence.influence import sentences
from lib.params.params import Params

FIRST = ("influence", "alone", "crossed", "generators", "replication")  # in full view; the rest is folded
ORIGIN = "versions device code params_hash data_hash draws steps effective_batch world_size".split()
STATES = {
    status.WAITING: "Not done yet",
    status.FAILED: "Failed",
    status.RUNNING: "At work",
    status.STALE: "Out of date",
}


def write(params: Params) -> Path:
    """Write ``report.html`` beside the run's last file and return its path; the same page again is left as it is."""
    import jinja2

    form = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    text = form.from_string(data_path("report.html").read_text(encoding="utf-8")).render(content(params))
    path = params.influence_file.with_name("report.html")
    return path if path.is_file() and path.read_text(encoding="utf-8") == text else write_text(path, text)


def content(params: Params) -> dict[str, Any]:
    """Return all that stands on the page, by the names that ``lib/data/report.html`` uses."""
    scores = results.read_scores(params.results_file) if params.results_file.is_file() else None
    effects, claims = read_effects(params.figure_dir), params.figure_dir / "claims.csv"
    jobs, drawn, notes = status.jobs(params), figures(params), _notes(params.figure_dir / "INDEX.md")
    second = two.read(params.figure_dir / SECOND) if "replication" in [each["name"] for each in drawn] else None
    lacks = {"table of scores": scores is None, "figure": not drawn, "verdict on a claim": not claims.is_file()}
    lacks["second study (make replicate)"] = second is None and params.study.design == FACTORIAL
    lines = [f"No {name} yet." for name, so in lacks.items() if so] + not_done(jobs)
    return {
        "params": params,
        "sets": 0 if scores is None else scores["task"].nunique(),
        "headline": headline(effects, params.influence),
        "missing": lines + older(params) + [line for line in notes if line.startswith("Not drawn")],
        "effects": "" if effects is None else effect_table(effects, params.influence).to_html(**HTML),
        "second": [] if second is None else [line[0].upper() + line[1:] for line in sentences(second)],
        "codes": "" if second is None else defined(second["factor"].unique()),
        "claims": pd.read_csv(claims, keep_default_na=False).to_dict("records") if claims.is_file() else [],
        "scores": "" if scores is None else results.type_table(scores).to_html(**HTML),
        "figures": drawn,
        "notes": notes + ([] if scores is None else results.mixed(scores)),
        "origin": origin(params, scores),
        "times": times(jobs),
    }


def figures(params: Params) -> list[dict[str, Any]]:
    """Return name, question, and picture and numbers (in base64) of every figure of the run that is there."""
    found = []
    for name, (question, _) in ASKED.items():
        stem = (params.data_figure_dir if name.startswith("data_") else params.figure_dir) / name
        files = {kind: stem.with_suffix(f".{kind}") for kind in ("png", "csv")}
        if all(path.is_file() for path in files.values()):
            data = {kind: base64.b64encode(path.read_bytes()).decode() for kind, path in files.items()}
            found.append({"name": name, "question": question, "first": name in FIRST} | data)
    return found


def not_done(jobs: list[status.Job]) -> list[str]:
    """Return a sentence per state in which jobs are that are not done, naming them."""
    lines = []
    for state, word in STATES.items():
        names = [job.stage + f" {spoken(job.name)}" * (job.stage != job.name) for job in jobs if job.state == state]
        lines += [f"{word} ({len(names)} of {len(jobs)} jobs): {listed(names)}."] if names else []
    return lines


def older(params: Params) -> list[str]:
    """Return a sentence where the figures were drawn from another table of scores than the one that is there now."""
    index, table = params.figure_dir / "INDEX.md", params.results_file
    drawn = re.search(r"results\.csv (\w{16})", index.read_text(encoding="utf-8")) if index.is_file() else None
    if drawn is None or not table.is_file() or drawn[1] == digest_file(table):
        return []
    return [f"The figures are of another table of scores ({drawn[1]}) than the one of this run ({digest_file(table)})."]


def origin(params: Params, scores: pd.DataFrame | None) -> dict[str, str]:
    """Return where the numbers come from: parameter file, digest of the table, and what the scores have recorded."""
    found = {"parameter file": params.file, "folder": shown(params.run_dir)}
    if scores is None:
        return found
    made = scores[scores["subset"] != BASE]
    found |= {name: " or ".join(map(str, made[name].unique())) for name in ORIGIN if name in made}
    return found | {"results.csv": digest_file(params.results_file)}


def times(jobs: list[status.Job]) -> list[tuple[str, int, str, str]]:
    """Return (stage, jobs measured, one job's mean time, time of all together) per stage that has finished jobs."""
    told = {stage: status.measured(jobs, stage) for stage in dict.fromkeys(job.stage for job in jobs)}
    return [
        (stage, len(s), status.duration(sum(s) / len(s)), status.duration(sum(s))) for stage, s in told.items() if s
    ]


def _notes(index: Path) -> list[str]:
    """What INDEX.md says must be read beside the figures, and which could not be drawn."""
    lines = index.read_text(encoding="utf-8").splitlines() if index.is_file() else []
    undrawn = [line.split(" | ") for line in lines if " | not drawn: " in line]
    return [line[2:] for line in lines if line.startswith("- ")] + [
        f"Not drawn: {p[0][2:]} ({p[2][11:]})." for p in undrawn
    ]
