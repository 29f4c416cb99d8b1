"""The dry run: what it changes and what not, stand-ins that behave like the real ones, the whole chain on them."""

import json
import math
import subprocess
import sys

import dry_run
import pytest
from grids import ROOT
from hashed import digest_tree
from scoring_kit import CountingEmbedder
from standin_data import texts
from standin_models import make

from lib.common.files import KitError, read_json
from lib.generate.released import public_pairs
from lib.params.params import flat, load
from lib.score import score as scoring
from lib.score import suites

STRANGE = "naïve ☃ 雪\tof 2048 words"


def small(profile, **overrides):
    """The parameters of a dry run; ``paths__runs`` is the override ``paths.runs``."""
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    return load(profile, dry_run.overrides_of(profile, given))


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    """The paper's profile, tiny, with its stand-ins built."""
    found = small("paper", paths__runs=str(tmp_path_factory.mktemp("runs")))
    dry_run.build(found)
    return found


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────
def test_the_recipe_is_the_papers():
    real, dry = (flat(each.model_dump()) for each in (load("paper"), small("paper")))
    writing = "model dtype n brainstorms max_chars max_tokens max_model_len".split()
    changed = "profile model.name negatives.encoder public.location scoring.data_dir training.learning_rate".split()
    changed += "training.warmup_steps grid.threads grid.mem_mb grid.minutes".split()
    assert {leaf for leaf in real if real[leaf] != dry[leaf]} == {*changed, *(f"generation.{name}" for name in writing)}
    assert dry["training.batch_size"] == 2048 and dry["generation.n"]["short_long"] == 2048 + 64


def test_a_dry_run_stays_away_from_real_ones_and_gives_way_to_overrides(tmp_path):
    found, home = small("paper"), ROOT / "runs"
    assert (found.run_dir, found.figure_dir) == (home / "paper-tiny", home / "figures" / "paper-tiny")
    mine = {"model__name": "bundled:minilm", "scoring__suite": "classroom", "generation__n__sts": 7}
    mine = small("paper", training__learning_rate=0.5, paths__runs=str(tmp_path), **mine)
    assert mine.training.learning_rate == 0.5
    assert mine.generation.n["sts"] == 7 and mine.generation.n["short_short"] == 2048 + 64
    assert mine.model.name == "bundled:minilm" and not mine.scoring.data_dir
    assert mine.generation.model.startswith(str(tmp_path / "paper-tiny" / "stand-ins"))


def test_stand_ins_are_built_once_and_always_the_same(params, tmp_path):
    home = params.run_dir / "stand-ins"
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    dry_run.build(params)
    assert before == {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    again = small("paper", paths__runs=str(tmp_path))
    dry_run.build(again)
    assert digest_tree(home) == digest_tree(again.run_dir / "stand-ins")


def test_an_unknown_family_is_named(tmp_path):
    with pytest.raises(KitError, match="no stand-in for the model gpt-17"):
        make(tmp_path / "tiny-gpt-17")


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────
def loaded(folder):
    from transformers import AutoModel, AutoTokenizer

    assert list(folder.glob("*.safetensors"))
    return AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), read_json(folder / "config.json")


def test_the_base_model_is_a_mistral(params):
    from lib.embedder.embedder import Embedder

    embedder = Embedder.from_params(params.model)
    kind, tokenizer, config = loaded(params.run_dir / "stand-ins" / "tiny-Mistral-7B-v0.1")
    assert type(kind).__name__ == "MistralModel" and config["architectures"] == ["MistralForCausalLM"]
    ids = tokenizer(STRANGE)["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    assert pieces[0] == "<s>" and pieces[-1] != "</s>" and pieces[1].startswith("▁")
    assert "<0xE2>" in pieces and "<unk>" not in pieces  # the snowman, byte by byte
    assert tokenizer.decode(ids, skip_special_tokens=True) == STRANGE and tokenizer.pad_token is None
    rows = embedder.tokenize([STRANGE, "word " * 2000])
    assert [row[0] for row in rows] == [1, 1] and [row[-1] for row in rows] == [2, 2] and len(rows[1]) == 512
    vectors = embedder.encode(texts()[:40])
    likeness = vectors @ vectors.T
    assert abs(likeness).max() < 1.01 and likeness.min() < 0.9, "all texts look alike"


def test_the_generator_is_a_llama_with_a_chat_template(params):
    _, tokenizer, config = loaded(params.run_dir / "stand-ins" / "tiny-Llama-3.1-8B-Instruct")
    assert config["architectures"] == ["LlamaForCausalLM"] and config["head_dim"] == 64
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert chat.startswith("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>")
    assert tokenizer.decode(tokenizer(STRANGE)["input_ids"], skip_special_tokens=True) == STRANGE
    assert tokenizer.convert_ids_to_tokens(tokenizer(STRANGE)["input_ids"])[0] == "<|begin_of_text|>"


def test_the_mining_encoder_is_an_xlm_roberta(params):
    model, tokenizer, _ = loaded(params.run_dir / "stand-ins" / "tiny-multilingual-e5-large-instruct")
    assert (
        type(model).__name__ == "XLMRobertaModel" and tokenizer.backend_tokenizer.model.__class__.__name__ == "Unigram"
    )
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("where is the station?")["input_ids"])
    assert pieces[0] == "<s>" and pieces[-1] == "</s>" and pieces[1].startswith("▁")


@pytest.mark.parametrize("name, kind", [("Qwen2-1.5B", "Qwen2Model"), ("multilingual-e5-small", "BertModel")])
def test_the_laptops_models(name, kind, tmp_path):
    make(tmp_path / f"tiny-{name}")
    model, tokenizer, _ = loaded(tmp_path / f"tiny-{name}")
    assert type(model).__name__ == kind
    ids = tokenizer("where is the station?")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "where is the station?"
    assert (tokenizer.convert_ids_to_tokens(ids)[-1] == "</s>") == (kind == "BertModel")


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_public_data_make_one_whole_batch(params):
    pairs = public_pairs(params.public)
    assert 2048 <= len(pairs) < 2 * 2048 and all(p.instruction and p.query and p.positive and p.negative for p in pairs)
    assert len({p.instruction for p in pairs}) > 8


@pytest.mark.slow
@pytest.mark.parametrize(("profile", "count", "folders"), [("paper", 56, 67), ("laptop", 41, 41)])
def test_every_task_of_the_suite_loads_and_scores(profile, count, folders, tmp_path):
    params = small(profile, paths__runs=str(tmp_path / "runs"))
    dry_run.build(params)
    tasks = suites.tasks(params.scoring.suite)
    assert len(tasks) == count
    table = scoring.score(CountingEmbedder(), tasks, tmp_path, params=params.scoring, progress=False)
    assert not table.attrs["failed"] and list(table["task"]) == [task.metadata.name for task in tasks]
    assert table["score"].map(math.isfinite).all()
    assert table.groupby("type")["score"].nunique().gt(1).sum() == 6  # Summarization has one task
    assert len(list((params.run_dir / "stand-ins").glob("suite-*/*__*"))) == folders


# ── the chain ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.long
def test_the_papers_profile_runs_to_its_figures(tmp_path):
    overrides = {"generation.backend": "released", "paths.runs": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "tests/standins/dry_run.py", "--profile", "paper", "--overrides", json.dumps(overrides)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    whole(tmp_path, 64)  # as many released stand-ins as make batches of 64


def whole(runs, batch=2048):
    """Check what a finished dry run of the paper's profile leaves behind."""
    import pandas as pd

    table = pd.read_csv(runs / "paper-tiny" / "results.csv", keep_default_na=False)
    assert len(table) == 17 * 56 and table["score"].between(-1, 1).all()
    summary = read_json(runs / "paper-tiny" / "models" / "ss+sl+ls+ll" / "seed0" / "train.json")
    assert summary["steps"] >= 5 and summary["effective_batch"] == batch
    assert {"influence.png", "INDEX.md"} <= {path.name for path in (runs / "figures" / "paper-tiny").iterdir()}
