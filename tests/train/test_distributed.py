"""Two gloo processes train the adapter that one trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.common.files import read_json, read_jsonl
from lib.embedder.packing import MicroBatch
from lib.train.distributed import Group

CODE = """
import sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from engine_kit import embedder, training, triplets
from lib.train.distributed import launched
from lib.train.mixture import plan
from lib.params.params import MixtureParams
from lib.train.trainer import train
with launched() as group:
    pools = {{"public": triplets(40, seed=1)}}
    batches = plan(pools, (), MixtureParams(steps=5), 9, seed=0)
    found = embedder(sys.argv[2], lora=False)
    recipe = training(micro_batch_tokens=32, keep_graph_tokens=40, learning_rate=1e-4)
    train(found, pools, batches, recipe, sys.argv[1], 4, progress=False)
"""


def run(folder: Path, family: str, ranks: int) -> None:
    script = folder.parent / "run.py"
    script.write_text(CODE.format(tests=str(Path(__file__).parents[1] / "kits")))
    launcher = (
        [sys.executable]
        if ranks == 1
        else [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([*launcher, str(script), str(folder), family], env=environment, check=True, timeout=240)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "mistral"])
def test_two_processes_under_torchrun_equal_one(tmp_path, family):
    from safetensors.torch import load_file

    for name, ranks in (("one", 1), ("two", 2)):
        run(tmp_path / name, family, ranks)
    losses = [[row["loss"] for row in read_jsonl(tmp_path / name / "log.jsonl")] for name in ("one", "two")]
    assert len(losses[0]) == 5 and losses[0] == pytest.approx(losses[1], rel=1e-5)
    one, two = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two"))
    # AdamW divides a gradient by its own size: where that is nearly zero, rounding decides a step as long as the rate
    assert one.keys() == two.keys() and max(float((two[name] - one[name]).abs().max()) for name in one) < 1e-5
    assert all(float(one[name].abs().max()) > 1e-4 for name in one if "lora_B" in name)  # something was learned
    assert read_json(tmp_path / "two/train.json")["world_size"] == 2
    assert {p.name for p in (tmp_path / "two").iterdir()} == {p.name for p in (tmp_path / "one").iterdir()}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_micro_batch_and_query_has_one_rank(size):
    batches = [MicroBatch((i,), tokens, tokens) for i, tokens in enumerate([90, 60, 50, 40, 30, 20, 5])]
    shares = [Group(rank, size).share(batches) for rank in range(size)]
    assert sorted(b.rows for share in shares for b in share) == [b.rows for b in batches]
    loads = [sum(b.padded for b in share) for share in shares]
    assert max(loads) - min(loads) <= 90
    queries = [range(17)[Group(rank, size).slice(17)] for rank in range(size)]
    assert [q for part in queries for q in part] == list(range(17))


def test_shares_are_balanced_by_tokens():
    batches = [MicroBatch((i,), 100 - i, 100 - i) for i in range(40)]
    loads = [sum(b.padded for b in Group(rank, 4).share(batches)) for rank in range(4)]
    assert max(loads) / min(loads) < 1.02
