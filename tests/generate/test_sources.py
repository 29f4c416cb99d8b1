"""Bundled data, and pairs from docstrings: complete, the very texts of the study, free of leaks."""

import json

import pytest
from hashed import jaccard

from lib.common import bundled
from lib.common.design import CODES
from lib.common.files import KitError, digest
from lib.generate.answers import responses
from lib.generate.overlap import shingles, suite_texts, words
from lib.generate.released import public_pairs
from lib.params.data import PublicParams

SMALL = PublicParams(n=150)
SUITE = bundled.DATA / "classroom" / "suite"


@pytest.fixture(scope="module")
def pairs():
    return public_pairs(SMALL)


def test_bundled_answers_are_all_there():
    counts = {category: len(responses(category)) for category in CODES}
    assert counts == {
        "short_short": 320,
        "short_long": 200,
        "long_short": 200,
        "long_long": 160,
        "sts": 150,
        "bitext": 120,
    }
    assert all(set(row) == {"slots", "response"} for row in responses("sts"))
    assert all(row["response"].strip() for row in responses("short_long", kind="brainstorm"))


def test_unknown_names_are_refused_in_one_sentence():
    with pytest.raises(
        KitError, match="no bundled responses answers for 'long_ling' in classroom; there are bitext, long_long"
    ):
        responses("long_ling")
    with pytest.raises(KitError, match="no bundled brainstorm answers for 'sts'"):
        responses("sts", kind="brainstorm")


def test_suite_texts_hold_every_text_and_no_label():
    texts = suite_texts()
    assert len(texts) == 31
    raw = [json.loads(line) for line in open(SUITE / "LibraryDeskIntents.jsonl", encoding="utf-8")]
    assert {row["text"] for row in raw} == set(texts["LibraryDeskIntents"])
    assert not {row["label"] for row in raw} & set(texts["LibraryDeskIntents"])
    titles = [json.loads(line) for line in open(SUITE / "FieldNotes.corpus.jsonl", encoding="utf-8")]
    assert {row["title"] for row in titles} | {row["text"] for row in titles} <= set(texts["FieldNotes"])
    summaries = [json.loads(line) for line in open(SUITE / "MinutesSumm.jsonl", encoding="utf-8")]
    assert {text for row in summaries for text in row["machine_summaries"]} <= set(texts["MinutesSumm"])


def test_reference_tables():
    assert len(bundled.reference("mteb_eng_v1_tasks")) == 56


def test_a_malformed_line_names_file_and_line(tmp_path):
    (tmp_path / "Broken.jsonl").write_text('{"text": "fine"}\n{"text": \n', encoding="utf-8")
    with pytest.raises(KitError, match=r"Broken\.jsonl, line 2"):
        suite_texts(tmp_path)


def test_pairs_are_clean(pairs):
    assert len(pairs) == 150
    for pair in pairs:
        assert pair.category == "public" and pair.instruction == SMALL.instruction and pair.negative == ""
        assert 12 <= len(pair.positive.split()) <= 110
        assert words(pair.query) != words(pair.positive)
    assert len({tuple(words(pair.query)) for pair in pairs}) == 150
    sets = [shingles(pair.positive) for pair in pairs]
    assert max(jaccard(sets[i], sets[j]) for i in range(150) for j in range(i)) < 0.6


def test_pairs_that_leak_into_an_evaluation_set_are_dropped(pairs):
    leaked = pairs[3]
    again = public_pairs(SMALL, {"Mine": [f"Somebody quotes it: {leaked.positive}"]})
    assert leaked.positive not in {pair.positive for pair in again}
    assert leaked.positive in {pair.positive for pair in public_pairs(SMALL, {})}


def test_the_bundled_pairs_are_the_study_s_byte_for_byte():
    """Frozen data: other texts or another order are another study."""
    found = public_pairs(PublicParams())
    assert len(found) == 4_000
    assert digest([[t.id, t.query, t.positive] for t in found]) == "3e4970b81b4148db"
    assert public_pairs(PublicParams(), suite_texts()) == found  # nothing leaks into the bundled sets
    notice = (
        (bundled.DATA / "classroom/public/NOTICE.md").read_text(encoding="utf-8").replace("scikit-learn", "sklearn")
    )
    assert all(f"| {name} " in notice for name in {pair.id.rsplit("-", 1)[0] for pair in found})
