"""Other designs as studies of their own: what they share with the factorial, what they leave alone, who is who."""

import subprocess
import sys

import pandas as pd
import pytest
from standin import Kit

from lib.common.design import CATEGORIES, CODES, EXTRA
from lib.grid.jobs import stage_files
from lib.params.params import load

SHORT = [CODES[category] for category in (*CATEGORIES, *EXTRA)]


def done(kit, design="", **environment):
    """Run a design to its end and return the jobs that began."""
    ran = kit.reproduce(design=design, **environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr + (kit.run / "snakemake.log").read_text()[-3000:]
    return kit.journal(), ran.stdout


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def both(*runs):
    return {f"{stage} {run}" for run in runs for stage in ("train", "score")}


@pytest.mark.long
def test_designs_share_finished_runs_and_leave_the_factorials_tables_and_figures_alone(tmp_path):
    kit = Kit(tmp_path, **{"study.seeds": [0]})
    done(kit)
    (tmp_path / "figures" / "classroom").mkdir(parents=True)
    (tmp_path / "figures" / "classroom" / "influence.csv").write_text("the factorial's")
    names = [kit.run / "results.csv", kit.run / "timing.csv", kit.run / "influence.json"]
    before = [path.read_bytes() for path in names], files(tmp_path / "figures" / "classroom")
    jobs, told = done(kit, "isolation")
    alone = [f"{code}-alone 0" for code in SHORT]
    assert set(jobs) == both("sts 0", "bt 0", *alone) and "alone.png" in told
    table = pd.read_csv(kit.run / "isolation" / "results.csv", keep_default_na=False)
    assert set(table["subset"]) == {"base", "none", *SHORT, *(f"{code}-alone" for code in SHORT)}
    drawn = pd.read_csv(tmp_path / "figures" / "classroom-isolation" / "alone.csv")
    assert set(drawn["factor"]) == set(SHORT) and set(drawn["public"]) == {0, 1}
    jobs, told = done(kit, "crossed")
    assert set(jobs) == both(*(f"{name}-alone 0" for name in ("sl+ls+ll", "ss+ls+ll", "ss+sl+ll", "ss+sl+ls")))
    terms = pd.read_csv(tmp_path / "figures" / "classroom-crossed" / "crossed.csv")
    assert terms["term"].nunique() == 15 and "sl:public" in set(terms["term"]) and "crossed.png" in told
    assert [done(kit, design)[0] for design in ("", "isolation", "crossed")] == [[], [], []]
    assert ([path.read_bytes() for path in names], files(tmp_path / "figures" / "classroom")) == before


A, B = ({"name": name, "generation": {"n": {"short_long": n}, "seed": n}} for name, n in (("a", 40), ("b", 25)))
TWO = {"study.seeds": [0], "study.generators": [A, B], "study.generator_seeds": [0, 1]}


def share(kit, name):
    return (kit.run / "generators" / name / "triplets" / "short_long.jsonl").read_text().splitlines()


@pytest.mark.long
def test_generators_are_asked_cut_to_equal_shares_trained_and_compared(tmp_path):
    kit = Kit(tmp_path, **TWO)
    kit.fault("generate b", "raise")
    broken = kit.reproduce(design="generators")
    assert broken.returncode and "generate b failed: ValueError: planted" in broken.stdout, broken.stdout
    assert not [job for job in kit.journal() if "@" in job], "nothing is trained before all shares are known"
    kit.fault("generate b")
    runs = [f"{name} {seed}" for name in ("sl@a", "sl@b") for seed in (0, 1)]
    jobs, told = done(kit, "generators")
    assert {"generate b", *both(*runs)} <= set(jobs) and "generate" not in jobs and "generate a" not in jobs
    assert len(share(kit, "a")) == len(share(kit, "b")) == 25 and "generators.png" in told
    costs = pd.read_csv(kit.run / "generators" / "costs.csv").set_index("generator")
    assert costs["valid"].to_dict() == {"a": 40, "b": 25}
    shown = pd.read_csv(tmp_path / "figures" / "classroom-generators" / "generators.csv", keep_default_na=False)
    assert {*zip(shown["generator"], shown["against"], strict=True)} == {("a", "none"), ("b", "none"), ("b", "a")}
    assert "not measured" in (tmp_path / "figures" / "classroom-generators" / "INDEX.md").read_text()
    assert done(kit, "generators")[0] == []


@pytest.mark.long
def test_a_generators_run_is_never_taken_for_anothers(tmp_path):
    kit = Kit(tmp_path, **TWO)
    done(kit, "generators")
    other = A | {"generation": A["generation"] | {"seed": 7}}
    kit.overrides["study.generators"] = [other, B]  # a is now somebody else, b is as it was
    jobs, told = done(kit, "generators")
    assert "generate a" in jobs and "generate b" not in jobs and "sl@a seed 0" in told
    assert both("sl@a 0", "sl@a 1") <= set(jobs), "the name is not what makes a run"
    kit.overrides["study.generators"] = [other | {"name": "b"}, B | {"name": "a"}]  # both change their names
    jobs, _ = done(kit, "generators")
    assert both("sl@a 0", "sl@a 1", "sl@b 0", "sl@b 1") <= set(jobs)
    kit.overrides["study.generators"] = [other | {"name": "b"}]  # one alone keeps all its triplets: another share
    jobs, _ = done(kit, "generators")
    assert both("sl@b 0", "sl@b 1") <= set(jobs) and len(share(kit, "b")) == 40


@pytest.mark.long
def test_generators_killed_anywhere_end_in_the_same_tables(tmp_path):
    whole, killed = (Kit(tmp_path / name, **TWO) for name in ("whole", "killed"))
    done(whole, "generators")
    for job in ("generate a", "train sl@b 1", "score sl@b 1"):
        killed.fault(job, "killed")
        assert killed.reproduce(design="generators").returncode
        killed.fault(job)
    done(killed, "generators")
    for name in ("generators/results.csv", "generators/a/triplets/short_long.jsonl"):
        assert (whole.run / name).read_bytes() == (killed.run / name).read_bytes(), name


@pytest.mark.parametrize("design", ["isolation", "crossed", "generators"])
def test_status_and_plan_speak_of_the_design(tmp_path, design):
    given = ["--overrides", f'{{"paths.runs": "{tmp_path}", "study.generators": ["classroom"]}}']
    given[1] = given[1].replace('["classroom"]', '[{"name": "classroom"}]')
    jobs = len([job for stage in stage_files(_params(tmp_path, design)).values() for job in stage])
    for command, word in (("status", f"0 of {jobs} jobs done"), ("plan", f"0 of {jobs} jobs")):
        words = [sys.executable, "-m", "lib", command, "--design", design, *given]
        told = subprocess.run(words, capture_output=True, text=True)
        assert told.returncode == 0 and word in told.stdout, told.stdout + told.stderr


def _params(folder, design):
    return load("classroom", {"paths.runs": str(folder), "study.design": design, "study.generators": [{"name": "x"}]})
