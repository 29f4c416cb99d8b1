"""Whole grids in which something breaks, on stand-in notebooks: it is named, the rest goes on, the fix is enough."""

import os
import random
import re
import shutil
import signal
import time

import psutil
import pytest
from grids import gone
from standin import Kit
from test_faults import cut, disk, fill, flip, without_last_line

SMALL = {"study.categories": ["short_short", "long_long"], "study.seeds": [0]}
RUNS = ("none", "ss", "ll", "ss+ll")


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A finished small grid; every test leaves it finished."""
    made = Kit(tmp_path_factory.mktemp("small"), **SMALL)
    done = made.reproduce()
    assert done.returncode == 0, done.stdout + done.stderr + (made.run / "snakemake.log").read_text()[-3000:]
    assert len(made.journal()) == 1 + 1 + 4 + 5 + 1
    made.results = (made.run / "results.csv").read_bytes()
    return made


@pytest.mark.long
def test_three_of_32_jobs_fail_and_only_these_run_again(tmp_path):
    kit = Kit(tmp_path, real=("05_influence",))
    bad = [("ss", 0), ("sl+ll", 1), ("ss+sl+ls+ll", 0)]
    for name, seed in bad:
        kit.fault(f"train {name} {seed}", "raise")
    done = kit.reproduce()
    assert done.returncode != 0
    for name, seed in bad:
        told = re.search(rf"^train {re.escape(name)}/seed{seed} failed: (.*)\n((?:    .*\n)+)", done.stdout, re.M)
        assert told, done.stdout
        assert f"ValueError: planted in train {name} {seed}; fix the cause and run again" in told[1]
        assert told[1].endswith(f"notebooks/03_train/{name}-seed{seed}.ipynb)") and "raise ValueError" in told[2]
    assert done.stdout.count(" failed: ") == 3
    assert "Missing from this table: ss seed 0, sl+ll seed 1, ss+sl+ls+ll seed 0." in done.stdout
    jobs = kit.journal()
    assert (
        len([job for job in jobs if job.startswith("train")]) == 32
        and len([job for job in jobs if job.startswith("score")]) == 30
    )
    assert (tmp_path / "figures/classroom/influence.png").exists()
    read = (tmp_path / "figures/classroom/INDEX.md").read_text()
    missing = re.search("Of a complete design only (.*) are missing.", read)
    assert missing and set(missing[1].split(", ")) == {f"{name} seed {seed}" for name, seed in bad}, read
    for name, seed in bad:
        kit.fault(f"train {name} {seed}")
    done = kit.reproduce()
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(kit.journal()) == sorted(
        f"{stage} {name} {seed}" for stage in ("train", "score") for name, seed in bad
    )
    assert " failed: " not in done.stdout and "Missing" not in done.stdout


@pytest.mark.long
def test_jobs_that_are_killed_or_want_too_much_memory_are_named(tmp_path):
    kit = Kit(tmp_path, **SMALL)
    kit.fault("train ss 0", "killed")
    kit.fault("train ll 0", "memory")
    done = kit.reproduce()
    assert done.returncode != 0
    killed = (
        r"^train ss/seed0 failed: it was killed or ran out of memory before it could say why, in code cell 4 of 4; "
        r"it goes on where it was when you run again; if memory was short, run again with more "
        r"memory: .*CORES=1.*ss-seed0.ipynb\)"
    )
    assert re.search(killed, done.stdout, re.M), done.stdout
    assert re.search(
        r"^train ll/seed0 failed: MemoryError: ; run again with more memory: .*CORES=1.*ll-seed0.ipynb\)",
        done.stdout,
        re.M,
    ), done.stdout
    assert "train ss 0 begins" in done.stdout, "the last lines"
    assert "Missing from this table: ss seed 0, ll seed 0." in done.stdout
    assert {"score ss+ll 0", "score none 0", "score base 0", "inspect"} <= set(kit.journal())
    kit.fault("train ss 0")
    kit.fault("train ll 0")
    assert kit.reproduce().returncode == 0
    assert sorted(kit.journal()) == ["influence", "score ll 0", "score ss 0", "train ll 0", "train ss 0"]


@pytest.mark.long
@pytest.mark.parametrize("seconds", [86400, -86400, "shuffled"])
def test_a_clock_that_jumps_redoes_nothing(kit, seconds):
    """Finished files of tomorrow, of yesterday, and in an order in which they cannot have been made."""
    rng = random.Random(1)
    for path in kit.run.rglob("*"):
        if path.is_file() and path.name != ".lock":
            shift = rng.uniform(-86400, 86400) if seconds == "shuffled" else seconds
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime + shift))
    done = kit.reproduce()
    assert done.returncode == 0, done.stdout + done.stderr
    assert kit.journal() == [] and (kit.run / "results.csv").read_bytes() == kit.results


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "damage", "again"),
    [
        (
            "models/ss/seed0/adapter_model.safetensors",
            lambda path: flip(path, 9),
            {"train ss 0", "score ss 0", "influence"},
        ),
        ("models/ll/seed0/train.json", cut, {"train ll 0", "score ll 0", "influence"}),
        ("scores/ll/seed0.csv", without_last_line, {"score ll 0", "influence"}),
        ("results.csv", without_last_line, {"influence"}),
        ("influence.json", cut, {"influence"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_result_is_said_and_made_again(kit, path, damage, again):
    damage(kit.run / path)
    done = kit.reproduce()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"; it is made again$", done.stdout, re.M)) == 1, done.stdout
    assert set(kit.journal()) == again and (kit.run / "results.csv").read_bytes() == kit.results


@pytest.mark.long
def test_a_deleted_result_in_the_middle_of_the_chain_is_made_again(kit):
    shutil.rmtree(kit.run / "models" / "ss")
    done = kit.reproduce()
    assert done.returncode == 0 and set(kit.journal()) == {"train ss 0", "score ss 0", "influence"}
    assert (kit.run / "results.csv").read_bytes() == kit.results


@pytest.mark.long
def test_a_training_that_fails_under_new_parameters_leaves_no_old_score(kit):
    kit.overrides["training.learning_rate"] = 5e-3
    kit.fault("train ss 0", "raise")
    assert kit.reproduce().returncode != 0
    kit.journal()
    kit.fault("train ss 0")
    done = kit.reproduce()
    assert done.returncode == 0 and "mixed" not in done.stdout
    assert set(kit.journal()) == {"train ss 0", "score ss 0", "influence"}
    del kit.overrides["training.learning_rate"]
    assert kit.reproduce().returncode == 0
    assert (kit.run / "results.csv").read_bytes() == kit.results and len(kit.journal()) == 9


@pytest.mark.long
def test_a_disk_that_fills_up_under_a_grid(kit, tmp_path):
    """Adapters of half a megabyte on a disk with room for some: named, then room is made and the rest is done."""
    with disk(tmp_path / "runs", "100m") as place:
        full = Kit(tmp_path, **SMALL)
        filler = fill(place, 1200)
        done = full.reproduce(ADAPTER_KB="500")
        assert done.returncode != 0 and "Traceback" not in done.stderr
        assert re.search(
            r"^train .* failed: KitError: the disk is full: cannot write .* into .*; free some space there and run",
            done.stdout,
            re.M,
        ), done.stdout + done.stderr
        assert "Missing from this table: " in done.stdout
        finished = {path: path.stat().st_mtime_ns for path in full.run.rglob("train.json")}
        full.journal()
        filler.unlink()
        done = full.reproduce(ADAPTER_KB="500")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (full.run / "results.csv").read_bytes() == kit.results
        assert all(path.stat().st_mtime_ns == made for path, made in finished.items())


@pytest.mark.long
@pytest.mark.parametrize("whom", ["the group", "the driver", "Snakemake", "the server"])
def test_a_killed_grid_leaves_no_process_behind(tmp_path, whom):
    kit = Kit(tmp_path, **SMALL)
    notebook = kit.folder / "notebooks" / "03_train.ipynb"
    notebook.write_text(
        notebook.read_text().replace(
            'print(f\\"{name} begins\\", flush=True)', "print(name, flush=True); import time; time.sleep(600)"
        )
    )
    process = kit.start()
    deadline = time.time() + 120
    while not list(kit.run.glob("notebooks/03_train/*.ipynb")) or "train" not in (kit.home / "journal").read_text():
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.2)
    family = psutil.Process(process.pid).children()
    if whom == "the group":
        os.killpg(process.pid, signal.SIGKILL)
    elif whom == "the driver":
        process.kill()
    else:
        word = "snakemake" if whom == "Snakemake" else "kernel_server"
        next(child for child in family if any(word in part for part in child.cmdline())).kill()
        if whom == "the server":  # the jobs die with it, run again without it, and would sleep on
            time.sleep(3)
            os.killpg(process.pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert gone("STANDIN", str(kit.home)) == []
    if whom == "Snakemake":
        assert "Snakemake stopped; run again and it goes on where it was" in out or " failed: it was killed" in out, out
