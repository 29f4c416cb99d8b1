"""What the README and the pages beside it say holds: commands start, links lead somewhere, numbers are the tables'."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lib.common.bundled import ROOT, data_path
from lib.common.files import read_json
from lib.generate.answers import responses

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "tried.md")]
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
_BLOCKS = "\n".join(re.findall(r"^```\n((?:(?:git|make|PIP_)[^\n]*\n)+)```", TEXT, re.M))
_INLINE = re.findall(r"`([^`\n]*\b(?:make [a-z]|python |papermill )[^`\n]*)`", TEXT)
COMMANDS = sorted({line.split("  #")[0].strip() for line in [*_BLOCKS.splitlines(), *_INLINE]} - {""})


def test_the_readme_names_its_commands():
    assert len(COMMANDS) > 12 and any(command.startswith("make run") for command in COMMANDS)
    assert README.index("git clone") < README.index("make reproduce  ") < README.index("## The notebooks")


def test_the_first_screen_stays_short():
    assert len(README.splitlines()) <= 170
    assert all(f"(docs/{path.name})" in README for path in PAGES[1:]), "every page is found from the README"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "tried.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            name, _, place = target.partition("#")
            found = page.parent / name if name else page
            assert found.exists(), target
            heads = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.M) if place else []
            slugs = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
            assert not place or place in slugs, target


def test_every_target_of_the_makefile_is_told():
    rules = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    untold = [name for name in rules if not re.search(rf"`make {name}\b", TEXT)]
    assert untold == ["help"]


def test_the_headline_is_what_the_two_studies_found():
    table = pd.read_csv(ROOT / "figures" / "classroom" / "replication.csv", keep_default_na=False, na_values="")
    cells = table[table["level"] == "type"].set_index(["factor", "type"])
    for text in (README, (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")):
        words = " ".join(text.split())
        for kind in ("Reranking", "Classification"):
            cell = cells.loc[("ls", kind)]
            first = rf"{kind.lower()} \(\+{cell['first']:.1f}( points)? ± {cell['first_se']:.1f}( points)?"
            assert re.search(
                rf"{first}, (the second time|then) \+{cell['second']:.1f} ± {cell['second_se']:.1f}", words
            )
        marked = table[table["marked_first"]]
        assert f"Of {len(marked)} marked effects".lower() in words.lower()
        told = f"{marked['same_sign'].sum()} came back with the same sign and {marked['returned'].sum()} at p < .05"
        assert told in words


@pytest.mark.parametrize("page", ["README.md", "docs/statistics.md"])
def test_the_two_studies_agree_as_the_pages_say(page):
    table = pd.read_csv(ROOT / "figures" / "classroom" / "replication.csv")
    sets, types = (table[table["level"] == level][["first", "second"]].corr().iloc[0, 1] for level in ("task", "type"))
    said = f"agree at r = {sets:.2f} over the effects on single sets and {types:.2f} over those on task types"
    assert said in " ".join((ROOT / page).read_text(encoding="utf-8").split())


def test_the_base_model_is_where_the_page_says():
    page = (ROOT / "docs" / "own.md").read_text(encoding="utf-8")
    lines, names = page.split("```python\n")[1].split("from transformers")[0], {}
    assert "base = " in lines
    exec(lines, names)
    assert (Path(names["base"]) / "config.json").is_file()


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
    section = (ROOT / "docs" / "generator.md").read_text(encoding="utf-8")
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
        rows = responses(category, "smollm2-135m")
        assert len(rows) == measured["asked"] == table.loc[("small", category)].asked
        assert sum(row["tokens_out"] for row in rows) == measured["tokens_out"]
        assert [row["slots"] for row in rows] == [row["slots"] for row in responses(category)][: len(rows)]
