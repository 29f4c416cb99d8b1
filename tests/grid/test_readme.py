"""Every command of the README starts as it stands there, in a shell that knows nothing of the environment."""

import re
import shlex
import subprocess
import sys

import pandas as pd
import pytest

from lib.common.bundled import ROOT, data_path
from lib.common.files import read_json
from lib.generate import sources

README = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCKS = "\n".join(re.findall(r"^```\n((?:(?:git|make|PIP_)[^\n]*\n)+)```", README, re.M))
_INLINE = re.findall(
    r"`([^`\n]*\b(?:make [a-z]|python |papermill )[^`\n]*)`", README.replace("test-\nvllm", "test-vllm")
)
COMMANDS = sorted({line.split("  #")[0].strip() for line in [*_BLOCKS.splitlines(), *_INLINE]} - {""})


def test_the_readme_names_its_commands():
    assert len(COMMANDS) > 12 and any(command.startswith("make run") for command in COMMANDS)
    assert README.index("git clone") < README.index("make reproduce  ")


@pytest.mark.parametrize("command", COMMANDS)
def test_command_starts(command):
    if command.startswith("git clone <"):
        return  # the address is the reader's
    words = [word for word in shlex.split(command) if not word.startswith("PIP_")]
    if words[0] == "make":  # what it would do, without doing it
        done = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not re.search(r"^(papermill|jupyter|python|pytest) ", done.stdout, re.M), "not the kit's environment"
    else:
        assert words[0] == ".venv/bin/python", f"{command}: needs an activated environment"
        script = [sys.executable, *words[1:2], "--help"]
        assert subprocess.run(script, cwd=ROOT, capture_output=True).returncode == 0


def test_make_run_says_which_notebooks_there_are():
    done = subprocess.run(["make", "run", "NOTEBOOK=nothing"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "01_generate" in done.stdout


def test_the_small_generators_numbers_are_those_of_its_table():
    table = pd.read_csv(data_path("generators/smollm2-135m/yield.csv")).set_index(["prompts", "category"])
    section = README.split("## A real generator on a laptop")[1].split("\n## ")[0]
    for (prompts, category), row in table.iterrows():
        name = category.replace("_", "-")
        assert (
            f"| {prompts} | {name} | {row.asked} | {row.kept} | {row.seconds:.0f} | {row.tokens_per_second:.0f} |"
            in section
        )
        asked, kept = row.asked, row.kept
        assert asked == kept + sum(int(part.split()[-1]) for part in str(row.rejected).split("; "))
    made = read_json(data_path("generators/smollm2-135m/made.json"))
    for category, measured in made["measured"].items():
        rows = sources.responses(category, "smollm2-135m")
        assert len(rows) == measured["asked"] == table.loc[("small", category)].asked
        assert sum(row["tokens_out"] for row in rows) == measured["tokens_out"]
        assert [row["slots"] for row in rows] == [row["slots"] for row in sources.responses(category)][: len(rows)]
