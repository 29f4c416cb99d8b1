"""Every command of the README starts as it stands there, in a shell that knows nothing of the environment."""

import re
import shlex
import subprocess
import sys

import pytest

from lib.common.bundled import ROOT

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
