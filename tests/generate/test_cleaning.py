"""Cleaning: every rule catches what it names and spares what is fine; duplicates and contamination are exact."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hashed import jaccard

from lib.common.design import CODES, Triplet
from lib.generate.answers import responses
from lib.generate.cleaning import LANGUAGES, REASONS, bounds, clean, reject, wrong_language
from lib.generate.overlap import bands, count_words, find, near_duplicates, ngrams, shingles, suite_texts, words
from lib.generate.parsing import to_triplets
from lib.params.data import CleaningParams

CLEAN = CleaningParams()
LONG = (
    "Many small harbours on this coast silted up during the nineteenth century, and the towns behind them lost "
    "the trade in salt and herring on which they had lived; a few were dredged again once the railway arrived."
)
OTHER = (
    "Bakers in the valley proof their rye dough overnight in willow baskets, dust it with coarse flour, and slide "
    "it into ovens that were built of local stone by their grandparents before the road was paved."
)
GERMAN = (
    "Viele kleine Häfen an dieser Küste sind im neunzehnten Jahrhundert versandet, und die Städte dahinter "
    "verloren den Handel mit Salz und Heringen, von dem sie gelebt hatten."
)


def bundled(category):
    rows = responses(category)
    triplets, rejected = to_triplets(category, rows)
    assert not rejected
    return triplets, {t.id: row["slots"] for t, row in zip(triplets, rows, strict=True)}


def triplet(
    query="what became of the silted harbours", positive=LONG, negative=OTHER, category="short_long", language="English"
):
    return Triplet("Find the passage.", query, positive, negative, category, language)


def test_the_bundled_answers_pass():
    """All of them were read and repaired by hand, so a rule that rejects one is too strict."""
    suites = suite_texts()
    triplets, slots = [], {}
    for category in CODES:
        rows, given = bundled(category)
        triplets += rows
        slots |= given
    kept, report = clean(triplets, CLEAN, slots, suites)
    assert kept == triplets, report["rejected"]
    assert report["reasons"] == {} and report["asked"] == report["kept"] == 1150


@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        ("empty", triplet(positive=" ... ")),
        ("refusal", triplet(positive="I'm sorry, but I can't help with that request.")),
        ("refusal", triplet(query="As an AI language model, I do not have personal opinions about harbours.")),
        ("refusal", triplet(negative="I cannot fulfill this request, as it is about harbours.")),
        ("placeholder", triplet(positive="[positive document]")),
        ("query_equals_positive", triplet(query=LONG.upper())),
        ("positive_equals_negative", triplet(negative=LONG + "!")),
        ("query_equals_negative", triplet(query=OTHER, category="sts")),
        ("query_copied", triplet(query="a few were dredged again once the railway arrived")),
        ("label_equals_misleading", triplet(LONG, "harbour news", "Harbour News!", "long_short")),
        ("label_in_text", triplet(LONG, "nineteenth century", "antiquity", "long_short")),
        ("wrong_language", triplet(positive=GERMAN)),
        ("wrong_language", triplet(language="German")),
        ("wrong_language", triplet("Die Häfen sind versandet", LONG, GERMAN, "bitext", "German -> English")),
    ],
)
def test_each_rule_catches_its_case(reason, bad):
    found = reject(bad, CLEAN)
    assert found is not None and found[0] == reason and found[1]
    assert reason in REASONS
    assert reject(triplet(), CLEAN) is None


@pytest.mark.parametrize(
    "fine",
    [
        triplet("I'm sorry I missed your call, when can we talk?"),
        triplet(
            positive="I'm sorry that the parcel arrived late; the depot has refunded the postage to your card today."
        ),
        triplet(positive="We cannot promise a date, but the council will write to you before the harbour works begin."),
        triplet("silted harbours", "Silted harbours were common on this coast, and the towns behind lost their trade."),
        triplet(LONG, "N/A", "Other", "long_short"),
        triplet(LONG, "harbour", "century old", "long_short"),
        triplet("umbrage, noun", "a feeling of having been insulted", "", "short_short"),
        triplet(
            "Setiap hari Minggu saya dan teman-teman membersihkan pantai di dekat desa kami sampai sore.",
            "Kami membersihkan pantai.",
            "",
            "sts",
            "Indonesian",
        ),
        triplet(positive=GERMAN, negative="", language="Klingon"),
    ],
)
def test_rules_spare_what_is_fine(fine):
    assert reject(fine, CLEAN) is None


@pytest.mark.parametrize(
    ("category", "slots", "texts", "reason"),
    [
        ("short_long", {"num_words": "300"}, {}, "too_short"),
        ("short_long", {"num_words": "10"}, {}, "too_long"),
        (
            "short_long",
            {"query_length": "less than 5 words"},
            {"query": "why did all of the little harbours silt up"},
            "too_long",
        ),
        ("short_long", {"query_length": "at least 10 words"}, {"query": "silted harbours"}, "too_short"),
        ("long_long", {"min_words": "70"}, {}, "too_short"),
        ("sts", {"unit": "phrase"}, {}, "too_long"),
        ("short_long", {"num_words": "40", "query_length": "5 to 15 words"}, {}, None),
        (
            "short_long",
            {"num_words": "30", "query_length": "less than 5 words"},
            {"query": "why harbours silt up"},
            None,
        ),
    ],
)
def test_lengths_are_compared_with_the_slot(category, slots, texts, reason):
    found = reject(replace(triplet(category=category), **texts), CLEAN, slots)
    assert (found[0] if found else None) == reason


def test_bounds_read_every_documented_value():
    assert bounds("60") == (60, 120) and bounds("5 to 15 words") == (5, 15)
    assert bounds("less than 10") == (1, 9) and bounds("at most 10") == (1, 10)
    assert bounds("at least 50") == (50, float("inf"))
    assert bounds("clear") is None


def test_words_of_scripts_without_spaces_are_estimated():
    assert count_words("農村社会の高齢化が進んでいる") == 8  # 14 characters
    assert count_words("one two, three-four can't") == 4 and count_words("... - ?") == 0
    assert count_words("日") == 1 and count_words("naïve café") == 2 and count_words("用 git 提交") == 3


def test_languages_are_judged_on_long_texts_only_and_tolerantly():
    assert wrong_language(GERMAN, "English") == "de" and wrong_language(GERMAN, "German") is None
    assert wrong_language("Guten Tag", "English") is None  # too short to judge
    assert wrong_language(GERMAN, "Tamil Romanized") is None  # not known to the detector
    assert len(LANGUAGES) > 70


def test_corrupted_answers_are_found_and_counted():
    """Spoil some bundled triplets in known ways: exactly those go, each with its reason."""
    triplets, slots = bundled("short_long")
    corrupted, expected = list(triplets), {}
    ways = [
        ("refusal", lambda t: replace(t, positive="Sorry, I am unable to help with this.")),
        ("positive_equals_negative", lambda t: replace(t, negative=t.positive)),
        ("query_equals_positive", lambda t: replace(t, query=t.positive)),
        ("wrong_language", lambda t: replace(t, positive=GERMAN + " " + GERMAN)),
    ]
    for number, position in enumerate(random.Random(1).sample(range(len(triplets)), 40)):
        reason, way = ways[number % len(ways)]
        corrupted[position], expected[position] = way(triplets[position]), reason
    kept, report = clean(corrupted, CLEAN, slots)
    assert {row["position"]: row["reason"] for row in report["rejected"]} == expected
    assert report["reasons"] == dict(Counter(expected.values()))
    assert kept == [t for p, t in enumerate(triplets) if p not in expected]
    assert clean(corrupted, CleaningParams(rules=False, duplicates=False), slots)[0] == corrupted


def test_exact_and_near_duplicates_go_and_the_first_stays():
    first = triplet()
    rows = [
        first,
        triplet(positive=OTHER, negative=""),
        triplet("harbours that silted up", LONG + " So it was."),
        triplet("how bakers proof rye", OTHER, ""),
    ]
    kept, report = clean(rows, CLEAN)
    assert kept == [first, rows[3]]
    assert [row["reason"] for row in report["rejected"]] == ["duplicate", "near_duplicate"]


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_near_duplicates_equal_the_comparison_of_all_pairs(threshold):
    """MinHash only saves work: the result is that of comparing every pair with the exact Jaccard similarity."""
    rng = random.Random(7)
    vocabulary = [f"w{number}" for number in range(400)]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randint(3, 60))) for _ in range(250)]
    for _ in range(150):
        changed = rng.choice(texts).split()
        for _ in range(rng.randint(0, 6)):
            changed[rng.randrange(len(changed))] = rng.choice(vocabulary)
        texts.append(" ".join(changed))
    rng.shuffle(texts)
    sets = [shingles(text) for text in texts]
    expected = []
    for number, members in enumerate(sets):
        kept = [j for j in range(number) if expected[j] < 0]
        same = [j for j in kept if sets[j] == members]
        near = same or [j for j in kept if jaccard(members, sets[j]) >= threshold]
        expected.append(near[0] if near else -1)
    assert sum(twin >= 0 for twin in expected) > 20
    assert near_duplicates(texts, threshold) == expected


def test_enough_bands_are_used():
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        count = bands(threshold)
        assert 128 % count == 0 and 1 - (1 - threshold ** (128 // count)) ** count >= 0.999


def test_contamination_is_found_and_named():
    run = "and the towns behind them lost the trade in salt"
    suites = {"Quotes": ["Something else entirely, of no interest here at all.", f"He wrote: {run}."], "Clean": [OTHER]}
    rows = [triplet(negative=""), triplet("rye", OTHER.replace("rye", "oat"), "")]
    kept, report = clean(rows, CleaningParams(contamination_ngram=8), None, {"Quotes": suites["Quotes"]})
    assert kept == rows[1:] and report["reasons"] == {"contaminated": 1}
    row = report["contamination"]["Quotes"]
    assert (row["texts"], row["texts_touched"], row["triplets"]) == (2, 1, 1)
    assert row["example"] in " ".join(words(run)) and len(row["example"].split()) == 8
    kept, report = clean(rows, CleaningParams(contamination="report"), None, suites)
    assert kept == rows and [hit["sets"] for hit in report["contaminated"]] == ["Quotes", "Clean"]
    assert clean(rows, CleaningParams(contamination="off"), None, suites)[1]["contamination"] == {}
    assert clean(rows, CleaningParams(contamination_ngram=11), None, suites)[0] == rows[:1]


def test_short_evaluation_texts_count_only_as_a_whole():
    sets = {"S": ["How do I renew my passport?", "harbour town"]}
    assert find([triplet("how do I renew my passport", "yes", "")], sets)[0] == {0: ("S",)}
    assert find([triplet("how do I renew my passport in a harbour town", "yes", "")], sets)[0] == {}
    assert find([triplet("harbour town", "yes", "")], sets)[0] == {}  # an everyday phrase
    assert find([], sets)[0] == {}


def test_contamination_equals_a_plain_search_for_shared_runs():
    rng = random.Random(3)
    vocabulary = [f"w{number}" for number in range(12)]

    def text(shortest, longest):
        return " ".join(rng.choices(vocabulary, k=rng.randint(shortest, longest)))

    rows = [triplet(text(1, 15), text(20, 20), "") for _ in range(120)]
    texts = [text(5, 25) for _ in range(60)]

    def runs(text, n=5):
        found = text.split()
        return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}

    known = set().union(*map(runs, texts))
    expected = {position for position, row in enumerate(rows) if (runs(row.query) | runs(row.positive)) & known}
    assert 0 < len(expected) < len(rows)
    assert set(find(rows, {"S": texts}, 5)[0]) == expected


def test_ngram_hashes_do_not_collide_on_the_bundled_texts():
    seen = {}
    for texts in suite_texts().values():
        for text in texts:
            found = words(text)
            for offset, value in enumerate(ngrams(text, 8).tolist()):
                run = tuple(found[offset : offset + 8])
                assert seen.setdefault(value, run) == run
    assert len(seen) > 20_000 and ngrams("one two three", 8).dtype == np.uint64


def test_reports_do_not_depend_on_hashing():
    code = (
        "import json\nfrom lib.generate.cleaning import clean\nfrom lib.params.data import CleaningParams\n"
        "from lib.generate.answers import responses\n"
        "from lib.generate.overlap import suite_texts\nfrom lib.common.design import Triplet\n"
        "t = [Triplet('t', r['response'], f'p {i}') for i, r in enumerate(responses('long_short')[:80])]\n"
        "given = CleaningParams(contamination_ngram=4, near_duplicate=0.3)\n"
        "print(json.dumps(clean(t + t[:20], given, None, suite_texts())[1]))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
    report = json.loads(runs.pop())
    assert report["reasons"]["duplicate"] == 20 and report["reasons"]["contaminated"] > 0
