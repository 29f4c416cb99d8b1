"""Cards: what a finished run says to others is what they can read, and nothing that the study wrote changes."""

import json
import subprocess

import numpy as np
import pandas as pd
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard
from safetensors.numpy import save_file

from lib.common.bundled import ROOT
from lib.common.design import Triplet, write_triplets
from lib.common.files import KitError, digest_file, read_json, write_json, write_text
from lib.embedder.models import corrupted
from lib.grid import cards
from lib.grid.cards import model_name
from lib.params.params import load
from lib.params.provenance import write_manifest

RUNS = [("base", 0), ("none", 0), ("ss+ll", 0), ("ss+ll", 1)]
SETS = {"MySTS": ("STS", "cosine_spearman"), "MyRetrieval": ("Retrieval", "ndcg_at_10")}
VALIDATORS = ROOT / ".venv-cards"


def plant(tmp_path):
    """Write what a finished run of four models on two sets leaves behind, and return its parameters."""
    params = load("classroom", {"paths.runs": str(tmp_path / "runs")})
    triplet = Triplet("Find it.", 'a "query"', "its answer, über alles", "no answer", "short_short", "English", "1")
    write_triplets(params.data_dir / "triplets" / "short_short.jsonl", [triplet] * 3)
    write_triplets(params.data_dir / "public.jsonl", [triplet])
    write_json(
        params.data_dir / "generation.json",
        {"generator": "replay", "backend": "replay", "categories": {"short_short": COUNT}},
    )
    write_manifest(params.data_dir, params)
    rows = []
    for number, (subset, seed) in enumerate(RUNS):
        if subset != "base":
            adapter(params.models_dir / subset / f"seed{seed}", seed)
        name, revision = f"kit__{subset}-seed{seed}-0123456{number}", f"0123456{number}"
        for task, (kind, metric) in SETS.items():
            score = 0.5 + number / 16
            rows.append({"subset": subset, "seed": seed, "task": task, "type": kind, "metric": metric, "score": score})
            result(params.study_dir / "scores/mteb/results" / name / revision / f"{task}.json", task, score)
        write_text(params.scores_dir / subset / f"seed{seed}.csv", "scores")
    write_text(params.results_file, pd.DataFrame(rows).assign(code="abc").to_csv(index=False))
    write_json(params.influence_file, {})
    return params


COUNT = {"asked": 5, "valid": 3}


def adapter(folder, seed):
    folder.mkdir(parents=True)
    save_file({"lora_A": np.full((2, 3), seed, np.float32)}, folder / "adapter_model.safetensors")
    config = {"base_model_name_or_path": "sentence-transformers/all-MiniLM-L6-v2", "r": 2, "lora_alpha": 4}
    write_json(folder / "adapter_config.json", config)
    digests = {"adapter": folder / "adapter_model.safetensors", "adapter_config": folder / "adapter_config.json"}
    made_of = {"training.temperature": 0.05, "training.learning_rate": 0.002, "training.max_length": 96}
    record = {"steps_per_source": {"public": 3}, "steps": 3, "effective_batch": 24, "seed": 7, "made_of": made_of}
    record |= {"versions": "torch=2", "device": "cpu", "data_hash": "d"} | {
        k: digest_file(v) for k, v in digests.items()
    }
    write_json(folder / "train.json", record)


def result(path, task, score):
    row = {"main_score": round(score, 6), "hf_subset": "default", "languages": ["eng-Latn"], "nauc": float("nan")}
    about = {"dataset_revision": "1", "task_name": task, "mteb_version": "2.26.24", "evaluation_time": 1.0}
    write_text(path, json.dumps({**about, "kg_co2_emissions": None, "scores": {"test": [row]}}))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with its cards, and what lay there before."""
    params = plant(tmp_path_factory.mktemp("cards"))
    before = {path: path.read_bytes() for path in params.run_dir.rglob("*") if path.is_file()}
    return params, before, list(cards.write_all(params))


def test_nothing_that_the_study_wrote_is_touched_and_the_same_cards_are_the_same_bytes(run):
    params, before, told = run
    assert all(path.read_bytes() == content for path, content in before.items())
    folder = params.models_dir / "ss+ll" / "seed1"
    assert (folder / "README.md").is_file() and corrupted(folder, read_json(folder / "train.json")) is None
    assert any("4 models with 2 result files each" in line for line in told)
    first = {path: path.read_bytes() for path in params.run_dir.rglob("*") if path.is_file()}
    list(cards.write_all(params))
    assert first == {path: path.read_bytes() for path in params.run_dir.rglob("*") if path.is_file()}


def test_mteb_loads_the_results_and_the_metadata(run):
    from mteb.cache import ResultCache
    from mteb.models.model_meta import ModelMeta

    params = run[0]
    home = params.run_dir / "cards" / "mteb"
    found = ResultCache(home).load_results(tasks=None, validate_and_filter=False)
    assert {result.model_name for result in found} == {model_name(params, *run) for run in RUNS}
    one = next(result for result in found if result.model_name == "synfluence/classroom-ss-ll-seed1")
    assert {row.task_name: row.get_score() for row in one.task_results} == dict.fromkeys(SETS, 0.6875)
    metas = [ModelMeta.model_validate(read_json(path)) for path in home.rglob("model_meta.json")]
    assert {meta.adapted_from for meta in metas} == {"sentence-transformers/all-MiniLM-L6-v2"} and len(metas) == 4
    assert {meta.license for meta in metas if "base" in meta.name} == {"apache-2.0"}
    assert {meta.license for meta in metas if "base" not in meta.name} == {"mit"}


def test_the_hub_reads_the_cards(run):
    params = run[0]
    card = ModelCard.load(params.models_dir / "ss+ll" / "seed0" / "README.md")
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2" and card.data.license == "mit"
    scores = {result.dataset_name: result.metric_value for result in card.data.eval_results}
    assert scores == dict.fromkeys(SETS, 0.625) and "short-short, long-long, public pairs" in card.text
    data = DatasetCard.load(params.data_dir / "README.md")
    assert [one["data_files"] for one in data.data.configs] == ["triplets/short_short.jsonl", "public.jsonl"]
    assert "Of 5 answers\n2 were rejected" in data.text and "{" not in data.text


def test_croissant_has_its_required_fields_and_its_digests(run):
    folder = run[0].data_dir
    found = read_json(folder / "croissant.json")
    needed = "@context @type name description license url creator datePublished conformsTo distribution recordSet"
    assert set(needed.split()) <= set(found)
    for file, records in zip(found["distribution"], found["recordSet"], strict=True):
        assert len(file["sha256"]) == 64 and (folder / file["contentUrl"]).is_file()
        assert {field["source"]["fileObject"]["@id"] for field in records["field"]} == {file["@id"]}


def test_the_crate_names_everything_it_speaks_of(run):
    home = run[0].run_dir
    graph = {entity["@id"]: entity for entity in read_json(home / "ro-crate-metadata.json")["@graph"]}
    root = graph["./"]
    assert {"name", "description", "datePublished", "license", "hasPart"} <= set(root)
    actions = [graph[one["@id"]] for one in root["mentions"]]
    assert len(actions) == 1 + 3 + 4 + 1
    for action in actions:
        spoken = [action[name] for name in ("instrument", "object", "result") if name in action]
        spoken = [one for each in spoken for one in (each if isinstance(each, list) else [each])]
        assert len(spoken) > 1 and all(one["@id"] in graph for one in spoken)
    assert all((home / one["@id"]).is_file() for one in root["hasPart"])
    assert graph["#train-ss+ll/seed1"]["result"][0]["@id"] == "models/ss+ll/seed1/adapter_model.safetensors"


def test_other_parameters_and_designs_have_no_cards_of_their_own():
    for changed in ({"study.design": "isolation"}, {"influence.alpha": 0.1}):
        with pytest.raises(KitError, match="cards are of a profile's own study"):
            next(cards.write_all(load("classroom", changed)))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda p: p.influence_file.unlink(), "there is no finished run in .*; say `make reproduce` first"),
        (lambda p: flip(p.models_dir / "none" / "seed0" / "adapter_model.safetensors"), "is not what training wrote"),
        (lambda p: flip(p.data_dir / "public.jsonl"), "is not what notebook 01 wrote"),
        (
            lambda p: result(next(p.study_dir.rglob("kit__none*/*/MySTS.json")), "MySTS", 0.1),
            "none seed 0 are not those",
        ),
        (
            lambda p: (p.scores_dir / "ss+ll" / "seed1.csv").unlink(),
            "seed1.csv does not exist; cards are of a finished",
        ),
    ],
)
def test_what_is_not_as_its_records_say_gets_no_cards(tmp_path, spoil, told):
    params = plant(tmp_path)
    spoil(params)
    with pytest.raises(KitError, match=told):
        list(cards.write_all(params))


def flip(path):
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


# ── the formats' own validators, and what the repository says about itself ───────────────────────────────
def validate(*command):
    """Run one of the validators of ``tests/share/setup.sh``; skip where they are not installed."""
    if not (VALIDATORS / ".ready").is_file():
        pytest.skip("tests/share/setup.sh installs the formats' own validators")
    done = subprocess.run(
        [VALIDATORS / "bin" / command[0], *command[1:]], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mlcroissant_reads_the_triplets(run):
    text = """import sys, mlcroissant
data = mlcroissant.Dataset(sys.argv[1])
rows = list(data.records("short_short"))
assert len(rows) == 3 and rows[0]["short_short/positive"].decode() == "its answer, über alles", rows"""
    validate("python", "-c", text, run[0].data_dir / "croissant.json")
    validate("mlcroissant", "validate", "--jsonld", run[0].data_dir / "croissant.json")


def test_ro_crate_reads_the_crate(run):
    text = """import sys
from rocrate.rocrate import ROCrate
assert len(ROCrate(sys.argv[1]).get_by_type("CreateAction")) == 9"""
    validate("python", "-c", text, run[0].run_dir)


def test_the_citation_can_be_cited():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    assert {"type", "title", "authors", "year"} <= set(found["preferred-citation"])
    validate("cffconvert", "--validate", "-i", "CITATION.cff")


def test_github_runs_what_ci_runs():
    path = ".github/workflows/test.yml"
    found = yaml.safe_load((ROOT / path).read_text())
    steps = [step for job in found["jobs"].values() for step in job["steps"]]
    assert set(found[True]) >= {"push", "pull_request"}  # YAML 1.1 reads `on` as true
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]


def test_binder_has_the_pinned_environment():
    lines = (ROOT / "binder" / "requirements.txt").read_text().splitlines()
    assert "--editable ." in lines and "3.12" in (ROOT / "binder" / "runtime.txt").read_text()
    assert not (ROOT / "binder" / "environment.yml").exists()  # repo2docker would read that instead
