"""The book: made of committed notebooks and pages, whole, with links that lead somewhere and no other host."""

import importlib.util
import json
import re
import sys

import pandas as pd
import pytest

from lib.common.bundled import ROOT
from lib.params.params import Params, load

sys.path.insert(0, str(ROOT / "docs" / "book"))

import build
import pages

STUDY = ROOT / "figures" / "classroom"


def test_a_gallery_shows_every_figure_of_the_index_with_its_numbers():
    index = (STUDY / "INDEX.md").read_text(encoding="utf-8")
    page = pages.gallery(index, "classroom", {"cell-classroom-influence"})
    for path in STUDY.glob("*.png"):
        assert f"({path.name})" in page and f"({path.stem}.csv)" in page
    assert "[05_influence](#cell-classroom-influence)" in page
    assert "| figure |" not in page and "Claims: " in page and "To be read beside the figures" in page


def test_a_line_with_the_numbers_stands_above_every_cell_that_shows_a_figure(tmp_path):
    shown = {"cell_type": "code", "metadata": {}, "source": ['show("influence")'], "outputs": [{}]}
    notebook = tmp_path / "notebooks" / "05_influence.ipynb"
    notebook.parent.mkdir()
    notebook.write_text(json.dumps({"cells": [shown, {**shown, "source": "show('other')"}, {**shown, "outputs": []}]}))
    (tmp_path / "figures" / "classroom").mkdir(parents=True)
    (tmp_path / "figures" / "classroom" / "influence.csv").touch()
    assert pages.link_pictures(notebook) == {"cell-classroom-influence"}
    cells = json.loads(notebook.read_text())["cells"]
    assert len(cells) == 4 and "(../figures/classroom/influence.csv)" in cells[0]["source"] and cells[1] == shown


@pytest.mark.parametrize("name", ["classroom", "paper"])
def test_a_profiles_page_has_every_parameter_and_says_which_the_file_sets(name):
    page, params = pages.profile(name), load(name)
    for section in (field for field in Params.model_fields if hasattr(getattr(params, field), "model_fields_set")):
        part = getattr(params, section)
        rows = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
        for key, about in type(part).model_fields.items():
            row = next(line for line in rows.splitlines() if line.startswith(f"| `{key}` |"))
            assert (about.description or "").replace("|", "\\|") in row
            assert ("` | **" in row) == (key in part.model_fields_set)


def test_the_claims_page_has_every_verdict():
    page = pages.together([STUDY, ROOT / "figures" / "classroom-isolation"])
    for row in pd.read_csv(STUDY / "claims.csv").itertuples():
        verdict = {"not testable here": "–"}.get(row.verdict, row.verdict)
        assert f"| {row.claim} | {verdict} |" in page


def test_broken_links_and_other_hosts_are_named(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a id="x" href="b.html#y">1</a><img src="c.png"><script src="https://x.org/1.js">'
    )
    (tmp_path / "b.html").write_text('<a href="a.html#x">1</a><a href="https://x.org">out</a>')
    (tmp_path / "a.css").write_text("@import url(https://x.org/font.css)")
    found = sorted(build.broken(tmp_path))
    assert [line.split(" ", 1)[0] for line in found] == ["a.css", "a.html", "a.html", "a.html"]
    assert "a place that is not on that page" in found[2] or "a place that is not on that page" in found[3]


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("myst_nb", "furo", "latex2mathml"))), reason="make book first"
)
def test_the_book_is_whole_and_asks_no_other_host(tmp_path):
    assert build.main(tmp_path / "book") == 0
    home = (tmp_path / "book" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "book" / "searchindex.js").is_file()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f'href="notebooks/{path.stem}.html"' in home
    for path in (ROOT / "params").glob("*.yaml"):
        assert (tmp_path / "book" / "profiles" / f"{path.stem}.html").is_file()
    glossary = (tmp_path / "book" / "docs" / "glossary.html").read_text(encoding="utf-8")
    assert "<math" in glossary and not re.search(r"\\frac|MathJax", glossary)
    gallery = (tmp_path / "book" / "figures" / "classroom" / "INDEX.html").read_text(encoding="utf-8")
    assert 'notebooks/05_influence.html#cell-classroom-influence"' in gallery and "influence.csv" in gallery
