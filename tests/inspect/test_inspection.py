"""Inspection: the numbers of notebook 02 against plain recomputation, and the notebook itself."""

import json
import random
import shutil
import time
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hashed import jaccard
from scoring_kit import hub_set, lines, rows_of

from lib.common import bundled
from lib.common.design import Triplet, read_triplets
from lib.common.files import KitError, read_json, read_jsonl, write_json, write_jsonl
from lib.figures import data as draw
from lib.generate.cleaning import clean
from lib.generate.dataset import Maker, write_report
from lib.generate.overlap import shingles, suite_texts
from lib.generate.released import config_name
from lib.inspect import inspect as inspection
from lib.params.data import CleaningParams
from lib.params.params import load
from lib.score import hub

TWO = ("short_long", "bitext")


def encode(texts):
    """Vectors that cost nothing; which negative is chosen does not matter here."""
    return np.stack([np.random.default_rng(len(text)).standard_normal(8) for text in texts])


def run(folder, profile, categories=TWO, **overrides):
    params = load(
        "classroom",
        {
            "paths.runs": str(folder),
            "profile": profile,
            "paths.figures": str(folder / "figures"),
            "generation.n": {"short_long": 100, "bitext": 50},
            **overrides,
        },
    )
    maker = Maker(params, hub.evaluation_texts(params), encode=encode)
    for category in categories:
        maker.make(category, progress=False)
    write_report(params, maker.counts, maker.out)
    return params


def damage(params):
    """Make the run's answers those of a worse generator: every tenth cut off, every tenth said twice."""
    folder = params.run_dir / "data"
    for category in TWO:
        rows = read_jsonl(folder / "responses" / f"{category}.jsonl")
        for number in range(10, len(rows), 10):
            rows[number]["response"] = rows[number]["response"][:-30]
            rows[number - 1]["response"] = rows[number - 2]["response"]
        write_jsonl(folder / "responses" / f"{category}.jsonl", rows)
        reports = inspection.funnel({"x": folder}, params, {})[2]
        kept = {name: set(report["kept_ids"]) for name, report in reports["x"].items()}
        path = folder / "triplets" / f"{category}.jsonl"
        write_jsonl(path, [row for row in read_jsonl(path) if row["id"] in kept[category]])
    write_json(folder / "generation.json", {**read_json(folder / "generation.json"), "generator": "org/Worse-8B"})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two runs: the bundled answers, and the same from a worse generator."""
    folder = tmp_path_factory.mktemp("runs")
    params = run(folder, "good")
    damage(run(folder, "worse"))
    places = inspection.folders(params, ["worse"])
    return SimpleNamespace(params=params, places=places, data=inspection.load(places), folder=folder)


def test_generators_stand_side_by_side(study):
    assert list(study.places) == ["bundled answers", "Worse-8B"]
    table = inspection.counts(study.data).set_index(["generator", "category"])["examples"]
    for name, folder in study.places.items():
        for category, label in (("short_long", "short-long"), ("bitext", "bitext")):
            assert table[name, label] == len(read_triplets(folder / "triplets" / f"{category}.jsonl"))
    assert table["bundled answers", "short-long"] == 100 > table["Worse-8B", "short-long"]


def test_a_missing_run_is_named(study):
    with pytest.raises(KitError, match="no triplets in .*nowhere.*run notebook 01"):
        inspection.folders(study.params, ["nowhere"])


def test_a_folder_without_one_triplet_is_said_in_a_sentence(tmp_path):
    write_jsonl(tmp_path / "triplets" / "sts.jsonl", [])
    with pytest.raises(KitError, match="the triplet files are empty; run notebook 01 again"):
        inspection.load({"x": tmp_path})


def test_the_funnel_adds_up(study):
    stages, rejected, reports = inspection.funnel(study.places, study.params, suite_texts())
    order = list(inspection.STAGES)
    assert (stages[order].diff(axis=1).iloc[:, 1:].fillna(0) <= 0).all(axis=None)
    for row in stages.itertuples():
        lost = rejected[(rejected["generator"] == row.generator) & (rejected["category"] == row.category)]
        assert row.asked - row.kept == len(lost)
        assert row.asked - row.parsed == (lost["meaning"] == "the answer cannot be read").sum()
    worse = stages[(stages["generator"] == "Worse-8B") & (stages["code"] == "sl")].iloc[0]
    assert (worse["asked"], worse["parsed"], worse["kept"]) == (100, 91, 82)  # nine cut off, nine said twice
    for generator, folder in study.places.items():
        for category in TWO:
            written = [t.id for t in read_triplets(folder / "triplets" / f"{category}.jsonl")]
            assert reports[generator][category]["kept_ids"] == written


def test_released_triplets_have_no_answers_and_are_inspected_all_the_same(study):
    for category in TWO:
        folder = study.folder / "rel" / config_name("LLaMA-3.1-8B-Instruct", category)
        folder.mkdir(parents=True)
        shutil.copy(study.params.run_dir / "data" / "triplets" / f"{category}.jsonl", folder / "train.jsonl")
    params = run(
        study.folder,
        "released",
        **{
            "generation.backend": "released",
            "generation.location": str(study.folder / "rel"),
            "generation.model": "LLaMA-3.1-8B-Instruct",
        },
    )
    places = inspection.folders(params)
    stages, _, reports = inspection.funnel(places, params, {})
    assert list(places) == ["LLaMA-3.1-8B-Instruct"] and list(stages["kept"]) == [100, 50]
    assert inspection.slot_lengths(places).empty
    assert set(reports["LLaMA-3.1-8B-Instruct"]) == set(TWO)


def test_lengths_and_their_figure_equal_a_recount(study):
    slots = inspection.slot_lengths(study.places)
    rows = read_jsonl(study.places["bundled answers"] / "responses" / "short_long.jsonl")
    texts = {t.id: t for t in read_triplets(study.places["bundled answers"] / "triplets" / "short_long.jsonl")}
    asked = "less than 5 words"
    words = [len(texts[row["id"]].query.split()) for row in rows if row["slots"]["query_length"] == asked]
    mine = slots[(slots["generator"] == "bundled answers") & (slots["asked"] == asked)]
    assert sorted(mine["words"]) == sorted(words) and mine["fits"].mean() == np.mean(np.array(words) < 5)
    _, drawn = draw.lengths(slots)
    row = drawn[(drawn["generator"] == "bundled answers") & (drawn["asked"] == asked)].iloc[0]
    assert row["median"] == np.median(words) and row["p95"] == pytest.approx(np.quantile(words, 0.95))


def test_overlap_figure_equals_a_recount(study):
    _, drawn = draw.overlaps(study.data)
    row = drawn.set_index(["generator", "category", "pair"]).loc[("bundled answers", "sl", "positive")]
    shares = []
    for t in read_triplets(study.places["bundled answers"] / "triplets" / "short_long.jsonl"):
        query, positive = (
            {*"".join(c if c.isalnum() or c == "_" else " " for c in text.lower()).split()}
            for text in (t.query, t.positive)
        )
        shares.append(len(query & positive) / min(len(query), len(positive)))
    assert row["texts"] == 100 and row["median"] == pytest.approx(np.median(shares), abs=0.02)


def test_languages_count_both_sides_of_bitext(study):
    table = inspection.languages(study.data).set_index(["generator", "language"])
    rows = read_triplets(study.places["bundled answers"] / "triplets" / "bitext.jsonl")
    german = sum(side == "German" for row in rows for side in row.language.split(" -> "))
    assert table.loc[("bundled answers", "German"), "texts"] == german > 0
    assert (table["agree"] <= table["judged"]).all() and (table["judged"] <= table["texts"]).all()
    assert (table["agree"].sum() / table["judged"].sum()) > 0.99


def test_figures_are_drawn_with_their_numbers(study):
    stages, *_ = inspection.funnel(study.places, study.params, {})
    for figure, table in (draw.funnel(stages), draw.languages(inspection.languages(study.data))):
        assert len(table) and len(figure.axes) == 2
    assert draw.funnel(stages)[1].equals(stages)


def test_the_closest_pair_is_the_closest_of_all_pairs():
    rng = random.Random(2)
    texts = [" ".join(rng.choices("abcdefgh", k=12)) for _ in range(60)]
    data = pd.DataFrame({"generator": "g", "category": "c", "query": texts, "positive": "x y z"})
    sets = [shingles(f"{text}\nx y z") for text in texts]
    best = max(jaccard(a, b) for a, b in combinations(sets, 2))
    assert inspection.closest(data, 0.05)["similarity"].iloc[0] == round(best, 2)
    assert inspection.closest(data, 0.99).empty


def test_what_is_spoilt_is_found_and_a_page_can_be_read(study):
    rows = read_triplets(study.places["bundled answers"] / "triplets" / "short_long.jsonl")
    corrupted, expected = inspection.corrupt(rows, n=20, seed=3)
    report = clean(corrupted, CleaningParams())[1]
    assert {row["position"]: row["reason"] for row in report["rejected"]} == expected and len(expected) == 20
    page = inspection.page(study.data, n=2, seed=1)
    assert page.count("**query**") == 8 and page == inspection.page(study.data, n=2, seed=1)
    assert page != inspection.page(study.data, n=2, seed=2)


def test_shared_runs_find_a_planted_quotation(study):
    quoted = read_triplets(study.places["bundled answers"] / "triplets" / "short_long.jsonl")[0].positive
    table = inspection.shared_runs(study.places, {"Mine": [quoted], "Other": ["nothing at all of this kind"]}, 8)
    counts = table.set_index(["generator", "set"])["triplets, runs of 8"]
    assert counts["bundled answers", "Mine"] >= 1 and counts["bundled answers", "Other"] == 0


def test_texts_of_nested_data_sets_are_walked():
    class Table:
        column_names = ["id", "text", "label", "sentences"]

        def __getitem__(self, name):
            return {"id": ["1"], "text": ["a text"], "label": ["a label"], "sentences": [["one", ["two"]]]}[name]

    data = {"test": {"corpus": Table(), "relevant_docs": {"q": {"d": 1}}, "top_ranked": {"q": ["d"]}}}
    assert list(hub.walk(data)) == ["a text", "one", "two"]
    off = load("classroom", {"cleaning.contamination": "off"})
    assert hub.evaluation_texts(off) == {}
    assert hub.evaluation_texts(load("classroom")) == suite_texts()


@pytest.mark.slow
def test_mtebs_texts_are_those_of_the_files(monkeypatch):
    """Through mteb's task classes come the same texts as straight from the bundled files; offline is said at once."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = ["FieldNotes", "MinutesSumm", "AskBench", "ThesisTitles", "LibraryDeskIntents", "TechSTS", "SameQuestion"]
    found = hub.evaluation_texts(load("classroom", {"scoring.suite": names}))
    texts = suite_texts()
    assert {name: set(found[name]) for name in names} == {name: set(texts[name]) for name in names}
    assert (
        len(
            list(
                hub.evaluation_texts(load("classroom", {"scoring.suite": names, "cleaning.contamination_limit": 7}))[
                    "TechSTS"
                ]
            )
        )
        == 7
    )
    bundled.online.cache_clear()
    with pytest.raises(
        KitError, match="needs the texts of .* and 40 more: no network, .* or set cleaning.contamination to off"
    ):
        hub.evaluation_texts(load("classroom", {"scoring.suite": "MTEB(eng, v2)"}))
    bundled.online.cache_clear()


def test_sets_brought_by_hand_are_compared_and_offline_ones_named_at_once(tmp_path, monkeypatch):
    """Folders of scoring.data_dir are read, also after an edit; without network the lost sets are one sentence."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    bundled.online.cache_clear()
    folder = hub_set(tmp_path / "hub", "STS")
    given = {"scoring.suite": ["STS12"], "scoring.data_dir": str(tmp_path / "hub")}
    for count in (40, 10):
        rows = rows_of("STS")[:count]
        lines(folder / "test.jsonl", rows)
        found = hub.evaluation_texts(load("classroom", given))
        for _ in range(2):  # once per category; mteb forgets the folder when it unloads the data
            assert sorted(found["STS12"]) == sorted(
                text for row in rows for text in (row["sentence1"], row["sentence2"])
            )
    started = time.perf_counter()
    with pytest.raises(KitError) as caught:
        hub.evaluation_texts(load("classroom", {**given, "scoring.suite": ["STS12", "STS13", "BIOSSES"]}))
    assert time.perf_counter() - started < 5 and "\n" not in str(caught.value)
    assert "needs the texts of STS13 and 1 more" in str(caught.value) and "hf download mteb/sts13-sts" in str(
        caught.value
    )
    hub.evaluation_texts(
        load("classroom", {**given, "scoring.suite": ["STS12", "STS13"], "scoring.exclude": ["STS13"]})
    )
    bundled.online.cache_clear()


@pytest.mark.slow
def test_the_notebook_runs_and_writes_what_it_says(study, tmp_path):
    import papermill

    from lib.common.bundled import ROOT

    overrides = {"profile": "good", "paths.runs": str(study.folder), "paths.figures": str(tmp_path)}
    papermill.execute_notebook(
        str(ROOT / "notebooks" / "02_inspect.ipynb"),
        str(tmp_path / "out.ipynb"),
        cwd=str(ROOT / "notebooks"),
        kernel_name="python3",
        progress_bar=False,
        parameters={"compare": ["worse"], "overrides": overrides},
    )
    names = ("data_counts", "data_lengths", "data_languages", "data_overlap")
    assert {path.name for path in (tmp_path / "good").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("svg", "png", "csv")
    }
    table = pd.read_csv(tmp_path / "good" / "data_counts.csv")
    stages, *_ = inspection.funnel(study.places, study.params, suite_texts())
    pd.testing.assert_frame_equal(table, stages)
    found = json.loads((study.params.run_dir / "inspect.json").read_text(encoding="utf-8"))
    assert [row["kept"] for row in found["funnel"]] == list(stages["kept"])


def test_a_triplet_without_a_negative_is_shown_as_such():
    data = pd.DataFrame(
        [
            {
                "generator": "g",
                "code": "ss",
                "category": "short-short",
                "task": "T.",
                "language": "",
                "id": "1",
                "query": "q",
                "positive": "p",
                "negative": "",
                "words_query": 1,
                "words_positive": 1,
                "words_negative": 0,
            }
        ]
    )
    assert "none, in-batch negatives only" in inspection.page(data)
    assert Triplet("T.", "q", "p").negative == ""
