"""The examples of docs/formats.md are read as they stand there, all seven types and the results table."""

import re

import pandas as pd
import pytest

from lib.common.bundled import ROOT
from lib.influence.influence import analyse
from lib.score.localsets import COLUMNS, read_set, read_spec

PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
TYPES = [*COLUMNS, "Retrieval"]


@pytest.fixture
def folder(tmp_path):
    for name, text in re.findall(r"^`([\w.]+)`\n```\n(.*?)^```", PAGE, re.M | re.S):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("kind", TYPES)
def test_the_example_of_each_type_is_an_evaluation_set(folder, kind):
    spec = read_spec(folder / f"My{kind}.yaml")
    assert spec["type"] == kind and read_set(spec)


def test_every_column_a_type_needs_is_named():
    for kind, columns in COLUMNS.items():
        section = PAGE.split(f"### {kind}\n")[1].split("\n`")[0]
        assert all(f"`{column}`" in section for column in columns), kind


def test_the_example_table_gives_the_effects_it_was_made_with(folder):
    effects = analyse(folder / "results.csv").effects
    overall = effects[effects["level"] == "overall"].set_index("factor")["effect"]
    assert overall["ss"] == pytest.approx(1, abs=0.3) and overall["ll"] == pytest.approx(2, abs=0.3)
    assert len(pd.read_csv(folder / "results.csv")) == 16
