"""Answers to triplets: nothing raises, nothing cut or blank passes, and what a person can read is read."""

import json
import random
import time

import dirty
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.common.files import KitError
from lib.generate.answers import responses
from lib.generate.parsing import Parsed, Rejection, parse_brainstorm, parse_response
from lib.generate.prompts import BRAINSTORMED, KEYS

PAIR = '{"input": "x", "positive_document": "y"}'
CHARACTERS = "{}[]\"'\\,:\n\t “”‘’`\u200b\x00aSn0"


def texts_of(parsed):
    return (parsed.query, parsed.positive, parsed.negative)


@pytest.mark.parametrize("category", list(KEYS))
def test_every_bundled_answer_parses(category):
    for row in responses(category):
        parsed = parse_response(category, row["response"])
        assert isinstance(parsed, Parsed) and all(texts_of(parsed)[: len(KEYS[category])])
        assert bool(parsed.negative) == (len(KEYS[category]) == 3)


def test_a_schema_valid_answer_is_taken_as_it_is():
    texts = {"S1": ' a "b"\n\t\\n {x} ', "S2": "它\u00a0\x07", "S3": "“c”, 'd': \\\""}
    parsed = parse_response("bitext", json.dumps(texts))
    assert texts_of(parsed) == tuple(texts.values())
    assert texts_of(parse_response("bitext", json.dumps(texts, ensure_ascii=False, indent=3))) == tuple(texts.values())


def test_recall_on_dirty_answers():
    """The issue asks for 99 % on answers that are well formed but dirty; all ways and their mixtures are drawn."""
    rows = dirty.sample(3000, seed=11)
    assert len({way for _, _, way, _ in rows}) > 300
    wrong = []
    for category, texts, way, answer in rows:
        parsed = parse_response(category, answer)
        if not isinstance(parsed, Parsed) or texts_of(parsed)[: len(texts)] != tuple(texts.values()):
            wrong.append((way, parsed))
    assert len(wrong) <= 0.01 * len(rows), wrong[:3]


def test_no_cut_answer_is_accepted():
    rng = random.Random(5)
    for category, texts, way, _ in dirty.sample(1500, seed=12):
        style, shape, _ = way.split("/")
        _, answer = dirty.dirty(texts, rng, style, rng.choice(("plain", "fence_json")), shape)
        first, last = answer.index("{"), answer.rindex("}")
        for end in (rng.randint(first + 1, last), last):
            got = parse_response(category, answer[:end])
            assert isinstance(got, Rejection) and got.reason == "truncated", (way, answer[:end], got)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([k for keys in KEYS.values() for k in keys]) | st.text(max_size=5), inner, max_size=4
        )
    ),
    max_leaves=8,
)
LETTERS = "abc XYZ.,;:!?'\"“”{}[]\n\t\x00\u00e9\u4e2d\U0001f600-+/0"


def mangled(seed):
    """Return a category and an answer with up to four pieces inserted, removed, replaced or repeated."""
    rng = random.Random(seed)
    category = rng.choice(list(KEYS))
    texts = {key: "".join(rng.choices(LETTERS, k=rng.randint(0, 30))) for key in KEYS[category]}
    answer = json.dumps(texts, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.5:
        answer = answer.replace('"', rng.choice("'“”`"))
    for _ in range(rng.randint(0, 4)):
        i, j = sorted((rng.randint(0, len(answer)), rng.randint(0, len(answer))))
        put = rng.choice(CHARACTERS)
        answer = rng.choice(
            [
                answer[:i] + put + answer[i:],
                answer[:i] + put + answer[i + 1 :],
                answer[:j],
                answer[:i] + answer[j:],
                answer[:i] + answer + answer[j:],
            ]
        )
    return category, answer


def check(category, text):
    got = parse_response(category, text)
    assert isinstance(got, Parsed | Rejection)
    if isinstance(got, Rejection):
        assert got.reason in Rejection.__doc__
        return
    wanted = len(KEYS[category])
    for value in texts_of(got)[:wanted]:
        assert isinstance(value, str) and value.strip() and value.encode("utf-8")
        for left in (r"\n", r"\"", r"\t", r"\u"):  # an escape may be left only where its backslash was itself escaped
            assert left not in value or "\\" + left in text or "\\\\" in text
    assert texts_of(got)[wanted:] == ("",) * (3 - wanted)


@settings(max_examples=1400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.integers(0, 2**32))
def test_mangled_answers(seed):
    check(*mangled(seed))


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.sampled_from(list(KEYS)), values, st.text(max_size=10), st.integers(0, 3))
def test_any_json_in_any_wrapping(category, value, chatter, way):
    text = json.dumps(value, ensure_ascii=way % 2 == 0)
    check(category, [text, f"```json\n{text}\n```", chatter + text + chatter, text[1:]][way])


@settings(max_examples=350, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.sampled_from(list(KEYS)),
    st.text() | st.text(CHARACTERS) | st.text(st.characters(), max_size=20).map(lambda t: PAIR[:-1] + t),
)
def test_any_text(category, text):
    check(category, text)
    assert all(isinstance(task, str) and task.strip() and task.encode("utf-8") for task in parse_brainstorm(text))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I am sorry, I cannot help with that.", "invalid_json"),
        ("3", "invalid_json"),
        ('["a", "b"]', "invalid_json"),
        ("{}", "missing_key"),
        ('{"input": "x"}', "missing_key"),
        ('{"input": 3, "positive_document": "y"}', "not_text"),
        ('{"input": ["x"], "positive_document": "y"}', "not_text"),
        ('{"input": null, "positive_document": "y"}', "not_text"),
        ('{"input": "", "positive_document": "y"}', "empty"),
        ('{"input": " \u200b\\u0000", "positive_document": "y"}', "empty"),
        ('{"input": "\\ud83d!", "positive_document": "y"}', "bad_unicode"),
        ('{"input": "x", "input": "z", "positive_document": "y"}', "duplicate_key"),
        (PAIR + PAIR.replace("x", "z"), "several_objects"),
        (f"[{PAIR}, {PAIR.replace('y', 'z')}]", "several_objects"),
        (PAIR[:-1], "truncated"),
        (PAIR[:9], "truncated"),
        ("{", "truncated"),
        ("```json\n", "invalid_json"),
        (PAIR + '{"input": "z", "posi', "truncated"),
        ('{"input": "x" + "z", "positive_document": "y"}', "invalid_json"),
        ('{"input": """x""", "positive_document": """y"""}', "invalid_json"),
        ('{"input": "he wrote ' + PAIR + ' here", "positive_document": "z"}', "invalid_json"),
        ('{"input": "she said "no", "positive_document": "y"}', "invalid_json"),
        ('{"input": "code {"a": "b"}', "invalid_json"),
        (r'{"input": "\q", "positive_document": "y"}', "invalid_json"),
    ],
)
def test_reasons(answer, reason):
    got = parse_response("short_short", answer)
    assert isinstance(got, Rejection) and got.reason == reason, got


@pytest.mark.parametrize(
    "answer",
    [
        PAIR + PAIR,
        json.dumps(PAIR),
        f'{{"result": {{"data": {PAIR}}}}}',
        PAIR.replace("input", "Input").replace("_", " "),
        PAIR[:-1] + ', "input_note": "z",}',
        '{"input": {"text": "x"}, "positive_document": "y"}',
        PAIR.replace(",", ""),
        "{'input': 'x', 'ok': True, 'n': -1.5e3, 'none': None, 'positive_document': 'y'}",
        r"{'input': '\x78', 'positive_document': 'y'}",
        r"{'input': '\U00000078', 'positive_document': 'y'}",
        f"<think>maybe {PAIR.replace('x', 'q')}</think>{PAIR}",
        f"I use {{braces}} often. {PAIR} Good?",
    ],
)
def test_safe_repairs(answer):
    assert parse_response("short_short", answer) == Parsed("x", "y")


def test_unknown_category_is_refused():
    with pytest.raises(KitError, match="short_shart"):
        parse_response("short_shart", PAIR)


@pytest.mark.parametrize(
    "bomb",
    [
        '{"' * 50_000,
        '{"a":' * 50_000,
        "[" * 100_000,
        '{"a": "' + '"} ' * 30_000,
        "{'a': '" + "', 'b" * 30_000,
        '{"a": "x"' + " " * 100_000,
        '{"a":"x"} ' * 30_000,
        '{"a": ' + '"' * 50_000,
        "{ " * 60_000,
        '{"' + "\\" * 99_999,
        ('{"a": "' + "x" * 300) * 600,
        "{“" * 40_000,
        '["' * 40_000,
    ],
)
def test_hostile_answers_take_no_time(bomb):
    start = time.process_time()
    assert isinstance(parse_response("sts", bomb), Rejection)
    parse_brainstorm(bomb)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("category", BRAINSTORMED)
def test_bundled_brainstorms(category):
    tasks = [task for row in responses(category, kind="brainstorm") for task in parse_brainstorm(row["response"])]
    assert len(set(tasks)) == (32 if category == "long_long" else 40)
    assert {row["slots"]["task"] for row in responses(category)} <= set(tasks)


@pytest.mark.parametrize(
    ("answer", "tasks"),
    [
        ("['it's a dog', 'two. Sentences.']", ["it's a dog", "two. Sentences."]),
        ('["a", "b", "cut o', ["a", "b"]),
        (r'["a \ud83d\ude00", "b", "cut o', ["a \U0001f600", "b"]),
        ("tasks = [\n 'a',\n 'b',\n]\nDone.", ["a", "b"]),
        ('1. Find "x".\n2) "baz",\n', ['Find "x".', "baz"]),
        ("- a\n* b", ["a", "b"]),
        ("```python\n[“a b”, “c”]\n```", ["a b", "c"]),
        ("No list here.", []),
        ("", []),
        ('["", " ", 3, "a\\nb"]', ["a b"]),
    ],
)
def test_brainstorm_forms(answer, tasks):
    assert parse_brainstorm(answer) == tasks
