"""Eighty things people type, half of them wrong: run all and write what came as a table (docs/tried.md).

    python tests/tools/tried.py [docs/tried.md]        after `make reproduce`; a few minutes

Every command is the kit's own command line in this process (`python -m lib ...`), or a function that a notebook calls;
what writes, writes below a temporary folder. Listed is the last line that a user would see.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import pandas as pd

from lib.__main__ import main
from lib.common.bundled import ROOT, data_path
from lib.common.design import design_runs, parse_run, run_in_order
from lib.common.files import KitError
from lib.params.params import load
from lib.score import suites

HERE = Path(tempfile.mkdtemp(prefix="tried-"))
RESULTS = ROOT / "runs" / "classroom" / "results.csv"


def table(name: str, change=lambda t: t, **options) -> str:
    """Write a changed copy of the classroom's results and return its path."""
    place = HERE / f"{name}.csv"
    change(pd.read_csv(RESULTS)).to_csv(place, index=False, **options)
    return str(place)


def figures(path: str) -> list[str]:
    """The command that draws figures from a table."""
    return ["figures", "--results", path, "--out", str(HERE / "drawn" / Path(path).stem)]


def overrides(command: str, **values) -> list[str]:
    """A command with parameters laid over the classroom's."""
    return [command, "--overrides", json.dumps({name.replace("__", "."): value for name, value in values.items()})]


def own_set(name: str, rows: list[dict], **spec) -> Path:
    """Write an evaluation set of one's own and return its folder."""
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    (folder / "Mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = {"type": "STS", "file": "Mine.jsonl", "instruction": "Retrieve semantically similar text.", **spec}
    (folder / "Mine.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return folder


OWN = {"ss": "poems", "sl": "news", "ls": "labels", "ll": "code"}
PAIRS = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "score": i} for i in range(6)]
IDIOM = {"label": 0, "text": "a", "split": "train"}


def read(folder: Path) -> list:
    """Read every set of a folder, as notebook 04 does."""
    tasks = suites.tasks(str(folder))
    for task in tasks:
        task.load_data()
    return [task.metadata.name for task in tasks]


def twice(rows: pd.DataFrame) -> pd.DataFrame:
    """The table with one row a second time, with another score."""
    return pd.concat([rows, rows.query("subset == 'ss'").tail(1).assign(score=0.1)])


def wishes() -> list[tuple]:
    """(what, command or function): ordinary wishes."""
    first = pd.read_csv(RESULTS)["task"].iloc[0]
    return [
        ("the commands", ["--help"]),
        ("is this machine fit?", ["check"]),
        ("is it fit for the paper's profile?", ["check", "--profile", "paper"]),
        ("how far is the study?", ["status"]),
        ("how far is one of a changed rate?", overrides("status", training__learning_rate=1e-3)),
        ("the same, nested", ["status", "--overrides", '{"training": {"learning_rate": 0.001}}']),
        ("what does the paper cost?", ["plan", "--profile", "paper"]),
        ("what does the laptop cost?", ["plan", "--profile", "laptop"]),
        ("what does a third seed cost?", overrides("plan", study__seeds=[0, 1, 2])),
        ("what does another design cost?", overrides("plan", study__design="crossed")),
        ("what is left of a finished study?", ["plan"]),
        ("collect the scores again", ["collect"]),
        ("figures of the study", figures(table("study"))),
        ("figures of one seed", figures(table("one-seed", lambda t: t[t["seed"] == 0]))),
        ("figures of half the subsets", figures(table("half", lambda t: t[t["subset"].str.count("[+]") != 1]))),
        ("figures of one type", figures(table("retrieval", lambda t: t[t["type"] == "Retrieval"]))),
        ("figures of one set", figures(table("one-set", lambda t: t[t["task"] == first]))),
        ("a table without types", figures(table("no-types", lambda t: t.drop(columns="type")))),
        ("a table without seeds", figures(table("no-seeds", lambda t: t[t["seed"] == 0].drop(columns="seed")))),
        ("a table without the base", figures(table("no-base", lambda t: t[t["subset"] != "base"]))),
        (
            "a table with categories of one's own",
            figures(table("own", lambda t: t.drop(columns="subset").rename(columns=OWN))),
        ),
        ("a table in points", figures(table("points", lambda t: t.assign(score=100 * t["score"])))),
        ("a table with blanks in names", figures(table("blanks", lambda t: t.assign(task=t["task"] + " ")))),
        ("parameters of the paper", lambda: load("paper").profile),
        ("parameters of the laptop", lambda: load("laptop").profile),
        ("a parameter file by path", lambda: load(ROOT / "params" / "classroom.yaml").profile),
        (
            "1e-3 as YAML 1.1 reads it, a text",
            lambda: load("classroom", {"training.learning_rate": "1e-3"}).training.learning_rate,
        ),
        ("seeds as a number", lambda: load("classroom", {"study.seeds": 3}).study.seeds),
        ("a subset in another order", lambda: run_in_order("ll+ss")),
        ("the subset without public data", lambda: parse_run("ss+ll-alone")),
        ("the untrained base", lambda: run_in_order("base", base=True)),
        ("the crossed design", lambda: len(design_runs("crossed"))),
        ("the isolation design, two seeds", lambda: len(design_runs("isolation", range(2)))),
        ("the bundled suite", lambda: len(suites.tasks("classroom"))),
        ("the paper's suite", lambda: len(suites.tasks("MTEB(eng, v1)"))),
        ("MTEB by its short name", lambda: len(suites.tasks("MTEB"))),
        ("three tasks by name", lambda: [t.metadata.name for t in suites.tasks(["STS12", "TechSTS", "SciFact"])]),
        ("a set of one's own", lambda: read(own_set("pairs", PAIRS))),
        ("a folder of bundled sets", lambda: len(suites.tasks(str(data_path("classroom/suite"))))),
        ("a study of its own name", overrides("status", profile="mine")),
    ]


def wrong() -> list[tuple]:
    """(what, command or function): wrong inputs."""
    return [
        ("an unknown command", ["reproduse"]),
        ("an unknown profile", ["status", "--profile", "labtop"]),
        ("an unknown parameter", overrides("status", training__learning_rte=0.1)),
        ("an unknown section", overrides("status", trainings__steps=4)),
        ("a section as a number", overrides("status", training=4)),
        ("overrides that are no JSON", ["status", "--overrides", "{training.steps: 4"]),
        ("overrides that are a list", ["status", "--overrides", "[1]"]),
        ("a rate below zero", overrides("status", training__learning_rate=-1)),
        ("a rate as a word", overrides("status", training__learning_rate="fast")),
        ("a batch of one", overrides("status", training__batch_size=1)),
        ("no seeds", overrides("status", study__seeds=[])),
        ("a seed twice", overrides("status", study__seeds=[0, 0])),
        ("an unknown design", overrides("status", study__design="full")),
        ("an unknown backend", overrides("status", generation__backend="gpt")),
        ("an unknown category", overrides("status", study__categories=["short_short", "shrt_long"])),
        ("an unknown subset", lambda: parse_run("ss+lll")),
        ("the base where a subset is asked for", lambda: run_in_order("base")),
        ("bse for base", lambda: run_in_order("bse", base=True)),
        ("nothing to train on", lambda: parse_run("none-alone")),
        ("an unknown suite", lambda: suites.tasks("MTEB(english)")),
        ("a task that is nearly right", lambda: suites.tasks("SciFacts")),
        ("an empty suite", lambda: suites.tasks([])),
        ("a suite with a set twice", lambda: suites.tasks(["STS12", "STS12"])),
        ("an empty folder as suite", lambda: suites.tasks(str((HERE / "empty").mkdir() or HERE / "empty"))),
        ("a set of an unknown type", lambda: read(own_set("type", PAIRS, type="STSs"))),
        ("a set whose file is missing", lambda: read(own_set("missing", PAIRS, file="Other.jsonl"))),
        ("a row without a text", lambda: read(own_set("row", [*PAIRS, PAIRS[0] | {"sentence2": ""}]))),
        ("a row without a column", lambda: read(own_set("column", [*PAIRS, {"sentence1": "a", "score": 1}]))),
        ("a score as a word", lambda: read(own_set("score", [*PAIRS, PAIRS[0] | {"score": "high"}]))),
        ("a classification of one label", lambda: read(own_set("label", [IDIOM] * 4, type="Classification"))),
        ("a table that does not exist", figures(str(HERE / "nothing.csv"))),
        ("an empty table", figures(table("empty", lambda t: t.head(0)))),
        ("a table without scores", figures(table("no-score", lambda t: t.drop(columns="score")))),
        ("semicolons between the columns", figures(table("semicolon", sep=";"))),
        ("yes and no instead of 1 and 0", figures(table("yes", lambda t: t.drop(columns="subset").assign(
            **{c: t[c].map({1: "yes", 0: "no"}) for c in ("ss", "sl", "ls", "ll")})))),
        ("half a category", figures(table("half-category", lambda t: t.assign(ss=t["ss"].replace(0, 0.5))))),
        ("a score that is missing", figures(table("nan", lambda t: t.assign(score=t["score"].where(t.index != 40))))),
        ("a row twice", figures(table("twice", twice))),
        ("two rows", figures(table("two", lambda t: t[t["subset"].isin(["none", "ss"])].head(2)))),
        ("a cluster that has no profile", ["reproduce", "--cluster", "slrum"]),
    ]  # fmt: skip


def outcome(action) -> str:
    """Return the last line a user sees, ``TRACEBACK`` and all where it is not one of ours."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            if callable(action):
                print(action())
            else:
                main(action)
    except KitError as error:
        print(f"KitError: {error}", file=out)
    except SystemExit:
        pass
    except BaseException:
        print("TRACEBACK " + traceback.format_exc().strip().splitlines()[-1], file=out)
    lines = [line.strip() for line in out.getvalue().splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("KitError")), lines[-1] if lines else "")
    return re.sub(r"\S*tried-[^/ ]*/", "…/", said.replace(str(ROOT) + "/", ""))[:300].replace("|", "\\|")


def run() -> str:
    """Return the page."""
    parts = ["# Tried", "", "Forty ordinary wishes and forty wrong inputs, and the last line that came "
             "(`python tests/tools/tried.py docs/tried.md` writes this page).", ""]  # fmt: skip
    for title, rows in (("Ordinary wishes", wishes()), ("Wrong inputs", wrong())):
        parts += [f"## {title}", "", "| | input | what came |", "|---|---|---|"]
        for number, (what, action) in enumerate(rows, start=1):
            shown = "" if callable(action) else f": `{' '.join(action)}`".replace(str(HERE), "…").replace("|", "\\|")
            parts.append(f"| {number} | {what}{shown} | {outcome(action)} |")
            print(parts[-1], flush=True)
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    os.chdir(ROOT)
    page = run()
    shutil.rmtree(HERE)
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(page)
    raise SystemExit("TRACEBACK" in page)
