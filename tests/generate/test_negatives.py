"""Hard negatives: exact search in bounded memory, a guard that holds, and draws that can be repeated."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest

from lib.common.design import Triplet
from lib.common.files import KitError
from lib.generate.negatives import candidates, encoder, mine, top_k
from lib.params.data import NegativesParams


def unit(rng, n, d=24):
    rows = rng.standard_normal((n, d), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def plain(queries, candidates_, k, ceiling=None, forbidden=(), groups=()):
    """The textbook way: the whole matrix, masked and sorted."""
    scores = queries @ candidates_.T
    for row, column in forbidden:
        scores[row, column] = -np.inf
    for of_query, of_candidate in groups:
        scores[of_query[:, None] != of_candidate[None, :]] = -np.inf
    if ceiling is not None:
        scores[scores >= ceiling[:, None]] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    order[np.isneginf(best)] = -1
    pad = k - order.shape[1]
    return (
        np.pad(best, ((0, 0), (0, max(pad, 0))), constant_values=-np.inf),
        np.pad(order, ((0, 0), (0, max(pad, 0))), constant_values=-1),
    )


@pytest.mark.parametrize("seed", range(6))
def test_blocks_give_what_a_full_sort_gives(seed):
    rng = np.random.default_rng(seed)
    n, m, k = int(rng.integers(1, 300)), int(rng.integers(1, 500)), int(rng.integers(1, 25))
    queries, corpus = unit(rng, n), unit(rng, m)
    ceiling = rng.uniform(-0.2, 0.6, n).astype(np.float32)
    forbidden = [(int(rng.integers(n)), int(rng.integers(m))) for _ in range(2 * n)]
    groups = [(rng.integers(0, 3, n), rng.integers(0, 3, m))]
    for options in (
        {},
        {"ceiling": ceiling},
        {"forbidden": forbidden, "groups": groups},
        {"ceiling": ceiling, "forbidden": forbidden, "groups": groups},
    ):
        want_scores, want = plain(queries, corpus, k, **options)
        for block, threads in ((7, 1), (64, 2), (1000, 1)):
            scores, found = top_k(queries, corpus, k, block=block, threads=threads, **options)
            np.testing.assert_array_equal(found, want)
            np.testing.assert_allclose(scores, want_scores, atol=2e-6)


def test_equal_scores_are_ordered_by_position():
    corpus = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    scores, found = top_k(np.eye(4, dtype=np.float32)[:2], corpus, 7, block=1)
    assert found[0, :5].tolist() == [0, 1, 2, 3, 4] and found[1, :5].tolist() == [5, 6, 7, 8, 9]
    assert scores[0, :5].tolist() == [1.0] * 5


def test_the_matrix_never_exists():
    """2,000 x 2,000 floats are 16 MB; blocks of 64 rows must get by with a small part of that."""
    rng = np.random.default_rng(0)
    queries, corpus = unit(rng, 2000, 8), unit(rng, 2000, 8)
    tracemalloc.start()
    top_k(queries, corpus, 10, forbidden=[(i, i) for i in range(2000)], block=64, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6


WORDS = [f"text number {number}" for number in range(60)]
VECTORS = dict(zip(WORDS, unit(np.random.default_rng(5), 60, 6), strict=True))


def encode(texts):
    return np.stack([VECTORS.get(text, VECTORS[WORDS[len(text) % 60]]) for text in texts])


def rows(category="short_short"):
    """Thirty pairs, three tasks, two languages; queries are the first thirty words, positives the others."""
    return [
        Triplet(f"task {i % 3}", WORDS[i], WORDS[30 + i], "", category, ("English", "German")[i % 2], f"r{i}")
        for i in range(30)
    ]


def test_negatives_are_never_the_own_positive_nor_an_equal_text():
    given = rows()
    given += [
        Triplet("task 0", WORDS[0].upper() + "!", WORDS[40], "", "short_short", "English"),  # the same query
        Triplet("task 1", "other", WORDS[1], "", "short_short", "English"),
    ]  # its positive is row 1's query
    for strategy in ("nearest", "random_of_top_k"):
        options = NegativesParams(strategy={"short_short": strategy}, margin=0.0, same_language=False, top_k=31)
        for seed in range(20):
            found = mine(given, options.model_copy(update={"seed": seed}), encode)
            assert all(t.negative not in ("", t.positive, t.query) for t in found)
            assert found[0].negative != WORDS[40] and found[30].negative != WORDS[30]
            assert found[1].negative != WORDS[1]
            assert [t.positive for t in found] == [t.positive for t in given]


def test_the_guard_and_the_window_hold():
    given = rows()
    options = NegativesParams(margin=0.3, top_k=5, same_language=False)
    _, scores, _, positive = candidates(given, options, encode)
    allowed = np.isfinite(scores)
    ceiling = positive - 0.3 * np.abs(positive)
    assert allowed.any() and (scores < ceiling[:, None])[allowed].all()
    texts, free, indices, _ = candidates(given, NegativesParams(margin=0.0, top_k=5, same_language=False), encode)
    assert (free >= ceiling[:, None]).any()  # the guard had something to do
    nearest = NegativesParams(strategy={"short_short": "nearest"}, margin=0.0, same_language=False)
    assert [t.negative for t in mine(given, nearest, encode)] == [texts[i] for i in indices[:, 0]]


def test_task_and_language_can_be_required():
    given = rows()
    task = {t.positive: t.instruction for t in given}
    language = {t.positive: t.language for t in given}
    both = NegativesParams(margin=0.0, same_task=True, same_language=True)
    for row in mine(given, both, encode):
        assert task[row.negative] == row.instruction and language[row.negative] == row.language
    neither = NegativesParams(margin=0.0, same_task=False, same_language=False)
    found = mine(given, neither, encode)
    assert any(task[t.negative] != t.instruction for t in found)
    assert any(language[t.negative] != t.language for t in found)


def test_a_row_without_candidates_has_no_negative():
    alone = [Triplet("only task", WORDS[0], WORDS[30], "old", "short_short", "English"), *rows()]
    assert mine(alone, NegativesParams(same_task=True), encode)[0].negative == ""


def test_draws_repeat_and_do_not_depend_on_the_other_rows():
    given, options = rows(), NegativesParams(margin=0.0, same_language=False)
    first = mine(given, options, encode)
    assert mine(given, options, encode) == first
    assert mine(given[::-1], options, encode)[::-1] == first
    assert mine(given, options.model_copy(update={"seed": 1}), encode) != first


def test_the_papers_draw_is_uniform_over_the_top_ten():
    """300 seeds x 30 rows: each of the ten ranks is drawn about 900 times (chi-square with 9 degrees of freedom)."""
    given = rows()
    options = NegativesParams(margin=0.0, same_language=False, top_k=10)
    texts, _, indices, _ = candidates(given, options, encode)
    rank = [{texts[i]: place for place, i in enumerate(line)} for line in indices]
    counts = Counter()
    for seed in range(300):
        for number, triplet in enumerate(mine(given, options.model_copy(update={"seed": seed}), encode)):
            counts[rank[number][triplet.negative]] += 1
    assert sorted(counts) == list(range(10))
    assert sum((count - 900) ** 2 / 900 for count in counts.values()) < 27.9  # p = .001


def test_each_category_has_its_strategy_and_its_own_corpus():
    given = [
        *rows("short_short"),
        *(Triplet("t", t.query, t.positive, "own", "short_long", "English") for t in rows()),
        Triplet("t", "q", "p", "kept", "sts"),
        Triplet("t", "q", "p", "gone", "bitext"),
    ]
    options = NegativesParams(strategy={"short_short": "nearest", "short_long": "llm", "bitext": "none"}, margin=0.0)
    found = mine(given, options, encode)
    assert [t.negative for t in found[30:60]] == ["own"] * 30
    assert found[60].negative == "kept" and found[61].negative == ""
    assert {t.negative for t in found[:30]} <= set(WORDS[30:])
    assert mine(given[30:61], options, None) == found[30:61]  # no encoder is loaded where nothing is mined


def test_an_encoder_that_does_not_fit_is_refused():
    with pytest.raises(KitError, match=r"mining encoder returned shape \(1, 3\)"):
        mine(rows(), NegativesParams(), lambda texts: np.ones((1, 3)))
    with pytest.raises(KitError, match="non-finite"):
        mine(rows(), NegativesParams(), lambda texts: np.full((len(texts), 3), np.nan))


def test_the_query_template_reaches_the_encoder():
    seen = []

    def listen(texts):
        seen.append(list(texts))
        return encode(texts)

    mine(rows(), NegativesParams(query_template="Instruct: {instruction}\nQuery: {text}"), listen)
    assert "Instruct: task 1\nQuery: text number 1" in seen[1] and "text number 31" in seen[0]


@pytest.mark.slow
def test_the_bundled_encoder_finds_sensible_negatives():
    """Real MiniLM: dictionary definitions get other definitions, closer to the query than a random text."""
    from lib.generate.answers import responses
    from lib.generate.parsing import to_triplets

    triplets, _ = to_triplets("short_short", responses("short_short")[:80])
    options = NegativesParams(same_task=True)
    found = mine(triplets, options)
    assert sum(bool(t.negative) for t in found) > 70
    task = {t.positive: t.instruction for t in triplets}
    assert all(task[t.negative] == t.instruction for t in found if t.negative)
    encode_ = encoder(options)
    queries, negatives = encode_([t.query for t in found]), encode_([t.negative or t.positive for t in found])
    shuffled = encode_([t.positive for t in triplets[::-1]])
    assert (queries * negatives).sum(1).mean() > (queries * shuffled).sum(1).mean()
