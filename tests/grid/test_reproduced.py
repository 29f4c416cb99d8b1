"""What `make reproduce` says at its end; and `make replicate`, the study again with fresh seeds."""

import shutil

import pandas as pd
import pytest
from standin import Kit

from lib.common.bundled import ROOT
from lib.grid.report import overrides_of
from lib.grid.report import reproduced as compare
from lib.params.params import load

COMMITTED = ROOT / "figures" / "classroom"


@pytest.fixture
def fresh(tmp_path):
    for name in ("influence.csv", "claims.csv"):
        shutil.copy(COMMITTED / name, tmp_path)
    return tmp_path


def test_the_same_numbers_have_reproduced(fresh):
    first, second = compare(fresh, COMMITTED)
    assert first.startswith("Reproduced: against figures/classroom") and "by 0.000 points" in first
    assert second.startswith("All ") and second.endswith("verdicts are the same.")


@pytest.mark.parametrize(("shift", "word"), [(0.3, "Reproduced"), (1.5, "NOT reproduced")])
def test_a_moved_effect_is_measured_in_its_standard_error(fresh, shift, word):
    table = pd.read_csv(fresh / "influence.csv")
    table.loc[3, "effect"] += shift * table.loc[3, "se"]
    table.to_csv(fresh / "influence.csv", index=False)
    first = compare(fresh, COMMITTED)[0]
    assert first.startswith(word) and f"{table.loc[3, 'factor']} on {table.loc[3, 'type']}" in first
    assert f"{shift:.2f} of its standard error" in first


def test_a_changed_verdict_is_named(fresh):
    table = pd.read_csv(fresh / "claims.csv")
    table.loc[0, "verdict"] = "contradicted"
    table.to_csv(fresh / "claims.csv", index=False)
    lines = compare(fresh, COMMITTED)
    assert lines[0].startswith("NOT reproduced") and f"Verdict changed: {table.loc[0, 'id']}, " in lines[1]


def test_a_profile_that_was_never_published_is_not_compared(fresh, tmp_path):
    assert compare(fresh, tmp_path / "nothing") == []


@pytest.mark.parametrize("given", [{"study": {"seeds": [0, 5]}}, {"study.seeds": [0, 5]}])
def test_a_second_study_has_seeds_of_its_own_however_the_first_ones_were_given(given):
    again = load("classroom", overrides_of(load("classroom", given), given))
    assert again.study.seeds == (1000, 1005) and again.profile == "classroom-again"


@pytest.mark.slow
def test_a_second_study_is_resumed_and_put_beside_the_first(tmp_path):
    kit = Kit(tmp_path, **{"study.categories": ["short_short", "long_long"], "study.extra": []})
    early = kit.reproduce("replicate")
    assert early.returncode == 2 and "make reproduce" in early.stderr and not kit.journal()
    assert kit.reproduce().returncode == 0
    first = (kit.run / "results.csv").read_bytes()
    kit.journal()
    kit.fault("score ll 1001", "raise")
    broken = kit.reproduce("replicate")
    begun = kit.journal()
    assert broken.returncode == 2 and "ll" in broken.stderr and "1001" in broken.stderr
    assert {job.split()[-1] for job in begun if job.startswith("train")} == {"1000", "1001"}
    kit.fault("score ll 1001")
    done = kit.reproduce("replicate")
    assert done.returncode == 0, done.stderr
    assert [job for job in kit.journal() if job != "influence"] == ["score ll 1001"]
    second = pd.read_csv(kit.runs / "classroom-again" / "results.csv")
    assert set(second["seed"]) <= {0, 1000, 1001} and (kit.run / "results.csv").read_bytes() == first
    both = pd.read_csv(tmp_path / "figures" / "classroom" / "replication.csv")
    assert both["second"].notna().all() and (tmp_path / "figures" / "classroom" / "replication.png").is_file()
    assert "marked in the first study" in done.stdout
