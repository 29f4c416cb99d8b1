"""The run on one page: alone it is whole, its numbers are the tables', and what is missing is said."""

import base64
import html
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest

from lib.common.bundled import ROOT
from lib.common.design import minus
from lib.common.files import digest_file
from lib.figures.texts import category_name
from lib.grid import report as onepage
from lib.params.params import load

COMMITTED = ROOT / "figures" / "classroom"


class Outside(HTMLParser):
    """Collects everything that a browser would have to fetch."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        addresses = [given[name] for name in ("src", "href", "srcset", "data", "action") if given.get(name)]
        self.found += [one for one in addresses if not one.startswith(("data:", "#"))]
        self.found += [tag] * (tag in ("script", "link", "iframe", "object"))


@pytest.fixture
def params(tmp_path):
    """A run whose figures are those of the committed study, and of whose scores there are two runs."""
    shutil.copytree(COMMITTED, tmp_path / "figures" / "classroom")
    found = load("classroom", {"paths.runs": str(tmp_path / "runs"), "paths.figures": str(tmp_path / "figures")})
    rows = [(run, 0, task, "STS", 0.5, "torch=1") for run in ("base", "none", "ss") for task in ("A", "B")]
    found.results_file.parent.mkdir(parents=True)
    columns = ["subset", "seed", "task", "type", "score", "versions"]
    pd.DataFrame(rows, columns=columns).to_csv(found.results_file, index=False)
    return found


def page(params):
    return onepage.write(params).read_text(encoding="utf-8")


def test_the_page_needs_nothing_else_and_changes_no_figure(params):
    before = {path: digest_file(path) for path in params.figure_dir.iterdir()}
    text = page(params)
    assert Outside(text).found == [] and not re.search(r"url\(|@import", text)
    assert {path: digest_file(path) for path in params.figure_dir.iterdir()} == before
    place, time = params.study_dir / "report.html", (params.study_dir / "report.html").stat().st_mtime_ns
    assert page(params) == text and place.stat().st_mtime_ns == time, "the same run, the same page: nothing to do"


def test_its_numbers_are_those_of_the_tables(params):
    text = page(params)
    for name, numbers in re.findall(r'download="(\w+)\.csv" href="data:text/csv;base64,([^"]+)"', text):
        assert base64.b64decode(numbers) == (COMMITTED / f"{name}.csv").read_bytes()
    assert text.count("data:image/png") == len(list(COMMITTED.glob("*.png")))
    words = html.unescape(text)
    for claim in pd.read_csv(COMMITTED / "claims.csv", keep_default_na=False).itertuples():
        assert f'<span class="verdict">{claim.verdict}</span>: {claim.claim}' in words and claim.numbers in words
    effects = pd.read_csv(COMMITTED / "influence.csv")
    table = text.split('id="effects"')[1].split('id="replication"')[0]
    heads = re.findall(r"<th>(.*?)</th>", table.split("</thead>")[0])[1:]
    shown = {
        (kind, head): cell
        for kind, cells in re.findall(r"<th>(.*?)</th>\s*((?:<td>.*?</td>\s*)+)", table.split("</thead>")[1])
        for head, cell in zip(heads, re.findall(r"<td>(.*?)</td>", cells), strict=True)
    }
    assert len(shown) == len(effects)
    for row in effects.itertuples():
        kind = row.type.replace("All tasks", "all sets together")
        told = f"{minus(row.effect, 2)} ± {row.se:.2f}" + "*" * (row.p_bh < 0.05)
        assert shown[kind, category_name(row.factor)] == told
    top = effects[effects["p_bh"] < 0.05].sort_values("effect").iloc[-1]
    first = (
        f"long-short on {top.type} {minus(top.effect, 1)} ± {top.se:.1f} points (second study {minus(top.second, 1)}"
    )
    assert f"{first} ± {top.second_se:.1f})" in text.split('class="lead"')[1].split("</p>")[0]


def test_what_is_missing_is_said(params):
    text = page(params)
    assert "Not done yet (68 of 68 jobs): generate, " in text
    assert "The figures are of another table of scores" in text, "here they are the committed ones"
    index = params.figure_dir / "INDEX.md"
    table = digest_file(params.results_file)
    index.write_text(re.sub(r"results\.csv \w+", f"results.csv {table}", index.read_text(encoding="utf-8")))
    assert "The figures are of another table" not in page(params)
    for path in params.figure_dir.glob("replication.*"):
        path.unlink()
    (params.figure_dir / "claims.csv").unlink()
    params.results_file.unlink()
    text = page(params)
    for said in ("No table of scores yet.", "No verdict on a claim yet.", "No second study (make replicate) yet."):
        assert f"<li>{said}</li>" in text
    assert "There is no second study beside this one." in text and "No claim is judged yet." in text
    (params.figure_dir / "influence.csv").write_text("not a table of effects")
    assert "There are no effects of categories" in page(params)
    shutil.rmtree(params.figure_dir)
    assert "<li>No figure yet.</li>" in page(params) and "There are no effects of categories" in page(params)


def test_a_text_cannot_break_the_page(params):
    claims = pd.read_csv(params.figure_dir / "claims.csv", keep_default_na=False)
    claims.loc[0, "numbers"] = "<script>alert(1)</script>"
    claims.to_csv(params.figure_dir / "claims.csv", index=False)
    assert "<script" not in page(params)


@pytest.mark.parametrize("design", ["isolation", "crossed", "generators"])
def test_other_designs_have_their_page_too(params, design):
    shutil.copytree(COMMITTED.with_name(f"classroom-{design}"), params.figure_dir.with_name(f"classroom-{design}"))
    other = params.model_copy(update={"study": params.study.model_copy(update={"design": design})})
    text = page(other)
    assert Outside(text).found == [] and "no second study" not in text.split('id="effects"')[0]
    for claim in pd.read_csv(other.figure_dir / "claims.csv", keep_default_na=False).itertuples():
        assert html.escape(claim.claim, quote=False) in text.replace("&#39;", "'")


def test_runs_that_differ_are_named_and_an_empty_column_is_no_difference():
    runs = {"subset": ["base", "none", "ss", "sl"], "seed": 0, "versions": ["", "torch 2", "torch 2", "torch 3"]}
    table = pd.DataFrame({**runs, "code": float("nan"), "data_hash": ["", "a", "a", None]})
    versions, data = onepage.mixed(table)[::-1]
    assert versions.startswith("Note: not all runs have the same versions: sl seed 0, unlike the rest")
    assert data.startswith("Note: not all runs have the same data_hash: sl seed 0, unlike the rest")
