"""Scoring: the traps of mteb, each shown to work on the naive way and not on ours, and the machinery around them."""

import copy
import json
import random

import numpy as np
import pytest
from scoring_kit import HUB, CountingEmbedder, hub_set, lines, naive_score, plain_mteb, rows_of, write_set

from lib.common.files import KitError
from lib.params.model import ScoringParams
from lib.params.params import load
from lib.score import hub, suites
from lib.score.localsets import MAIN_SCORES
from lib.score.score import draws as scoring_draws
from lib.score.score import score, summary, write_scores

OFF = ScoringParams(instructions="off")


def written(folder, kinds):
    """Write one tiny set per type and return the folder."""
    for kind in kinds:
        write_set(folder, kind)
    return str(folder)


@pytest.fixture
def sets(tmp_path):
    """A folder with three tiny sets: clustering (with draws), reranking (with documents), STS (with neither)."""
    return written(tmp_path / "sets", ("Clustering", "Reranking", "STS"))


@pytest.fixture
def seven(tmp_path):
    """A folder with one tiny set of each type."""
    return written(tmp_path / "sets", MAIN_SCORES)


def run(embedder, tasks, out, params=OFF, **options):
    return score(embedder, tasks, out, params=params, progress=False, **options)


# ── what is kept, and what is done again ─────────────────────────────────────────────────────────────────────
def test_finished_tasks_are_not_redone_and_give_the_same_table(seven, tmp_path):
    first = run(CountingEmbedder(), suites.tasks(seven), tmp_path / "out")
    again = CountingEmbedder()
    second = run(again, suites.tasks(seven), tmp_path / "out")
    assert list(first.columns) == ["task", "type", "metric", "score"] and len(first) == len(MAIN_SCORES)
    assert not again.texts and first.equals(second) and first.attrs["draws"] == second.attrs["draws"]


def test_trap_two_local_adapters_never_share_a_score(sets, tmp_path):
    """mteb calls every local checkpoint no_model_name/available, so the second gets the first one's score."""
    one, two = CountingEmbedder("a", salt="1"), CountingEmbedder("b", salt="2")
    wrong = [plain_mteb(suites.tasks(sets), embedder, tmp_path / "plain") for embedder in (one, two)]
    assert wrong[1] == pytest.approx(wrong[0], abs=1e-6) and not two.texts  # the trap
    tables = [run(embedder, suites.tasks(sets), tmp_path / "out") for embedder in (one, two)]
    assert (tables[0]["score"] != tables[1]["score"]).all()
    assert tables[1]["score"].tolist() == pytest.approx(
        [naive_score(task, two) for task in suites.tasks(sets)], abs=1e-6
    )


def test_trap_a_changed_encoder_setting_is_scored_again(sets, tmp_path):
    """mteb's cache knows a model by name and revision only, not by how it encodes."""
    before, after = CountingEmbedder(settings="length 512"), CountingEmbedder(settings="length 8", salt="x")
    wrong = [plain_mteb(suites.tasks(sets), embedder, tmp_path / "plain") for embedder in (before, after)]
    assert wrong[1] == pytest.approx(wrong[0], abs=1e-6) and not after.texts  # the trap
    first, second = (run(embedder, suites.tasks(sets), tmp_path / "out") for embedder in (before, after))
    assert after.texts and (first["score"] != second["score"]).all()


def test_trap_changed_data_are_scored_again_and_only_they(sets, tmp_path):
    """mteb's cache has no place for the data's revision: new data get the old data's score."""
    wrong = plain_mteb(suites.tasks(sets), CountingEmbedder(), tmp_path / "plain")
    first = run(CountingEmbedder(), suites.tasks(sets), tmp_path / "out")
    lines(tmp_path / "sets" / "MySTS.file.jsonl", rows_of("STS")[:30])
    naive, again = CountingEmbedder(), CountingEmbedder()
    stale = plain_mteb(suites.tasks(sets), naive, tmp_path / "plain")
    assert stale == pytest.approx(wrong, abs=1e-6) and not naive.texts  # the trap
    second = run(again, suites.tasks(sets), tmp_path / "out")
    assert len(again.texts) == 60 and list(second["task"][first["score"] != second["score"]]) == ["MySTS"]
    assert second["score"].tolist() == pytest.approx(
        [naive_score(task, again) for task in suites.tasks(sets)], abs=1e-6
    )


def test_a_changed_instruction_rescores_only_the_tasks_that_use_it(sets, tmp_path):
    everything = ScoringParams(instructions="everything")
    run(CountingEmbedder(), suites.tasks(sets), tmp_path / "out", everything)
    again = CountingEmbedder()
    path = tmp_path / "sets" / "MySTS.yaml"
    path.write_text(path.read_text().replace("Find the animals", "Find another"))
    run(again, suites.tasks(sets), tmp_path / "out", everything)
    assert {instruction for instruction, _ in again.texts} == {"Find another"} and len(again.texts) == 80


# ── numbers that are none ────────────────────────────────────────────────────────────────────────────────────
class Broken(CountingEmbedder):
    """Gives NaN for every text about ants."""

    def vector(self, text):
        return super().vector(text) * (np.nan if " ant " in text else 1.0)


def test_trap_nan_embeddings_give_no_score(tmp_path):
    """mteb ranks NaN like a number: full-corpus retrieval returns a wrong score without a word."""
    task = suites.tasks(written(tmp_path / "sets", ["Retrieval"]))[0]
    wrong = naive_score(copy.copy(task), Broken())
    assert np.isfinite(wrong) and wrong != naive_score(copy.copy(task), CountingEmbedder())  # the trap
    table = run(Broken(), [task], tmp_path / "out")
    assert table.empty and "NaN or infinity in MyRetrieval" in table.attrs["failed"]["MyRetrieval"]
    assert not list((tmp_path / "out").glob("store/*"))
    assert list(table.attrs["failed"]) == ["MyRetrieval"]
    assert len(run(CountingEmbedder(), [task], tmp_path / "out")) == 1


def test_a_score_that_is_no_number_is_not_kept(tmp_path):
    """All texts alike: mteb's rank correlation is NaN."""
    alike = CountingEmbedder()
    alike.vector = lambda text: np.ones(alike.dim, np.float32)
    table = run(alike, suites.tasks(written(tmp_path / "sets", ["STS"])), tmp_path / "out")
    assert table.empty and "came out as nan" in table.attrs["failed"]["MySTS"]
    assert not list((tmp_path / "out").glob("store/*"))


def aggregate(parts):
    """An aggregate task over the given parts, as CQADupstackRetrieval is one over twelve."""
    from mteb.abstasks.aggregate_task_metadata import AggregateTaskMetadata
    from mteb.abstasks.aggregated_task import AbsTaskAggregate

    meta = AggregateTaskMetadata(
        name="Together",
        description="two sets",
        tasks=parts,
        main_score="ndcg_at_10",
        type="Retrieval",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
    )
    return type("Together", (AbsTaskAggregate,), {"metadata": meta})()


def test_trap_an_aggregate_with_a_failed_part_is_listed_and_retried(tmp_path):
    """mteb saves an aggregate of which a part failed with a null score, and takes that for done."""
    for name, seed in (("One", 1), ("Two", 2)):
        write_set(tmp_path / "sets", "Retrieval", name, seed)
    folder, path = str(tmp_path / "sets"), tmp_path / "sets" / "Two.corpus.jsonl"
    rows = rows_of("Retrieval", 2)["corpus"]
    lines(path, rows[:1])
    naive = CountingEmbedder()
    assert plain_mteb([aggregate(suites.tasks(folder))], naive, tmp_path / "plain") == {"Together": None}
    lines(path, rows)
    naive.texts.clear()
    assert plain_mteb([aggregate(suites.tasks(folder))], naive, tmp_path / "plain") == {"Together": None}
    assert not naive.texts  # the trap: mteb keeps null as the result and never tries again
    lines(path, rows[:1])
    whole = aggregate(suites.tasks(folder))
    table = run(CountingEmbedder(), [whole], tmp_path / "out")
    assert table.empty and "1 of its 2 parts failed (Two:" in table.attrs["failed"]["Together"]
    lines(path, rows)
    embedder = CountingEmbedder()
    table = run(embedder, [aggregate(suites.tasks(folder))], tmp_path / "out")
    parts = [naive_score(task, CountingEmbedder()) for task in suites.tasks(folder)]
    assert table["score"][0] == pytest.approx(np.mean(parts), abs=1e-6)
    assert len(embedder.texts) == 64  # the part that had a score was not run again


def test_trap_lost_candidates_are_refused(tmp_path):
    """Without top_ranked mteb searches the whole corpus for a reranking set and says nothing."""
    write_set(tmp_path / "sets", "Reranking")

    def lost():
        task = suites.tasks(str(tmp_path / "sets"))[0]
        task.load_data()
        task.dataset["default"]["test"]["top_ranked"] = None
        return task

    whole = suites.tasks(str(tmp_path / "sets"))[0]
    assert naive_score(lost(), CountingEmbedder()) < naive_score(whole, CountingEmbedder()) - 0.05  # the trap
    task = lost()
    task.data_loaded = False
    task.load_data = lambda **_: setattr(task, "data_loaded", True)
    table = run(CountingEmbedder(), [task], tmp_path / "out")
    assert table.empty and "lost its candidates" in table.attrs["failed"]["MyReranking"]
    with pytest.raises(KitError, match="lost its candidates"):
        encoder_of(CountingEmbedder()).search(
            None, task_metadata=task.metadata, hf_split="test", hf_subset="default", top_k=9
        )


def test_a_hub_reranking_folder_without_candidates_is_refused(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    folder = hub_set(tmp_path / "hub", "Reranking")
    readme = (folder / "README.md").read_text()
    (folder / "README.md").write_text(readme[: readme.index("- config_name: top_ranked")] + "---\n")
    table = run(
        CountingEmbedder(),
        suites.tasks(HUB["Reranking"]),
        tmp_path / "out",
        ScoringParams(instructions="off", data_dir=str(tmp_path / "hub")),
    )
    assert table.empty and "lost its candidates" in table.attrs["failed"][HUB["Reranking"]]


# ── random numbers ───────────────────────────────────────────────────────────────────────────────────────────
def test_trap_the_global_random_state_survives_scoring(sets, tmp_path):
    import torch

    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    before = state()
    tasks = suites.tasks(sets)
    run(CountingEmbedder(), tasks, tmp_path / "out")
    assert state() == before
    naive_score(tasks[-1], CountingEmbedder())
    assert state() != before  # the trap: a training that goes on now draws mteb's 42


def test_trap_the_same_model_gets_the_same_clustering_score_from_the_same_task(sets, tmp_path):
    task = next(t for t in suites.tasks(sets) if t.metadata.type == "Clustering")
    used = copy.copy(task)
    assert naive_score(used, CountingEmbedder()) != naive_score(used, CountingEmbedder())  # the trap
    tables = [run(CountingEmbedder(adapter=str(i)), [task], tmp_path / "out") for i in range(3)]
    assert tables[0].equals(tables[1]) and tables[1].equals(tables[2])
    assert tables[0].attrs["draws"] == tables[2].attrs["draws"]


def test_draws_are_kept_and_average_to_the_score(seven, tmp_path):
    table = run(CountingEmbedder(), suites.tasks(seven), tmp_path / "out")
    draws = scoring_draws(table)
    assert set(draws["task"]) == {"MyClassification", "MyClustering"} and (draws.groupby("task").size() == 4).all()
    means = draws.groupby("task")["score"].mean()
    scores = table.set_index("task")["score"]
    assert means.to_dict() == pytest.approx({name: scores[name] for name in means.index}, abs=1e-9)
    assert draws.groupby("task")["score"].std().min() > 0


# ── failure ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_failing_task_does_not_take_the_others_down_and_is_tried_again(sets, tmp_path, capsys):
    def fail(texts):
        if len(texts) == 12:
            raise RuntimeError("device lost")

    embedder = CountingEmbedder()
    embedder.fail = fail
    table = run(embedder, suites.tasks(sets), tmp_path / "out")
    assert len(table) == 2 and table.attrs["failed"] == {"MyReranking": "RuntimeError: device lost"}
    assert "not scored: MyReranking: RuntimeError: device lost" in capsys.readouterr().out
    embedder.fail = None
    assert len(run(embedder, suites.tasks(sets), tmp_path / "out")) == 3


def test_an_empty_list_of_tasks_is_one_sentence(sets, tmp_path):
    with pytest.raises(KitError, match="nothing to score"):
        run(CountingEmbedder(), [], tmp_path)
    with pytest.raises(KitError, match="scoring.exclude"):
        run(CountingEmbedder(), suites.tasks("TechSTS"), tmp_path, ScoringParams(exclude=("TechSTS",)))


# ── the encoder ──────────────────────────────────────────────────────────────────────────────────────────────
def encoder_of(embedder, **options):
    from lib.score.encoder import MtebEncoder

    return MtebEncoder(embedder, **options)


def test_each_distinct_text_is_encoded_once_across_tasks(tmp_path):
    for name in ("One", "Two"):
        write_set(tmp_path / "sets", "STS", name)
    embedder = CountingEmbedder()
    run(embedder, suites.tasks(str(tmp_path / "sets")), tmp_path / "out")
    assert len(embedder.texts) == len(set(embedder.texts)) == 80


def test_vectors_come_in_input_order_whatever_was_seen_before(monkeypatch):
    embedder = CountingEmbedder()
    encoder = encoder_of(embedder)
    rng = random.Random(0)
    pool = [" ".join(rng.choice("abcdefgh") for _ in range(rng.randint(1, 9))) for _ in range(60)]
    for size in (1, 5, 30, 60, 60):
        texts = [rng.choice(pool) for _ in range(size)]
        assert np.array_equal(encoder.vectors(texts), np.stack([embedder.vector(f" {text}") for text in texts]))
    monkeypatch.setattr("lib.score.encoder.CACHE", 0)
    small = encoder_of(embedder)
    assert (
        np.array_equal(small.vectors(pool + pool), encoder.vectors(pool + pool)) and small.vectors(pool).flags.owndata
    )


def test_instructions_go_to_queries_and_to_whom_the_mode_says(seven, tmp_path):
    seen = {}
    for mode in ("off", "queries", "everything"):
        embedder = CountingEmbedder()
        run(embedder, suites.tasks(seven), tmp_path / mode, ScoringParams(instructions=mode))
        seen[mode] = {
            kind for kind in MAIN_SCORES for text in texts_of(kind) if ("Find the animals", text) in embedder.texts
        }
        documents = {row["text"] for row in rows_of("Retrieval")["corpus"]}
        assert not any(instruction and text in documents for instruction, text in embedder.texts)
    assert seen == {"off": set(), "queries": {"Retrieval", "Reranking"}, "everything": set(MAIN_SCORES)}


def texts_of(kind):
    rows = rows_of(kind)
    if kind == "Retrieval":
        return [row["text"] for row in rows["queries"]]
    return [
        row.get("query") or row.get("sentence1") or (row.get("human_summaries") or [row["text"]])[0] for row in rows
    ]


def test_documents_and_queries_are_the_texts_mteb_makes():
    from datasets import Dataset
    from mteb._create_dataloaders import create_dataloader
    from mteb.types import PromptType

    from lib.score.encoder import document_texts, query_texts

    task = suites.tasks("SciFact")[0]
    corpus = Dataset.from_dict(
        {"id": ["a", "b", "c"], "title": ["cooking ", "", " x"], "text": [" the chef", "no title ", "y"]}
    )
    queries = Dataset.from_dict({"id": ["q"], "text": ["who"], "instruction": ["say it"]})
    for columns, kind, ours in (
        (corpus, PromptType.document, document_texts(corpus[:])),
        (queries, PromptType.query, query_texts(queries, task.metadata)),
    ):
        loader = create_dataloader(columns, task_metadata=task.metadata, prompt_type=kind)
        assert [text for batch in loader for text in batch["text"]] == ours


def test_the_best_rows_are_exact_for_any_block_size():
    from lib.score.encoder import top_rows

    rng = np.random.default_rng(0)
    queries, corpus = rng.standard_normal((7, 16)).astype(np.float32), rng.standard_normal((101, 16)).astype(np.float32)
    full = queries @ corpus.T
    for k, block in ((1, 3), (10, 10), (10, 1000), (101, 7)):
        rows, scores = top_rows(queries, corpus, k, block)
        assert np.array_equal(rows, np.argsort(-full, axis=1)[:, :k])
        assert np.allclose(scores, -np.sort(-full, axis=1)[:, :k], atol=1e-5)


def test_a_streamed_corpus_ranks_the_same_and_goes_on_after_a_kill(tmp_path, monkeypatch):
    from lib.score import encoder

    monkeypatch.setattr(encoder, "BLOCK", 10)
    write_set(tmp_path / "sets", "Retrieval")
    tasks = suites.tasks(str(tmp_path / "sets"))
    whole = run(CountingEmbedder(), tasks, tmp_path / "memory")["score"][0]
    monkeypatch.setattr(encoder, "LARGE", 20)
    embedder = CountingEmbedder()

    def die(texts):
        if len(embedder.texts) >= 36:  # 16 queries and two of five blocks
            raise RuntimeError("killed")

    embedder.fail = die
    assert run(embedder, tasks, tmp_path / "out").attrs["failed"]
    files = list((tmp_path / "out" / "corpora").glob("*.f16"))
    assert len(files) == 1 and files[0].stat().st_size == 48 * 64 * 2
    again = CountingEmbedder()
    table = run(again, tasks, tmp_path / "out")
    assert table["score"][0] == pytest.approx(whole, abs=1e-4)
    assert len(again.texts) == 16 + 28  # the queries, and the blocks that were missing
    assert not list((tmp_path / "out" / "corpora").iterdir())  # nothing is left lying about


def test_labels_read_once_give_the_same_scores(tmp_path):
    from lib.score.taskrun import quick_and_quiet

    write_set(tmp_path / "sets", "Classification")
    task = suites.tasks(str(tmp_path / "sets"))[0]
    lazy = naive_score(task, CountingEmbedder())
    with quick_and_quiet(task):
        assert naive_score(task, CountingEmbedder()) == lazy
        assert type(task.dataset["test"]["label"]) is np.ndarray and type(task.dataset["test"]["text"]) is list
    assert type(task.dataset["test"]["label"]).__name__ == "Column"


# ── what is written ──────────────────────────────────────────────────────────────────────────────────────────
def test_mtebs_own_json_is_written_and_read_by_mteb(seven, tmp_path):
    from mteb.results import TaskResult

    table = run(CountingEmbedder(), suites.tasks(seven), tmp_path / "out", name="ss+ll")
    files = {path.stem: path for path in (tmp_path / "out" / "mteb").rglob("My*.json")}
    scores = {name: TaskResult.from_disk(path).get_score() for name, path in files.items()}
    assert scores == pytest.approx(table.set_index("task")["score"].to_dict(), abs=1e-5)
    meta = json.loads((files["MySTS"].parent / "model_meta.json").read_text())
    assert meta["name"].startswith("kit/ss+ll-") and meta["name"] != "no_model_name/available"


def test_the_score_file_has_factors_provenance_and_draws(sets, tmp_path):
    import pandas as pd

    params = load("classroom", {"paths.runs": str(tmp_path / "runs")})
    folder = params.run_dir / "models" / "ss+ll" / "seed1"
    folder.mkdir(parents=True)
    (folder / "train.json").write_text(
        json.dumps({"steps": 12, "effective_batch": 64, "world_size": 1, "seconds": 3.5})
    )
    table = run(CountingEmbedder("x"), suites.tasks(sets), tmp_path / "out")
    rows = pd.read_csv(write_scores(params, "ss+ll", 1, table))
    assert list(rows.columns[:11]) == [
        "subset",
        "public",
        "ss",
        "sl",
        "ls",
        "ll",
        "seed",
        "task",
        "type",
        "metric",
        "score",
    ]
    assert rows.iloc[0][["subset", "public", "ss", "sl", "ls", "ll", "seed", "steps"]].tolist() == [
        "ss+ll",
        1,
        1,
        0,
        0,
        1,
        1,
        12,
    ]
    draws = pd.read_csv(params.run_dir / "scores" / "ss+ll" / "seed1.draws.csv")
    assert list(draws.columns) == ["subset", "seed", "task", "draw", "score"] and len(draws) == 4
    base = pd.read_csv(write_scores(params, "base", 0, table))
    assert base[["public", "ss", "sl", "ls", "ll", "steps"]].to_numpy().sum() == 0
    assert summary(table)["sets"].sum() == 3


def test_a_table_with_failed_tasks_is_not_written(sets, tmp_path):
    params = load("classroom", {"paths.runs": str(tmp_path / "runs")})
    embedder = Broken()
    table = run(embedder, suites.tasks(sets), tmp_path / "out")
    assert table.attrs["failed"]
    with pytest.raises(KitError, match="have no score"):
        write_scores(params, "base", 0, table)
    assert not (params.run_dir / "scores" / "base" / "seed0.csv").exists()
    tasks = [task for task in suites.tasks(sets) if task.metadata.type == "STS"]
    healthy = run(CountingEmbedder("h"), tasks, tmp_path / "out")
    assert write_scores(params, "base", 0, healthy).exists()


def test_hub_folder_digest_sees_a_byte(tmp_path):
    hub_set(tmp_path, "STS")
    folder = tmp_path / "mteb__sts12-sts"
    before = hub.folder_digest(folder)
    path = folder / "test.jsonl"
    path.write_text(path.read_text().replace("0", "1", 1))
    assert hub.folder_digest(folder) != before


def test_items_agree_with_the_scores_and_their_intervals_are_paired(seven, tmp_path):
    from lib.figures.lessons import bars
    from lib.score import comparison

    tasks = suites.tasks(seven)
    one, two = (
        run(CountingEmbedder(name, salt=name), tasks, tmp_path / "out", name=name, predictions=True)
        for name in ("a", "b")
    )
    for table in (one, two):
        scores = table.set_index("task")["score"]
        for task in tasks:
            found = comparison.read_items(task, table.attrs["predictions"])
            if found is None:
                assert task.metadata.type in ("Clustering", "BitextMining")
                continue
            whole = (
                found.values.mean()
                if task.metadata.type == "Classification"
                else found.score(np.arange(len(found.values)))
            )
            assert whole == pytest.approx(scores[task.metadata.name], abs=1e-5), task.metadata.name
            assert len(found.texts) == len(found.values) == len(found.answers)
    table = comparison.changes(tasks, one, two)
    assert ((table["low"] <= table["change"] + 0.05) & (table["change"] - 0.05 <= table["high"])).all()
    same = comparison.changes(tasks, one, one)
    assert np.abs(same[["change", "low", "high"]].to_numpy()).max() == 0  # paired: a model does not differ from itself
    shown = comparison.examples(tasks, table, one, two, count=2)
    assert len(shown) == 4 and shown["text"].str.len().min() > 5
    assert len(bars(table).axes[0].patches) == len(MAIN_SCORES)


def test_pairs_in_one_row_are_read_pair_by_pair_without_a_warning(tmp_path, monkeypatch, recwarn):
    """So the hub keeps SprintDuplicateQuestions and its like; many resamples of two pairs have no positive."""
    import datasets
    import pandas as pd

    from lib.score import comparison

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    hub_set(tmp_path / "hub", "PairClassification")
    params = ScoringParams(instructions="off", data_dir=str(tmp_path / "hub"))
    tasks = suites.tasks([HUB["PairClassification"]])
    one, two = (run(CountingEmbedder(n), tasks, tmp_path / "out", params, name=n, predictions=True) for n in "ab")
    table = comparison.changes(tasks, one, two)
    whole = comparison.read_items(tasks[0], one.attrs["predictions"]).score(np.arange(40))
    assert whole == pytest.approx(one["score"][0], abs=1e-5)
    assert table["noise"].tolist() == ["items"] and len(comparison.examples(tasks, table, one, two, count=1)) == 2
    saved = dict.fromkeys(["similarity_scores", "cosine_scores", "dot_scores"], [0.9, 0.1])
    saved |= dict.fromkeys(["manhattan_distances", "euclidean_distances"], [0.1, 0.9])
    pairs = pd.DataFrame({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [1, 0]})
    recwarn.clear()
    assert np.isnan(comparison._pairs(pairs, saved).score(np.array([1, 1]))) and not recwarn.list


def test_types_without_items_and_queries_without_candidates_do_not_end_a_comparison(tmp_path):
    from types import SimpleNamespace

    from lib.score import comparison

    (tmp_path / "p.json").write_text('{"default": {"test": {"q": {}}}}')
    table = {"id": ["q"], "text": ["who"]}
    data = {"default": {"test": {"queries": table, "corpus": table, "relevant_docs": {"q": {"q": 1}}}}}
    task = {"prediction_file_name": "p.json", "dataset": data}
    rare, usual = (SimpleNamespace(metadata=SimpleNamespace(type=t), **task) for t in ("Regression", "Reranking"))
    assert comparison.read_items(rare, tmp_path) is None
    assert comparison.read_items(usual, tmp_path).values.tolist() == [0.0]


def test_texts_that_cannot_be_read_for_the_contamination_check_are_one_sentence(tmp_path):
    folder = tmp_path / "mteb__sts12-sts"  # as a download that was broken off leaves it
    folder.mkdir()
    (folder / "README.md").write_text("---\n---\n")
    params = load("classroom", {"scoring.suite": ["STS12"], "scoring.data_dir": str(tmp_path)})
    with pytest.raises(KitError, match="the texts of STS12 cannot be read .* set cleaning.contamination to off"):
        list(hub.evaluation_texts(params)["STS12"])
