"""The foundations: parameters refuse what they do not know, files are atomic, names round-trip, pins agree."""

import json
import re
import subprocess
import sys
import tomllib
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from hashed import under_hash_seeds
from pydantic import BaseModel

from lib.common import design
from lib.common.design import Triplet, read_triplets, write_triplets
from lib.common.files import KitError, append_jsonl, digest, read_json, read_jsonl, write_bytes, write_json, write_jsonl
from lib.notebook.cells import start
from lib.params import params

ROOT = Path(__file__).resolve().parents[2]


# ── design ───────────────────────────────────────────────────────────────────────────────────────────────
def test_sixteen_subsets_in_one_fixed_order():
    names = [design.subset_name(s) for s in design.subsets()]
    assert len(set(names)) == 16
    assert names[0] == "none" and names[1:5] == ["ss", "sl", "ls", "ll"] and names[-1] == "ss+sl+ls+ll"


def test_run_names_round_trip():
    for size in range(len(design.CODES) + 1):
        for subset in combinations(design.CODES, size):
            for public in (True, False):
                if subset or public:
                    assert design.parse_run(design.run_name(subset, public)) == (subset, public)


@pytest.mark.parametrize("name", ["sss", "ss+", "ss+ss", "", "none+ss", "SS", "ss ll", "none-alone"])
def test_unknown_subset_is_one_sentence(name):
    with pytest.raises(KitError) as caught:
        design.parse_run(name)
    assert "\n" not in str(caught.value)


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("profile", ["classroom", "laptop", "paper"])
def test_profiles_load_and_every_parameter_is_described(profile):
    loaded = params.load(profile)
    assert loaded.profile == profile
    sections = [section for _, section in loaded if isinstance(section, BaseModel)]
    assert len(sections) == 13 and all(f.description for s in sections for f in type(s).model_fields.values())


@pytest.mark.parametrize(
    "overrides, named",
    [
        ({"study.seed": [0]}, "study.seeds"),
        ({"trainin.steps": 3}, "trainin"),
        ({"study.seeds": ["one"]}, "study.seeds"),
        ({"study.seeds": []}, "study.seeds"),
        ({"profile.name": 1}, "profile"),
        ({"profile": "a/b"}, "profile"),
    ],
)
def test_bad_parameters_are_named(overrides, named):
    with pytest.raises(KitError, match=re.escape(named)) as caught:
        params.load("classroom", overrides)
    assert "\n" not in str(caught.value)


def test_bad_parameter_files(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("profile: [unclosed\n")
    with pytest.raises(KitError, match="line 2"):
        params.load(broken)
    broken.write_text("just words")
    with pytest.raises(KitError, match="mapping"):
        params.load(broken)
    with pytest.raises(KitError, match="did you mean classroom"):
        params.load("clasroom")


def test_hash_follows_what_decides_a_stage_and_nothing_else():
    one = params.load("classroom")
    for same in (
        {"paths.runs": "elsewhere"},
        {"study.seeds": [7]},
        {"study.design": "crossed"},
        {"grid.threads": 3},
        {"training.checkpoint_every": 1},
        {"generation.retries": 9},
    ):
        assert all(
            one.hash(stage) == params.load("classroom", same).hash(stage) for stage in ("data", "model", "score")
        )
    for other, stage in [("training.learning_rate", "model"), ("public.n", "data"), ("scoring.instructions", "score")]:
        value = {"public.n": 10, "scoring.instructions": "off"}.get(other, 0.5)
        changed = params.load("classroom", {other: value})
        differ = [name for name in ("data", "model", "score") if changed.hash(name) != one.hash(name)]
        assert differ == ["data", "model", "score"][["data", "model", "score"].index(stage) :]


@pytest.fixture
def good(tmp_path):
    """What papermill gives to a notebook of a run whose data are there."""
    write_json(tmp_path / "classroom" / "data" / "manifest.json", {})
    overrides = {"paths.runs": str(tmp_path)}
    return {"params_file": "classroom", "subset": "ss+ll", "seed": 0, "explain": False, "overrides": overrides}


def test_notebook_start_refuses_what_papermill_only_warns_about(good):
    assert start(dict(good), "03_train").profile == "classroom"
    for change, named in [
        ({"seed": "1"}, "of type int"),
        ({"subset": "xx"}, "unknown subset"),
        ({"seed": True}, "of type int"),
    ]:
        with pytest.raises(KitError, match=named):
            start({**good, **change}, "03_train")
    with pytest.raises(KitError, match="unknown subset"):
        start({**good, "subset": "base"}, "03_train")
    assert start({**good, "subset": "base"}, "04_score")
    with pytest.raises(KitError, match="did you mean base"):
        start({**good, "subset": "bse"}, "04_score")


def test_a_notebook_that_is_run_before_its_data_are_made_says_what_to_run_first(good, tmp_path):
    early = {**good, "overrides": {"paths.runs": str(tmp_path / "nothing")}}
    with pytest.raises(KitError, match="run notebook 01_generate first") as caught:
        start(dict(early), "03_train")
    assert "\n" not in str(caught.value)
    with pytest.raises(KitError, match="run notebook 01_generate first, then 03_train"):
        start(dict(early), "04_score")
    assert start({**early, "subset": "base"}, "04_score"), "the untrained base needs no data"
    (tmp_path / "nothing" / "classroom" / "models").mkdir(parents=True)
    assert start(dict(early), "04_score"), "adapters that are there can be scored"


def test_a_subset_in_another_order_is_the_same_run(good):
    names = {**good, "subset": "ll+ss"}
    start(names, "03_train")
    assert names["subset"] == "ss+ll"
    assert design.run_in_order("ll+sl-alone") == "sl+ll-alone" and design.run_in_order("base", base=True) == "base"


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────
def test_write_is_atomic_under_sigkill(tmp_path):
    """A writer killed at random moments leaves the old file or the new one, never a mixture."""
    target = tmp_path / "file"
    code = (
        "import sys\nfrom lib.common.files import write_bytes\ni = 0\nwrite_bytes(sys.argv[1], b'0' * 3_000_000)\n"
        "print('ready', flush=True)\n"
        "while True:\n    i += 1\n    write_bytes(sys.argv[1], bytes([48 + i % 10]) * 3_000_000)\n"
    )
    for pause in (0.011, 0.037, 0.053):
        process = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(pause)
        process.kill()
        process.wait()
        content = target.read_bytes()
        assert len(content) == 3_000_000 and len(set(content)) == 1


def test_json_lines_name_file_and_line(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"a": "ü"}, {"a": 2}])
    append_jsonl(path, {"a": 3})
    assert [row["a"] for row in read_jsonl(path)] == ["ü", 2, 3]
    with open(path, "a") as handle:
        handle.write('{"a": 4\n')
    with pytest.raises(KitError, match=r"rows.jsonl, line 4"):
        read_jsonl(path)
    path.write_text('{"a": 1}\n[1]\n')
    with pytest.raises(KitError, match="line 2 is not one whole JSON object"):
        read_jsonl(path)
    path.write_text('{"a": 1}\n', encoding="utf-8-sig")  # as some editors of Windows write it, and nobody sees
    with pytest.raises(KitError, match="line 1 is not one whole JSON object .*BOM"):
        read_jsonl(path)
    with pytest.raises(KitError, match="does not exist"):
        read_jsonl(tmp_path / "absent")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(KitError, match="not valid JSON"):
        read_json(tmp_path / "bad.json")
    with pytest.raises(ValueError):
        write_json(tmp_path / "nan.json", {"a": float("nan")})


def test_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KitError, match="cannot write"):
        write_bytes(tmp_path / "file" / "below", b"x")


def test_digest_does_not_depend_on_hash_seed():
    code = "from lib.common.files import digest; print(digest({'b': [1, 2.5], 'a': {'y': None, 'x': 'ü'}}))"
    seen = under_hash_seeds(code, 0, 1)
    assert seen == {digest({"a": {"x": "ü", "y": None}, "b": [1, 2.5]}) + "\n"}


def test_triplets_round_trip_and_refuse_empty_text(tmp_path):
    triplets = [Triplet("find it", "q", "p", "n", "short_short", "English", "1"), Triplet("", "q2", "p2")]
    path = write_triplets(tmp_path / "t.jsonl", triplets)
    assert read_triplets(path) == triplets
    write_jsonl(path, [{"query": "q", "positive": "p", "negative": None, "extra": 1}])
    assert read_triplets(path) == [Triplet("", "q", "p")]
    for row in ({"query": "q"}, {"query": " ", "positive": "p"}, {"query": "q", "positive": "p", "negative": ["n"]}):
        write_jsonl(path, [{"query": "q", "positive": "p"}, row])
        with pytest.raises(KitError, match="row 2"):
            read_triplets(path)


# ── packaging ────────────────────────────────────────────────────────────────────────────────────────────
def test_environment_yml_repeats_the_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(item["pip"] for item in conda["dependencies"] if isinstance(item, dict))
    extras = project["optional-dependencies"]
    wanted = {line.split(";")[0].strip() for line in project["dependencies"] + extras["dev"]}
    assert set(pip) == wanted | {"--editable ."}
    assert f"# - {extras['vllm'][0]}" in (ROOT / "environment.yml").read_text()
    loose = {line for line in wanted if "==" not in line}
    assert loose == {"numpy>=2.3.5,<2.5"}, "every other dependency is pinned exactly"
    assert not any(line.startswith("triton") for line in wanted), "torch brings its own triton"


def test_lib_imports_from_the_notebooks_folder():
    code = "import lib, json; print(json.dumps(lib.__file__))"
    for folder in (ROOT, ROOT / "notebooks"):
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True)
        assert Path(json.loads(done.stdout)) == ROOT / "lib" / "__init__.py"


def test_make_help_lists_every_target():
    text = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for target in ("reproduce", "test", "lab", "check", "clean"):
        assert re.search(rf"^{target}\s+\S", text, re.M), target


def test_commands_say_what_is_wrong_in_one_line():
    for arguments in (["--profile", "nowhere"], ["--overrides", "{"], ["--overrides", "[]"]):
        command = [sys.executable, "-m", "lib", "collect", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.startswith("KitError: ") and done.stderr.count("\n") == 1
