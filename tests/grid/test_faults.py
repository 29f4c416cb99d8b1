"""Disks that fill up, files that rot, hubs that go away: one sentence each, and nothing finished is lost."""

import json
import random
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from hashed import digest_tree, encode
from scoring_kit import CountingEmbedder, write_set
from test_training import BATCHES, one_run, weights

from lib.__main__ import main
from lib.common.files import CannotWrite, KitError, append_jsonl, digest, read_json, read_jsonl, write_bytes, write_json
from lib.embedder.models import corrupted, load_adapter
from lib.generate.answers import AnswerStore
from lib.generate.dataset import Maker
from lib.grid.jobs import stage_files
from lib.grid.results import collect, to_redo
from lib.params.model import ScoringParams
from lib.params.params import load
from lib.params.provenance import decisive, write_manifest
from lib.score import suites
from lib.score.score import adapter_folder, score, write_scores
from lib.score.taskrun import stored
from lib.train import checkpoint
from lib.train.trainer import COPY, LOG, SUMMARY, Run

FULL = r"^the disk is full: cannot write .* into .*; free some space there and run again"
EVERY = (0, 8, 24, 48, 96, 160)  # KB left on the small disk


@contextmanager
def disk(folder, size="4m"):
    """A small file system of its own at ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder, left):
    """Leave ``left`` KB free; return the file that took the rest."""
    filler = folder / "filler"
    filler.write_bytes(bytes(max(0, shutil.disk_usage(folder).free - 1024 * left)))
    return filler


def whole(folder):
    """Every file that has its name can be read; nothing half written has one."""
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            read_json(path)
        elif path.suffix == ".jsonl" and path.parent.name not in ("answers", folder.name):
            read_jsonl(path)


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.slow
def test_full_disk_while_data_are_made(tmp_path):
    params = load("classroom", {"public.n": 50, "generation.n": {"short_short": 40}, "cleaning.contamination": "off"})

    def make(out):
        maker = Maker(params, {}, out, encode)
        maker.make("short_short", progress=False)
        maker.finish()
        return digest_tree(out / "triplets"), (out / "public.jsonl").read_bytes(), (out / "manifest.json").read_bytes()

    expected, stopped = make(tmp_path / "whole"), 0
    for left in EVERY:
        with disk(tmp_path / f"disk{left}") as place:
            filler = fill(place, left)
            try:
                make(place / "data")
            except KitError as error:
                assert re.match(FULL, str(error)), error
                stopped += 1
            whole(place)
            filler.unlink()
            assert make(place / "data") == expected
    assert 3 <= stopped < len(EVERY) + 1


@pytest.mark.slow
def test_full_disk_while_training(tmp_path):
    _, complete = one_run(tmp_path / "whole")
    stopped = []
    for left in EVERY:
        with disk(tmp_path / f"disk{left}") as place:
            filler = fill(place, left)
            try:
                one_run(place / "run")
            except CannotWrite as error:
                assert re.match(FULL, str(error)), error
                held = checkpoint.read(place / "run" / checkpoint.NAME)
                stopped.append(held["step"] if held else 0)
            filler.unlink()
            _, resumed = one_run(place / "run")
            assert weights(place / "run") == weights(tmp_path / "whole") and resumed["losses"] == complete["losses"]
            assert not list((place / "run").glob(".*.tmp"))
    assert 0 in stopped and max(stopped) > 0, f"the disks were full at {stopped}: not at the start and not later"


@pytest.mark.slow
def test_full_disk_while_scoring_stops_at_once_and_keeps_what_is_known(tmp_path):
    for kind in ("STS", "Classification", "PairClassification"):
        write_set(tmp_path / "sets", kind)
    off = ScoringParams(instructions="off")
    expected = score(
        CountingEmbedder(), suites.tasks(str(tmp_path / "sets")), tmp_path / "whole", params=off, progress=False
    )
    kept = []
    for left in (0, 8, 24, 32, 40):
        with disk(tmp_path / f"disk{left}") as place:
            filler = fill(place, left)
            try:
                score(
                    CountingEmbedder(), suites.tasks(str(tmp_path / "sets")), place / "out", params=off, progress=False
                )
            except CannotWrite as error:
                assert re.match(FULL, str(error)), error
                kept.append(len(list((place / "out").glob("store/*.json"))))
            filler.unlink()
            embedder = CountingEmbedder()
            again = score(embedder, suites.tasks(str(tmp_path / "sets")), place / "out", params=off, progress=False)
            assert again.equals(expected)
    assert 0 in kept and max(kept) > 0, kept


@pytest.mark.slow
def test_read_only_places_are_named(tmp_path, capsys):
    with disk(tmp_path / "disk") as place:
        (place / "run").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        said = r"cannot write .* \(Read-only file system\); make that folder writable or choose another paths.runs"
        for write in (
            lambda: write_bytes(place / "run" / "x", b"x"),
            lambda: append_jsonl(place / "run" / "x", {}),
            lambda: AnswerStore(place / "run" / "answers.jsonl").__enter__(),
            lambda: one_run(place / "run" / "a"),
        ):
            with pytest.raises(KitError, match=said):
                write()
        assert main(["reproduce", "--overrides", json.dumps({"paths.runs": str(place)})]) == 2
        told = capsys.readouterr().err
        assert "Read-only file system" in told and told.count("\n") == 1


def test_a_corpus_that_does_not_fit_is_refused_before_it_is_encoded(tmp_path):
    from lib.score.encoder import _reserved

    with disk(tmp_path / "disk", "256k") as place:
        with pytest.raises(CannotWrite, match=FULL):
            _reserved(place / "corpus.f16", (1000, 1000))
        (place / "corpus.f16").unlink()
        matrix = _reserved(place / "corpus.f16", (100, 100))
        matrix[:] = 1.5
        assert matrix.shape == (100, 100) and float(matrix.sum()) == 15000.0


# ── files that are not what was written ──────────────────────────────────────────────────────────────────
def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 16
    path.write_bytes(content)


def cut(path, keep=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])


@pytest.mark.parametrize(
    "damage",
    [cut, lambda path: flip(path, -40), lambda path: flip(path, 9), Path.unlink],
    ids=["cut", "a byte at the end", "a byte at the start", "gone"],
)
def test_a_damaged_adapter_is_not_scored_and_is_trained_again(tmp_path, capsys, damage):
    params = load("classroom", {"paths.runs": str(tmp_path)})
    folder = params.run_dir / "models" / "ss" / "seed0"
    write_manifest(params.data_dir, params)
    one_run(folder, decisive(params, "model"))
    good = weights(folder)
    assert adapter_folder(params, "ss", 0) == folder and not to_redo(params)
    damage(folder / "adapter_model.safetensors")
    with pytest.raises(KitError, match="is not what training wrote|holds no adapter yet"):
        adapter_folder(params, "ss", 0)
    assert to_redo(params) == {
        folder / SUMMARY: "was written for another adapter_model.safetensors than the one beside it"
    }
    capsys.readouterr()
    one_run(folder, decisive(params, "model"))
    assert weights(folder) == good
    if damage is not Path.unlink:
        assert "this run is trained again" in capsys.readouterr().out


def test_a_changed_adapter_configuration_is_noticed(tmp_path):
    one_run(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(path.read_text().replace('"lora_alpha": 8', '"lora_alpha": 80'))
    assert corrupted(tmp_path, read_json(tmp_path / SUMMARY)) == path


def test_half_an_adapter_without_a_record_is_one_sentence(tmp_path):
    found, _ = one_run(tmp_path)
    cut(tmp_path / "adapter_model.safetensors")
    with pytest.raises(KitError, match="adapter_model.safetensors is damaged"):
        load_adapter(found.core, tmp_path, "")


def test_a_summary_that_snakemake_deleted_costs_no_training(tmp_path):
    """Killed between the end of a training and Snakemake's note of it: Snakemake deletes what it is not sure of."""
    _, summary = one_run(tmp_path)
    made = (tmp_path / "adapter_model.safetensors").stat().st_mtime_ns
    (tmp_path / SUMMARY).unlink()
    assert one_run(tmp_path)[1] == summary == read_json(tmp_path / SUMMARY)
    assert (tmp_path / "adapter_model.safetensors").stat().st_mtime_ns == made
    (tmp_path / SUMMARY).write_text('{"key": "')
    assert one_run(tmp_path)[1] == summary
    one_run(tmp_path, learning_rate=5e-3)  # other parameters are another run, whatever was kept
    assert read_json(tmp_path / SUMMARY)["key"] == read_json(tmp_path / COPY)["key"] != summary["key"]


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run that was cut off after its fifth step, with a checkpoint at the fourth."""
    original = Run.step

    def step(self, number):
        if number == 5:
            raise KeyboardInterrupt
        return original(self, number)

    monkeypatch.setattr(Run, "step", step)
    with pytest.raises(KeyboardInterrupt):
        one_run(tmp_path / "cut")
    monkeypatch.undo()
    one_run(tmp_path / "whole")
    return tmp_path / "cut", tmp_path / "whole"


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: cut(f / checkpoint.NAME),
        lambda f: flip(f / checkpoint.NAME, 20_000),
        lambda f: (f / checkpoint.NAME).write_bytes(b""),
        lambda f: cut(f / LOG),
        lambda f: (f / LOG).write_bytes(bytes(300)),
    ],
    ids=["half", "a byte", "empty", "half a log", "zeros for a log"],
)
def test_a_damaged_checkpoint_starts_the_run_again_and_says_so(stopped, capsys, damage):
    folder, whole = stopped
    damage(folder)
    one_run(folder)
    assert "this run is trained again from its start" in capsys.readouterr().out
    assert weights(folder) == weights(whole)
    assert [row["step"] for row in read_jsonl(folder / LOG)] == list(range(1, len(BATCHES) + 1))


def test_no_changed_byte_of_a_checkpoint_goes_unnoticed(stopped):
    path, rng = stopped[0] / checkpoint.NAME, random.Random(3)
    good = path.read_bytes()
    for _ in range(60):
        flip(path, rng.randrange(len(good)))
        assert checkpoint.read(path) is None
        path.write_bytes(good)
    assert checkpoint.read(path)["step"] == 4


def test_a_changed_digit_in_a_kept_score_is_scored_again(tmp_path):
    record = {"task": "T", "key": "k", "score": 0.8125, "draws": [0.75]}
    path = write_json(tmp_path / "T.k.json", {**record, "digest": digest(record)})
    assert stored(path) == record
    path.write_text(path.read_text().replace("0.8125", "0.9125"))
    assert stored(path) is None


@pytest.fixture
def scored(tmp_path):
    """The score files of a study of one category, and what is made of them."""
    params = load(
        "classroom",
        {
            "paths.runs": str(tmp_path / "runs"),
            "study.categories": ["short_short"],
            "study.seeds": [0],
            "scoring.suite": str(tmp_path / "sets"),
        },
    )
    for kind in ("STS", "Classification"):
        write_set(tmp_path / "sets", kind)
    table = score(
        CountingEmbedder(),
        suites.tasks(str(tmp_path / "sets")),
        tmp_path / "out",
        params=ScoringParams(instructions="off"),
        progress=False,
    )
    for job in stage_files(params)["score"]:
        name, seed = job.split("/seed")[0], int(job.split("/seed")[1])
        write_scores(params, name, seed, table)
        folder = params.run_dir / "models" / name / f"seed{seed}"
        write_bytes(folder / "adapter_model.safetensors", b"x")
        write_bytes(folder / SUMMARY, b"{}")
    write_manifest(params.data_dir, params)
    collect(params)
    return params


def without_last_line(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize("name", ["seed0.csv", "seed0.draws.csv"])
@pytest.mark.parametrize(
    "damage", [cut, without_last_line, lambda path: path.write_bytes(b"")], ids=["cut", "a line short", "empty"]
)
def test_a_damaged_score_file_is_named_and_not_collected(scored, name, damage):
    path = scored.run_dir / "scores" / "ss" / name
    assert to_redo(scored) == {}
    damage(path)
    assert to_redo(scored) == {path.with_name("seed0.csv"): "is damaged"}
    with pytest.raises(KitError, match=f"{name} is not what notebook 04 wrote.*delete .*seed0.csv and run again"):
        collect(scored)
    notes = collect(scored, allow_missing=True)
    assert len(notes) == 1 and notes[0].startswith("Left out of this table: ") and name in notes[0]


@pytest.mark.parametrize("name", ["results.csv", "draws.csv", "timing.csv"])
def test_damaged_results_are_made_again_of_the_score_files(scored, name):
    without_last_line(scored.run_dir / name)
    assert to_redo(scored) == {
        scored.run_dir / "results.csv": f"and its like are not what the score files give ({name} differs)"
    }
    collect(scored)
    assert to_redo(scored) == {}


def test_results_that_are_missing_in_the_middle_of_the_chain_are_made_again(scored):
    (scored.run_dir / "models" / "ss" / "seed0" / SUMMARY).unlink()
    (scored.run_dir / "scores" / "none" / "seed0.csv").unlink()
    assert set(to_redo(scored)) == {
        scored.run_dir / "models/ss/seed0" / SUMMARY,
        scored.run_dir / "scores/none/seed0.csv",
    }
    for left in scored.run_dir.glob("*.csv"):
        left.unlink()  # nothing was made of the missing score file any more: its turn will come by itself
    assert set(to_redo(scored)) == {scored.run_dir / "models/ss/seed0" / SUMMARY}


@pytest.mark.slow
def test_half_a_results_file_is_one_sentence(scored, tmp_path):
    path = tmp_path / "mine.csv"
    content = (scored.run_dir / "results.csv").read_text()
    for keep in (0, 20, content.rindex(","), content.rindex("\n", 0, -1) + 9):
        path.write_text(content[:keep])
        done = subprocess.run(
            [sys.executable, "-m", "lib", "figures", "--results", str(path), "--out", str(tmp_path / "f")],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and done.stderr.startswith("KitError: ") and done.stderr.count("\n") == 1, (
            done.stderr
        )


# ── parameters that cannot be read ───────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00training", b"training: [1, 2", b"- a list", b"", b"\x00\x01"], ids=repr
)
def test_an_unreadable_parameter_file_is_one_sentence(tmp_path, capsys, content):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    assert main(["reproduce", "--profile", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("KitError: ") and "mine.yaml" in told and told.count("\n") == 1


def test_a_folder_in_the_place_of_a_parameter_file(tmp_path, capsys):
    (tmp_path / "mine.yaml").mkdir()
    assert main(["reproduce", "--profile", str(tmp_path / "mine.yaml")]) == 2
    assert "no parameter file" in capsys.readouterr().err
    assert main(["status", "--profile", ""]) == 2
    assert "no parameter file" in capsys.readouterr().err


# ── a hub that goes away ─────────────────────────────────────────────────────────────────────────────────
HUB = """
import socket, sys, threading
server = socket.create_server(("127.0.0.1", 0))
def hang_up():
    while True:
        server.accept()[0].close()
threading.Thread(target=hang_up, daemon=True).start()
import os
os.environ.update(HF_ENDPOINT=f"http://127.0.0.1:{server.getsockname()[1]}", HF_HOME=sys.argv[1], HF_HUB_OFFLINE="0")
from lib.common.files import KitError
if sys.argv[2] == "model":
    from lib.embedder.embedder import Embedder
    from lib.params.model import ModelParams
    try:
        Embedder.from_params(ModelParams(name="some-org/some-model"))
    except KitError as error:
        print(error)
else:
    from scoring_kit import CountingEmbedder
    from lib.params.model import ScoringParams
    from lib.score import suites
    from lib.score.score import score
    found = score(CountingEmbedder(), suites.tasks("STS12"), sys.argv[1], params=ScoringParams(), progress=False)
    print(found.attrs["failed"]["STS12"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (
            "model",
            "model some-org/some-model is not here and the hub cannot be reached; where there is network run `hf down",
        ),
        ("data", "no network, and mteb/sts12-sts is not here; where there is network run `hf download mteb/sts12-sts"),
    ],
)
def test_a_hub_that_hangs_up_while_something_is_fetched(tmp_path, what, sentence):
    done = subprocess.run(
        [sys.executable, "-c", HUB, str(tmp_path), what],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[1] / "kits",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1].startswith(sentence), done.stdout
