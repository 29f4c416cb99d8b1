"""A run is what made it: other parameters never touch the study; what is not the study's is found and made again."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standin import Kit

from lib.grid.results import sentences, stale
from lib.params.params import load


class Study(Kit):
    """A small study as the profile's own file says it, with nothing in the overrides."""

    def __init__(self, folder):
        super().__init__(folder)
        sets, self.overrides = self.overrides["scoring.exclude"], {}
        text = (self.folder / "params" / "classroom.yaml").read_text()
        text = re.sub(r"study:\n  seeds: .*\n", "study:\n  categories: [short_short, long_long]\n  seeds: [0]\n", text)
        self.file = self.folder / "params" / "classroom.yaml"
        self.file.write_text(text + f"scoring:\n  exclude: {json.dumps(sets)}\ngrid:\n  retries: 0\n")
        self.runs = self.folder / "runs"

    def around(self):
        return {**os.environ, "PYTHONPATH": str(self.folder), "STANDIN": str(self.home), "TQDM_DISABLE": "1"}

    def command(self, *arguments):
        command = [sys.executable, "-m", "lib", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.around(), capture_output=True, text=True)

    def papermill(self, notebook, *given, **overrides):
        """Execute one notebook as a user does, with parameters of their own."""
        code = "import json, sys; from pathlib import Path; from lib.grid.run import execute; "
        code += "sys.exit(execute(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])) or 0)"
        (source,) = (self.folder / "notebooks").glob(f"{notebook}*.ipynb")
        values = json.dumps({**dict(given), "overrides": overrides})
        command = [sys.executable, "-c", code, str(source), str(self.home / "out.ipynb"), values]
        done = subprocess.run(command, cwd=self.folder, env=self.around(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    def bytes(self):
        return {
            path.relative_to(self.run): path.read_bytes()
            for path in self.run.rglob("*")
            if path.is_file()
            and "other" not in path.relative_to(self.run).parts
            and path.suffix in (".csv", ".json", ".safetensors")
        }


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = Study(tmp_path_factory.mktemp("study"))
    done = made.reproduce()
    assert done.returncode == 0, done.stdout + done.stderr + (made.run / "snakemake.log").read_text()[-3000:]
    made.journal()
    return made


@pytest.mark.long
def test_notebooks_with_other_parameters_leave_the_study_as_it_is(study):
    """The two ways in which a newcomer lost results, and more of their kind."""
    before = study.bytes()
    run = (("subset", "ss+ll"), ("seed", 0))
    study.papermill("03", *run, **{"training.learning_rate": 1e-3})
    study.papermill("04", *run, **{"training": {"learning_rate": 1e-3}})
    study.papermill("04", *run, **{"scoring.exclude": []})
    study.papermill("01", **{"generation.seed": 7})
    study.papermill("05", **{"influence.alpha": 0.2})
    assert study.bytes() == before
    assert len(list((study.run / "other").glob("*/models/ss+ll/seed0/train.json"))) == 1
    study.journal()
    done = study.reproduce()
    assert done.returncode == 0 and study.journal() == [] and study.bytes() == before


OTHERS = [
    ("01", (), {"generation.seed": 7}),
    ("02", (), {"cleaning.near_duplicate": 0.5}),
    ("03", (("subset", "ss+ll"), ("seed", 0)), {"training": {"temperature": 0.1}}),
    ("03", (("subset", "ll+ss"), ("seed", 5)), {"mixture.steps": 6}),
    ("04", (("subset", "ll"), ("seed", 0)), {"scoring.exclude": []}),
    ("04", (("subset", "base"), ("seed", 0)), {"model.pooling": "cls"}),
    ("05", (), {"influence.alpha": 0.2}),
]


@pytest.mark.long
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(OTHERS), min_size=1, max_size=4))
def test_after_any_sequence_of_notebooks_the_study_is_the_same(study, sequence):
    before = study.bytes()
    for notebook, pairs, overrides in sequence:
        study.papermill(notebook, *pairs, **overrides)
    study.journal()
    done = study.reproduce()
    assert done.returncode == 0 and study.journal() == [] and study.bytes() == before


@pytest.mark.long
def test_another_seed_or_design_keeps_what_is_finished(study):
    file = study.file.read_text()
    study.file.write_text(file.replace("seeds: [0]", "seeds: [0, 1]"))
    done = study.reproduce()
    runs = ("none", "ss", "ll", "ss+ll")
    assert done.returncode == 0, done.stdout
    assert sorted(study.journal()) == sorted([*(f"{s} {r} 1" for r in runs for s in ("train", "score")), "influence"])
    assert "differ" not in done.stdout and "delete" not in done.stdout
    study.file.write_text(file)
    assert study.reproduce().returncode == 0 and study.journal() == ["influence"]


@pytest.mark.long
def test_what_is_not_the_studys_is_named_and_made_again(study):
    before, file = study.bytes(), study.file.read_text()
    study.papermill("03", ("subset", "ss"), ("seed", 0), **{"training.learning_rate": 1e-3})
    study.papermill("04", ("subset", "ss"), ("seed", 0), **{"training.learning_rate": 1e-3})
    for path in (study.run / "other").glob("*/*/ss"):  # copied in by hand, over the study's own
        shutil.copytree(path, study.run / path.parent.name / "ss", dirs_exist_ok=True)
    study.journal()
    told = study.command("status").stdout
    assert (
        "train ss seed 0: training.learning_rate is 0.001 on disk, 0.002 in classroom.yaml" in told and "stale" in told
    )
    done = study.reproduce()
    assert (
        "train ss seed 0: training.learning_rate is 0.001 on disk, 0.002 in classroom.yaml; it is made again"
        in done.stdout
    )
    assert set(study.journal()) == {"train ss 0", "score ss 0", "influence"} and study.bytes() == before
    study.file.write_text(file.replace("  max_length: 96", "  max_length: 80"))
    assert "training.max_length is 96 on disk, 80 in classroom.yaml" in study.reproduce().stdout
    jobs = study.journal()
    assert (
        len([job for job in jobs if job.startswith("train")]) == 4
        and "generate" not in jobs
        and "score base 0" not in jobs
    )
    study.file.write_text(file)
    assert study.reproduce().returncode == 0 and study.bytes() == before


def test_a_score_file_with_fewer_sets_than_the_suite_is_found(tmp_path):
    from lib.score.score import wanted_sets, write_record

    params = load("classroom", {"paths.runs": str(tmp_path), "study.categories": ["short_short"], "study.seeds": [0]})
    path = params.scores_dir / "ss" / "seed0.csv"
    path.parent.mkdir(parents=True)
    write_record(params, "ss", 0)
    sets = sorted(wanted_sets(params))
    path.write_text("\n".join(["task", *sets]))
    assert stale(params) == {}
    path.write_text("\n".join(["task", *sets[1:]]))
    assert sets[0] in stale(params)[path] and sentences(params, stale(params))[0].startswith(
        "score ss seed 0 lacks 1 of 31"
    )
