"""One category from prompt to training file, and what notebook 01 shows of it."""

import json

import pandas as pd
import pytest
from fake_llm import FakeLLM
from hashed import digest_tree, encode

from lib.common.design import CODES, read_triplets
from lib.common.files import KitError, read_json, read_jsonl
from lib.figures import data as draw
from lib.figures import texts
from lib.generate.dataset import Maker, cost_table
from lib.generate.llms import close_backends
from lib.generate.overlap import suite_texts
from lib.params.params import load


@pytest.mark.slow
def test_every_answer_is_accounted_for(tmp_path):
    maker = Maker(load("classroom"), suite_texts(), tmp_path, encode)
    for category in CODES:
        triplets = maker.make(category, progress=False)
        counts = maker.counts[category]
        assert (
            counts["asked"]
            == counts["valid"]
            + sum(counts["rejected"].values())
            + sum(counts["cleaned"].values())
            + counts["duplicates"]
        )
        assert (
            triplets == read_triplets(tmp_path / "triplets" / f"{category}.jsonl") and len(triplets) == counts["valid"]
        )
        assert counts["without_negative"] == sum(not t.negative for t in triplets)
        report = read_json(tmp_path / "cleaning" / f"{category}.json")
        assert report["parsing"] == counts["rejected"] and report["kept"] == counts["valid"]
    mined = read_triplets(tmp_path / "triplets" / "long_long.jsonl")
    positives = {t.positive for t in mined}
    assert sum(t.negative in positives and t.negative != t.positive for t in mined) > 50


@pytest.mark.slow
def test_two_runs_write_the_same_bytes(tmp_path):
    for name in "ab":
        maker = Maker(load("classroom", {"public.n": 50}), suite_texts(), tmp_path / name, encode)
        maker.make("short_short", progress=False)
        manifest = maker.finish()
        assert set(read_json(manifest)) == {"triplets/short_short.jsonl", "public.jsonl"}
        assert cost_table(maker.out).valid.tolist() == [maker.counts["short_short"]["valid"]]
    for folder in ("triplets", "responses", "cleaning", "brainstorm"):
        if (tmp_path / "a" / folder).exists():
            assert digest_tree(tmp_path / "a" / folder) == digest_tree(tmp_path / "b" / folder)
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes()
        for f in ("public.jsonl", "generation.json", "manifest.json")
    )
    assert len(read_jsonl(tmp_path / "a" / "public.jsonl")) == 50


def test_released_triplets_take_the_same_way(tmp_path):
    source = tmp_path / "synthetic_Some-Model_sts"
    source.mkdir()
    rows = [
        {
            "instruction": "i",
            "query": f"the {w} cat sat down on its mat",
            "positive": f"a {w} cat took a seat there",
            "negative": f"no {w}",
        }
        for w in ("red", "blue", "old", "small")
    ]
    (source / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = load(
        "classroom",
        {
            "generation.backend": "released",
            "generation.location": str(tmp_path),
            "generation.model": "Some-Model",
            "cleaning.duplicates": False,
        },
    )
    maker = Maker(params, {}, tmp_path / "out", encode)
    assert len(maker.make("sts")) == maker.counts["sts"]["asked"] == 4
    with pytest.raises(KitError, match="synthetic_Some-Model_sts"):
        maker.make("bitext")


def test_nothing_left_is_said_and_the_reasons_are_on_disk(tmp_path):
    refusal = {"choices": [{"message": {"content": "I'm sorry."}, "finish_reason": "stop"}]}
    with FakeLLM(faults=lambda k: (200, {}, refusal)) as server:
        params = load(
            "classroom",
            {
                "generation.backend": "openai",
                "generation.base_url": server.url,
                "generation.model": "m",
                "generation.n": {"sts": 3},
            },
        )
        with pytest.raises(KitError, match="no sts triplet is left of 3 answers"):
            Maker(params, {}, tmp_path, encode).make("sts", progress=False)
    close_backends()
    assert read_json(tmp_path / "cleaning" / "sts.json")["parsing"] == {"invalid_json": 3}


def test_cards_show_prompt_answer_and_triplet(tmp_path):
    params = load("classroom", {"paths.runs": str(tmp_path)})
    for category in CODES:
        card = texts.card(params, category)
        assert (
            "the prompt as rendered" in card
            and "<b>query</b>" in card
            and "```" in card
            or "Here" in card
            or "Sure" in card
        )
        assert card.count("<div") == card.count("</div>")
    assert not (tmp_path / "classroom" / "data" / "responses").exists()  # a look leaves the final files alone


def test_the_table_of_corrupted_answers_says_what_the_parser_does():
    results = texts.corrupted_answers().set_index("way").result
    assert results["trailing comma"] == results["Python quotes"] == results["typographic quotes"] == "taken"
    assert (
        results["cut off"] == "rejected: truncated" and results["two different answers"] == "rejected: several_objects"
    )


def test_a_table_to_read_holds_its_texts_whole_and_escaped():
    table = pd.DataFrame({"text": ["<b>" + "long " * 99], "change": [-1.25]})
    shown = texts.reading(table, {"change": "{:+.1f}"}).data
    assert "&lt;b&gt;" + "long " * 99 in shown and "−1.2" in shown and shown.count("text-align:left") == 2


def test_the_picture_shows_every_category():
    counts = {
        c: {
            "asked": 10,
            "valid": 6,
            "without_negative": 1,
            "rejected": {"truncated": 1},
            "cleaned": {"too_short": 2},
            "duplicates": 1,
        }
        for c in CODES
    }
    figure = draw.where_it_goes(counts, 99)
    widths = sum(patch.get_width() for patch in figure.axes[0].patches)
    assert widths == 10 * len(CODES) and "99 public" in figure.axes[0].get_title("left")
