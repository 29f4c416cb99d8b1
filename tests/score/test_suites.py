"""Suites: the bundled one, your own folders, mteb's benchmarks by name, and what happens without network."""

import random
import re
import socket
import time
from collections import Counter

import numpy as np
import pytest
from scoring_kit import HUB, WORDS, CountingEmbedder, hub_set, lines, naive_score, rows_of, write_set

from lib.common import bundled
from lib.common.files import KitError
from lib.params.model import ScoringParams
from lib.score import hub, suites
from lib.score.localsets import MAIN_SCORES
from lib.score.score import score

OFF = ScoringParams(instructions="off")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep datasets' arrow files of a test in its own folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")


def test_the_bundled_suite_has_thirty_one_sets_of_all_types():
    found = suites.tasks("classroom")
    counts = Counter(task.metadata.type for task in found)
    assert len(found) == 31 and set(counts) == set(MAIN_SCORES)
    assert min(counts[kind] for kind in ("Classification", "PairClassification", "Retrieval")) >= 6
    table = suites.describe(found)
    assert (table["instruction"].str.len() > 20).all()
    assert [MAIN_SCORES[kind] for kind in table["type"]] == list(table["metric"])
    assert (
        suites.tasks("TechSTS")[0].metadata.revision == {t.metadata.name: t for t in found}["TechSTS"].metadata.revision
    )


def test_each_human_set_of_the_bundled_suite_has_its_notice_and_no_text_twice():
    from lib.common.files import read_jsonl

    folder = suites.suite_folder()
    notice, readme = ((folder / name).read_text(encoding="utf-8") for name in ("NOTICE", "README.md"))
    human = re.findall(r"^\| (\w+) \|.*\| people \|$", readme, re.M)
    assert len(human) >= 10 and all(re.search(rf"\b{name}\b", notice) for name in human)
    for path in folder.glob("*.yaml"):
        assert f"| {path.stem} |" in readme
    for name in re.findall(r"licences/\S+\.txt", notice):
        assert (folder / name).stat().st_size > 300
    for path in (
        p for name in human for p in folder.glob(f"{name}.*") if p.suffix == ".jsonl" and "qrels" not in p.name
    ):
        keys = ("query",) if "WordSenses" in path.name else ("text", "sentence1", "sentence2")
        texts = [row[key] for row in read_jsonl(path) for key in keys if key in row]
        assert len(set(texts)) >= 0.99 * len(texts), path.name


def test_all_texts_of_a_clustering_set_are_clustered(tmp_path):
    """mteb's default keeps 4 % of them."""
    from mteb.abstasks import AbsTaskClustering

    path = write_set(tmp_path, "Clustering")
    ours, naive = CountingEmbedder(), CountingEmbedder()
    score(ours, suites.tasks(str(tmp_path)), tmp_path / "out", params=OFF, progress=False)
    task = suites.tasks(str(tmp_path))[0]
    task.max_fraction_of_documents_to_embed = AbsTaskClustering.max_fraction_of_documents_to_embed
    naive_score(task, naive)
    assert len(ours.texts) == 60 and len(naive.texts) == 2, path


@pytest.mark.parametrize("kind", list(MAIN_SCORES))
def test_a_folder_of_your_own_scores_like_plain_mteb(tmp_path, kind):
    write_set(tmp_path, kind)
    table = score(CountingEmbedder(), suites.tasks(str(tmp_path)), tmp_path / "out", params=OFF, progress=False)
    assert list(table["task"]) == [f"My{kind}"] and table["metric"][0] == MAIN_SCORES[kind]
    assert table["score"][0] == pytest.approx(naive_score(suites.tasks(str(tmp_path))[0], CountingEmbedder()), abs=1e-6)
    assert 0.2 < table["score"][0] < 1.0  # neither chance nor saturated: differences would show


@pytest.mark.parametrize("kind", list(HUB))
def test_a_hub_set_from_a_local_folder_scores_like_plain_mteb(tmp_path, kind, monkeypatch):
    folder = hub_set(tmp_path / "hub", kind)
    settings = ScoringParams(instructions="off", data_dir=str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "online", lambda: False)
    table = score(CountingEmbedder(), suites.tasks(HUB[kind]), tmp_path / "out", params=settings, progress=False)
    assert not table.attrs["failed"], table.attrs["failed"]
    plain = suites.tasks(HUB[kind])[0]
    hub.place(plain, folder)
    assert table["score"][0] == pytest.approx(naive_score(plain, CountingEmbedder()), abs=1e-6)


def test_an_edited_file_of_a_hub_folder_is_seen(tmp_path):
    """datasets goes on serving its first copy of a folder with a README, whatever becomes of the files."""
    folder = hub_set(tmp_path / "hub", "Retrieval")
    settings = ScoringParams(instructions="off", data_dir=str(tmp_path / "hub"))

    def documents(load):
        task = suites.tasks("SciFact")[0]
        hub.place(task, folder)
        load(task)
        return len(task.dataset["default"]["test"]["corpus"])

    def ours(task):
        hub.load(task)

    def naive(task):
        task.load_data()

    assert documents(naive) == documents(ours) == 48
    first = score(CountingEmbedder(), suites.tasks("SciFact"), tmp_path / "out", params=settings, progress=False)
    more = rows_of("Retrieval")["corpus"]
    lines(
        folder / "corpus" / "test.jsonl",
        more + [{"_id": f"x{i}", "title": "", "text": " ".join(WORDS[:9]) + f" {i}"} for i in range(60)],
    )
    assert documents(naive) == 48  # the trap
    assert documents(ours) == 108
    second = score(CountingEmbedder(), suites.tasks("SciFact"), tmp_path / "out", params=settings, progress=False)
    assert first["score"][0] != second["score"][0]


@pytest.mark.slow  # importing mteb's benchmarks takes ten seconds
def test_the_56_tasks_of_mteb_v1_resolve_offline():
    from lib.score.encoder import CQADUPSTACK

    found = suites.tasks("MTEB(eng, v1)")
    table = suites.describe(found)
    assert len(table) == 56 and len(set(table["task"])) == 56
    counts = table.groupby("type").size().to_dict()
    assert counts == {
        "Classification": 12,
        "Clustering": 11,
        "PairClassification": 3,
        "Reranking": 4,
        "Retrieval": 15,
        "STS": 10,
        "Summarization": 1,
    }
    assert (table["instruction"].str.len() > 10).all()
    assert suites.DISTRUSTED.keys() & set(table["task"]) == {"SummEval"}
    parts = suites.leaves(next(task for task in found if task.metadata.name == "CQADupstackRetrieval"))
    own = suites.describe(parts)["instruction"]
    assert len(parts) == 12 and set(own) == {CQADUPSTACK}
    from mteb.abstasks.abstask import get_abstask_prompt

    assert (
        parts[0].metadata.prompt is None
        and get_abstask_prompt(parts[0].metadata.name) == "Retrieve text based on user query."
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, size",
    [
        ("MTEB(eng, v2)", 41),
        ("NanoBEIR", 13),
        ("MTEB(Medical, v1)", 12),
        ("MTEB(Law, v1)", 8),
        ("MTEB(Multilingual, v2)", 131),
        (["STS12", "TechSTS"], 2),
    ],
)
def test_benchmarks_and_lists_by_name(name, size):
    assert len(suites.tasks(name)) == size


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, near",
    [
        ("STS21", "STS22"),
        ("MTEB(eng, v3)", "MTEB(eng, v2)"),
        ("classrom", "classroom"),
        ("LibraryDeskIntent", "LibraryDeskIntents"),
        ("CQADupstackRetrieval ", "CQADupstackRetrieval"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, near):
    with pytest.raises(KitError, match="unknown suite") as caught:
        suites.tasks(name)
    assert near in str(caught.value)


def test_naming_tasks_leaves_the_random_state_alone():
    import mteb
    import torch

    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    before = state()
    suites.tasks("STS12"), suites.tasks("classroom")
    assert state() == before
    mteb.get_task("STS12")
    assert state() != before  # the trap: mteb has put its 42 everywhere


def test_without_network_the_missing_are_named_at_once_and_the_rest_is_scored(tmp_path, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise OSError("no route")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    bundled.online.cache_clear()
    names = ["STS12", "CQADupstackRetrieval", "MSMARCO", "TechSTS"]
    tasks = suites.tasks(names)
    started = time.perf_counter()
    ready, lost = hub.prepare(tasks)
    assert time.perf_counter() - started < 5
    bundled.online.cache_clear()
    assert [task.metadata.name for task in ready] == ["TechSTS"] and set(lost) == set(names[:3])
    assert (
        "hf download mteb/sts12-sts --repo-type dataset --revision" in lost["STS12"]
        and "11 more" in lost["CQADupstackRetrieval"]
    )
    table = score(CountingEmbedder(), tasks, tmp_path, progress=False)
    assert list(table["task"]) == ["TechSTS"] and set(table.attrs["failed"]) == set(names[:3])
    assert capsys.readouterr().out.count("not scored") == 3


BAD = {
    "type": ("type: Retrival\nfile: a.jsonl\n", "type Input should be 'Classification'"),
    "key": ("type: STS\nfile: a.jsonl\ninstructions: x\n", "instructions Extra inputs are not permitted"),
    "file": ("type: STS\nfile: b.jsonl\n", "is no file in"),
    "yaml": ("type: [STS\n", "describes no set (while parsing"),
    "setting": ("type: STS\nfile: a.jsonl\nsettings: {n_experiments: 3}\n", "no setting 'n_experiments'; it has none"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_malformed_yaml_is_one_sentence(tmp_path, case):
    text, says = BAD[case]
    lines(tmp_path / "a.jsonl", rows_of("STS"))
    (tmp_path / "set.yaml").write_text(text)
    with pytest.raises(KitError) as caught:
        suites.tasks(str(tmp_path))
    assert says in str(caught.value) and "set.yaml" in str(caught.value) and "\n" not in str(caught.value)


ROWS = {
    "missing key": ("STS", 3, lambda row: row.pop("sentence2"), "row 4: 'sentence2'"),
    "empty text": ("STS", 0, lambda row: row.update(sentence1=" "), "row 1: 'sentence1'"),
    "text as score": ("STS", 1, lambda row: row.update(score="5"), "row 2: 'score'"),
    "label 2": ("PairClassification", 0, lambda row: row.update(label=2), "no other label"),
    "no negatives": ("Reranking", 2, lambda row: row.update(negative=[]), "row 3: 'negative'"),
    "number in a list": ("Reranking", 2, lambda row: row.update(negative=[3]), "row 3: 'negative'"),
    "too few scores": ("Summarization", 5, lambda row: row["relevance"].pop(), "row 6: 4 machine summaries but 3"),
    "unknown split": ("Classification", 0, lambda row: row.update(split="dev"), "row 1: 'split' is 'dev'"),
}


@pytest.mark.parametrize("case", list(ROWS))
def test_a_malformed_row_is_named_and_nothing_is_scored(tmp_path, case):
    kind, number, spoil, says = ROWS[case]
    write_set(tmp_path, kind)
    write_set(tmp_path, "Clustering")
    rows = rows_of(kind)
    spoil(rows[number])
    path = lines(tmp_path / f"My{kind}.file.jsonl", rows)
    embedder = CountingEmbedder()
    table = score(embedder, suites.tasks(str(tmp_path)), tmp_path / "out", progress=False)
    reason = table.attrs["failed"][f"My{kind}"]
    assert says in reason and str(path) in reason and "\n" not in reason
    assert list(table["task"]) == ["MyClustering"]  # the healthy set is scored all the same


@pytest.mark.parametrize("kind", ["STS", "Summarization", "BitextMining"])
def test_a_set_of_one_row_is_refused_and_not_perfect(tmp_path, kind):
    write_set(tmp_path, kind)
    lines(tmp_path / f"My{kind}.file.jsonl", rows_of(kind)[:1])
    table = score(CountingEmbedder(), suites.tasks(str(tmp_path)), tmp_path / "out", progress=False)
    assert table.empty and f"a {kind} set needs at least two" in table.attrs["failed"][f"My{kind}"]


@pytest.mark.parametrize(
    "part, spoil, says",
    [
        ("qrels", lambda rows: rows[0].update({"corpus-id": "d99"}), "row 1: corpus-id 'd99' is not in"),
        ("qrels", lambda rows: [rows.pop(0), rows.pop(0)], "query 'q0' has no relevant document"),
        ("corpus", lambda rows: rows[1].update(_id="d0"), "_id 'd0' occurs twice"),
    ],
)
def test_a_malformed_retrieval_set_is_named(tmp_path, part, spoil, says):
    """mteb drops queries without judgements, and accepts a document id twice, without a word."""
    write_set(tmp_path, "Retrieval")
    rows = rows_of("Retrieval")[part]
    spoil(rows)
    lines(tmp_path / f"MyRetrieval.{part}.jsonl", rows)
    table = score(CountingEmbedder(), suites.tasks(str(tmp_path)), tmp_path / "out", progress=False)
    assert says in table.attrs["failed"]["MyRetrieval"] and table.empty


def test_an_empty_folder_and_a_set_named_twice(tmp_path):
    with pytest.raises(KitError, match="holds no YAML"):
        suites.tasks(str(tmp_path))
    with pytest.raises(KitError, match="twice"):
        suites.tasks(["TechSTS", "classroom"])
