"""What a run says at its end: its table, whether it reproduced and comes back with fresh seeds, and all on one page.

``report.html`` needs nothing but a browser and asks no other host for anything. It is made of the files that a run
leaves, none of which it changes, so it can be written at any time: what is not there yet is said on the page.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.common.bundled import data_path, shown
from lib.common.design import BASE, CROSSED, FACTORIAL, GENERATORS, ISOLATION, generator_of
from lib.common.files import KitError, digest_file, write_text
from lib.figures.base import save
from lib.figures.catalogue import ASKED
from lib.figures.report import SECOND, build, read_second, write_all
from lib.figures.scores import replication
from lib.figures.texts import PLAIN, defined, effect_table, headline, read_effects
from lib.grid import status
from lib.grid.jobs import NOTEBOOKS, listed, spoken, stage_files
from lib.grid.results import read_scores, stale
from lib.grid.run import last_words, run
from lib.influence.influence import analyse, ceilings, compare, sentences
from lib.params.params import Params, flat, load

FIRST = ("influence", "alone", "crossed", "generators", "replication")  # in full view; the rest is folded
SAME_EVERYWHERE = ("params_hash", "data_hash", "code", "versions", "device", "world_size")
OF_DATA = ("params_hash", "data_hash")  # the same for all runs of a generator, and another for the next
ORIGIN = "versions device code params_hash data_hash draws steps effective_batch world_size".split()
STATES = {"-": "Not done yet", "FAILED": "Failed", "running": "At work", "stale": "Out of date"}  # of status.py
EFFECTS = {  # per design: the table whose effects are compared, and what tells them apart
    FACTORIAL: ("influence.csv", ["type", "factor"]),
    ISOLATION: ("alone.csv", ["public", "task", "type", "level", "factor"]),
    CROSSED: ("crossed.csv", ["type", "term"]),
    GENERATORS: ("generators.csv", ["against", "task", "type", "level", "generator"]),
}
NOISE = 1.0  # standard errors that an effect may move and still count as the same


# ── the table of scores ──────────────────────────────────────────────────────────────────────────────────
def type_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean score in points (0 to 100) per run name and task type, averaged over seeds, plus the mean."""
    wide = table.pivot_table(index="subset", columns="type", values="score", aggfunc="mean", sort=False) * 100
    wide = wide.loc[sorted(dict.fromkeys(table["subset"]), key=lambda name: name != BASE)]
    tasks = table.groupby(["subset", "task"])["score"].mean().groupby("subset").mean() * 100
    wide["all tasks"] = tasks.reindex(wide.index)
    return wide.round(1)


def mixed(table: pd.DataFrame) -> list[str]:
    """Return one sentence per provenance column in which the trained runs differ, naming the runs that are alone."""
    trained, notes = table[table["subset"] != BASE].drop_duplicates(["subset", "seed"]), []
    for column in (column for column in SAME_EVERYWHERE if column in trained):
        by = trained["subset"].map(generator_of) if column in OF_DATA else [""] * len(trained)
        for _, own in trained.groupby(by):
            value = own[column].map(str)  # a cell without one is like the next that has none
            other = own[value != value.value_counts().index[0]]
            if names := [f"{run.subset} seed {run.seed}" for run in other.itertuples()]:
                note = f"Note: not all runs have the same {column}: {listed(names)}, unlike the rest"
                notes.append(f"{note}; small differences between runs may come from that.")
    return notes


# ── does it come back? ───────────────────────────────────────────────────────────────────────────────────
def reproduced(fresh: Path, committed: Path, design: str = FACTORIAL) -> list[str]:
    """Return what a user is told about the figures of ``fresh`` beside those of ``committed``.

    Other processors round otherwise, so equal bytes are not asked for: a run has reproduced when every verdict is the
    same and no effect moved by more than ``NOISE`` of its own standard errors over runs. Nothing is said (an empty
    list) where one of the two has no effects, as on a profile that was never published.
    """
    name, keys = EFFECTS[design]
    files = [folder / file for folder in (fresh, committed) for file in (name, "claims.csv")]
    if not all(path.is_file() for path in files):
        return []
    new, new_claims, old, old_claims = (pd.read_csv(path, keep_default_na=False, na_values="") for path in files)
    both = old.merge(new, on=keys, suffixes=("_old", "_new"))
    if len(both) != len(old) or len(new) != len(old):
        return [f"Not comparable with {shown(committed)}: other categories or task types."]
    moved = (both["effect_new"] - both["effect_old"]).abs()
    share = (moved / both["se_old"]).fillna(moved.where(moved == 0, float("inf")))
    at = share.idxmax()
    cell = " on ".join(key for key in both.loc[at, keys[::-1]] if isinstance(key, str))
    verdicts = old_claims.merge(new_claims, on="id", how="outer", suffixes=("_old", "_new"))
    turned = verdicts[verdicts["verdict_old"] != verdicts["verdict_new"]]
    word = "Reproduced" if share[at] <= NOISE and turned.empty else "NOT reproduced"
    by = f"{moved[at]:.3f} points or {share[at]:.2f} of its standard error ({both['se_old'][at]:.2f})"
    changes = [f"Verdict changed: {row.id}, {row.verdict_old} -> {row.verdict_new}." for row in turned.itertuples()]
    first = f"{word}: against {shown(committed)}, the effect that moved most is {cell}, by {by}."
    return [first, *(changes or [f"All {len(verdicts)} verdicts are the same."])]


def replicate(
    profile: str, overrides: dict[str, Any], cores: int = 0, extra: Sequence[str] = (), cluster: str = ""
) -> list[str]:
    """Run the study of ``profile`` a second time and return sentences: what of it came back.

    ``replication.csv`` goes to the first study's figures, which are drawn again with both studies. Raises KitError
    where the first study is not finished, or the second has failures (what it has finished stays).
    """
    first = load(profile, overrides)
    results = [*stage_files(first)["score"].values(), first.results_file]
    if not all(path.is_file() for path in results) or stale(first):
        raise KitError(f"the first study of {first.profile} is not finished; run `make reproduce` before this")
    again = overrides_of(first, overrides)
    second = load(profile, again)
    if run(second, profile, again, cores, extra, cluster) or not second.results_file.is_file():
        raise KitError("\n".join(status.failures(second) or last_words(second)))
    table = compare(*(analyse(each.results_file, first.influence) for each in (first, second)))
    path = write_text(first.figure_dir / SECOND, table.to_csv(index=False, lineterminator="\n"))
    write_all(build(first.results_file, first.influence, first.figure_dir), first.figure_dir)
    return [*sentences(table), f"written to {path}; the figures show both studies now.", shown(write(first))]


def overrides_of(params: Params, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the overrides of the second study: another run folder, and seeds that the first never used."""
    seeds = [seed + 1000 * (1 + max(params.study.seeds) // 1000) for seed in params.study.seeds]
    return {**flat(overrides), "profile": f"{params.profile}-again", "study.seeds": seeds}


def compare_profiles(profile: str, other: str, overrides: dict[str, Any]) -> list[str]:
    """Draw the influences of two profiles' studies beside each other and return sentences: what they agree on.

    ``other`` is read as it stands; ``overrides`` are those of ``profile``. ``models.{png,svg,csv}`` go to the figures
    of ``profile``. Raises KitError where one of the studies has no results yet, or they have other sets.
    """
    both = load(other), load(profile, overrides)
    for params in both:
        if not params.results_file.is_file():
            raise KitError(f"{shown(params.results_file)} is not there; run `make reproduce PROFILE={params.profile}`")
    studies = [analyse(params.results_file, params.influence) for params in both]
    table, most = compare(*studies), ceilings(*studies)
    save(*replication(table, tuple(f"the {p.profile}'s study" for p in both), most), "models", both[1].figure_dir)
    told = [f"First study: {other}; second: {profile}.", *sentences(table)]
    return told + [f"Largest correlation to be expected, {level}: {r:.2f}." for level, r in most.items() if r == r]


# ── all on one page ──────────────────────────────────────────────────────────────────────────────────────
def write(params: Params) -> Path:
    """Write ``report.html`` beside the run's last file and return its path; the same page again is left as it is."""
    import jinja2

    form = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    text = form.from_string(data_path("report.html").read_text(encoding="utf-8")).render(content(params))
    path = params.influence_file.with_name("report.html")
    return path if path.is_file() and path.read_text(encoding="utf-8") == text else write_text(path, text)


def content(params: Params) -> dict[str, Any]:
    """Return all that stands on the page, by the names that ``lib/data/report.html`` uses."""
    scores = read_scores(params.results_file) if params.results_file.is_file() else None
    folder, effects = params.figure_dir, read_effects(params.figure_dir)
    claims, listing = folder / "claims.csv", folder / "INDEX.md"
    index = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    jobs, drawn = status.jobs(params), figures(params)
    second = read_second(folder / SECOND) if "replication" in [each["name"] for each in drawn] else None
    undrawn = [line.split(" | ") for line in index if " | not drawn: " in line]
    undrawn = [f"Not drawn: {part[0][2:]} ({part[2][11:]})." for part in undrawn]
    notes = [line[2:] for line in index if line.startswith("- ")]
    lacks = {"table of scores": scores is None, "figure": not drawn, "verdict on a claim": not claims.is_file()}
    lacks["second study (make replicate)"] = second is None and params.study.design == FACTORIAL
    missing = [f"No {name} yet." for name, so in lacks.items() if so]
    for state, word in STATES.items():
        if names := [spoken(job.name, job.stage) for job in jobs if job.state == state]:
            missing.append(f"{word} ({len(names)} of {len(jobs)} jobs): {listed(names)}.")
    origin = {"parameter file": params.file, "folder": shown(params.run_dir)}
    if scores is not None:
        made, now = scores[scores["subset"] != BASE], digest_file(params.results_file)
        origin |= {name: " or ".join(map(str, made[name].unique())) for name in ORIGIN if name in made}
        origin["results.csv"] = now
        if (then := re.search(r"results\.csv (\w{16})", "\n".join(index))) and then[1] != now:
            missing.append(f"The figures are of another table of scores ({then[1]}) than the one of this run ({now}).")
    took, say = {stage: [j.seconds for j in status.measured(jobs, stage)] for stage in NOTEBOOKS}, status.duration
    return {
        "params": params,
        "sets": 0 if scores is None else scores["task"].nunique(),
        "headline": headline(effects, params.influence),
        "missing": missing + undrawn,
        "effects": "" if effects is None else effect_table(effects, params.influence).to_html(**PLAIN),
        "second": [] if second is None else [line[0].upper() + line[1:] for line in sentences(second)],
        "codes": "" if second is None else defined(second["factor"].unique()),
        "claims": pd.read_csv(claims, keep_default_na=False).to_dict("records") if claims.is_file() else [],
        "scores": "" if scores is None else type_table(scores).to_html(**PLAIN),
        "figures": drawn,
        "notes": notes + ([] if scores is None else mixed(scores)),
        "origin": origin,
        "times": [(stage, len(s), say(sum(s) / len(s)), say(sum(s))) for stage, s in took.items() if s],
    }


def figures(params: Params) -> list[dict[str, Any]]:
    """Return name, question, and picture and numbers (in base64) of every figure of the run that is there."""
    found = []
    for name, (question, _) in ASKED.items():
        folder = params.data_figure_dir if name.startswith("data_") else params.figure_dir
        files = {kind: folder / f"{name}.{kind}" for kind in ("png", "csv")}
        if all(path.is_file() for path in files.values()):
            data = {kind: base64.b64encode(path.read_bytes()).decode() for kind, path in files.items()}
            found.append({"name": name, "question": question, "first": name in FIRST} | data)
    return found
