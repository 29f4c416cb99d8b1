"""The kit's few commands: ``python -m lib reproduce | replicate | plan | status | check | collect | figures | notebooks | run``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from lib.common.files import KitError


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


def reproduce(arguments: argparse.Namespace) -> int:
    """Run the whole grid, print the table, the time and the figures, and name every failure."""
    from lib.grid import reproduced, results
    from lib.grid import run as grid
    from lib.grid.failures import last_words
    from lib.grid.identity import stale
    from lib.grid.workload import shown
    from lib.params.params import load

    overrides = _overrides(arguments.overrides)
    params = load(arguments.profile, overrides)
    started = time.perf_counter()
    code = grid.run(params, arguments.profile, overrides, arguments.cores, arguments.snakemake, arguments.cluster)
    notes = grid.failures(params) or (last_words(params) if code else [])
    print(*notes, sep="\n", end="\n" if notes else "")
    wanted = [*results.score_files(params).values(), params.results_file]
    if incomplete := bool(any(not path.exists() for path in wanted) or stale(params)):
        print(*results.collect(params, allow_missing=True)[1], sep="\n")
    if incomplete or not params.inspect_file.exists():
        print(*grid.influence_anyway(params, arguments.profile, overrides), sep="\n")
    table = results.read_scores(params.results_file)
    print(results.type_table(table).to_string())
    print(*results.mixed(table), sep="\n")
    cores = arguments.cores or os.cpu_count() or 1
    print(*grid.time_table(params, time.perf_counter() - started, cores), sep="\n")
    for figure in sorted(params.figure_dir.glob("*.png")):
        print(f"  {shown(figure)}")
    print(*reproduced.sentences(params.figure_dir, params.profile), sep="\n")
    return code


def replicate(arguments: argparse.Namespace) -> int:
    """Run the study again with fresh seeds and say, cell by cell, what came back."""
    from lib.grid.again import replicate

    overrides = _overrides(arguments.overrides)
    print(*replicate(arguments.profile, overrides, arguments.cores, arguments.snakemake, arguments.cluster), sep="\n")
    return 0


def collect(arguments: argparse.Namespace) -> int:
    """Write results.csv from the score files."""
    from lib.grid import results
    from lib.params.params import load

    path, sentences = results.collect(load(arguments.profile, _overrides(arguments.overrides)), arguments.allow_missing)
    print(path, *sentences, sep="\n")
    return 0


def plan(arguments: argparse.Namespace) -> int:
    """Say before anything runs what it will take: steps, tokens, hours, disk, price, by stage."""
    from lib.grid import plan
    from lib.params.params import load

    overrides = _overrides(arguments.overrides)
    print(
        plan.report(
            load(arguments.profile, overrides), arguments.profile, overrides, arguments.cores, arguments.calibrate
        )
    )
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Show which jobs are done, which failed and why, and how long the rest will take."""
    from lib.grid import status
    from lib.params.params import load

    print(status.report(load(arguments.profile, _overrides(arguments.overrides))))
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Say [OK] or [FAIL] for everything the profile needs of this machine, with the mend."""
    from lib.grid import check
    from lib.params.params import load

    wrong = 0
    for finding in check.findings(load(arguments.profile, _overrides(arguments.overrides))):
        print(finding, flush=True)
        wrong += not finding.ok
    return 1 if wrong else 0


def figures(arguments: argparse.Namespace) -> int:
    """Draw every figure from a results table alone, with the influence settings of a profile."""
    from lib.figures import report
    from lib.params.params import load

    settings = load(arguments.profile, _overrides(arguments.overrides)).influence
    for path in report.write_all(Path(arguments.results), Path(arguments.out), settings, say=print):
        print(path)
    return 0


def notebooks(arguments: argparse.Namespace) -> int:
    """Execute the committed notebooks again, in place, on a finished run."""
    from lib.grid.notebooks import refresh
    from lib.params.params import load

    for path in refresh(load("classroom")):
        print(path, flush=True)
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Execute one notebook with papermill; its parameters follow as -p NAME VALUE, and an error is one sentence."""
    from lib.grid.notebooks import run_one

    run_one(arguments.notebook, Path(arguments.out), arguments.p, _overrides(arguments.overrides))
    print(arguments.out)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run one command; a KitError is printed as its one sentence, exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m lib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for function in (reproduce, replicate, plan, status, check, collect, figures, notebooks, run):
        sub = commands.add_parser(function.__name__, help=function.__doc__.split("\n")[0])
        sub.set_defaults(function=function)
        if function is notebooks:
            continue
        if function is run:
            sub.add_argument("notebook", help="its number or name: 03, or 03_train")
            sub.add_argument("out", help="file for the executed notebook")
            sub.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter")
            sub.add_argument("--overrides", default="{}", help="JSON object of parameters, dotted or nested")
            continue
        if function is figures:
            sub.add_argument("--results", required=True, help="a results.csv, ours or your own")
            sub.add_argument("--out", required=True, help="folder for the figures")
        sub.add_argument("--profile", default="classroom", help="a profile's name or a parameter file")
        sub.add_argument("--overrides", default="{}", help="JSON object of parameters, dotted or nested")
        if function in (reproduce, replicate, plan):
            sub.add_argument("--cores", type=int, default=0, help="processor cores to use (0: all)")
        if function is plan:
            sub.add_argument(
                "--calibrate",
                action=argparse.BooleanOptionalAction,
                default=None,
                help="measure a short rehearsal on this machine (default: where it takes about a minute)",
            )
        if function in (reproduce, replicate):
            sub.add_argument("--cluster", default="", help="run the jobs through this profile of params/cluster")
            sub.add_argument("--snakemake", nargs=argparse.REMAINDER, default=[], help="the rest goes to Snakemake")
        if function is collect:
            sub.add_argument("--allow-missing", action="store_true", help="write the table although runs are missing")
    arguments = parser.parse_args(argv)
    try:
        return arguments.function(arguments)
    except KitError as error:
        print(f"KitError: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
