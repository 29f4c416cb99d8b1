"""Templates and the slot sampler: documented weights, prefix stability, and files that others wrote."""

import json
import string
from collections import Counter

import numpy as np
import pytest
from hashed import under_hash_seeds
from scipy.stats import chisquare

from lib.common.design import CODES
from lib.common.files import KitError
from lib.generate import prompts

TASKS = [f"task {i}" for i in range(7)]
N = 100_000


def rows(category, n=N, variant="released", seed=0, start=0):
    template = prompts.load_template(category, variant)
    tasks = TASKS if category in prompts.BRAINSTORMED else None
    return prompts.sample_slots(template, n, seed, category, tasks, start)


@pytest.mark.parametrize("category", [c for c in CODES if c != "bitext"])
def test_slots_follow_the_documented_weights(category):
    template = prompts.load_template(category)
    sampled = rows(category)
    assert set(sampled[0]) == set(template.args) | ({"task"} if category in prompts.BRAINSTORMED else set())
    for name in sampled[0]:
        values = template.args.get(name, tuple(TASKS))
        weights = template.weights.get(name, (1 / len(TASKS),) * len(TASKS))
        expected = Counter()
        for value, p in zip(values, weights, strict=True):
            expected[value] += p * N
        seen = Counter(row[name] for row in sampled)
        assert set(seen) == set(expected)
        observed = [seen[value] for value in expected]
        assert chisquare(observed, np.array(list(expected.values())) * N / sum(expected.values())).pvalue > 1e-3, name


def test_slots_are_independent_of_each_other():
    from scipy.stats import chi2_contingency

    sampled = rows("short_long")
    for one, two in [
        ("query_type", "clarity"),
        ("num_words", "difficulty"),
        ("query_length", "num_words"),
        ("task", "language"),
    ]:
        table = Counter((row[one], row[two] == "English" if two == "language" else row[two]) for row in sampled)
        firsts, seconds = sorted({a for a, _ in table}), sorted({b for _, b in table})
        assert chi2_contingency([[table[a, b] for b in seconds] for a in firsts]).pvalue > 1e-3, (one, two)


def test_languages_have_the_documented_probabilities():
    template = prompts.load_template("short_short")
    names, weights = template.args["language"], template.weights["language"]
    assert len(names) == 98 and len(set(names)) == 97 and names.count("Burmese") == 2
    assert weights[names.index("English")] == 0.431 and weights[names.index("Spanish")] == 0.029
    assert Counter(weights) == {0.431: 1, 0.029: 13, 0.0022857142857142824: 84}
    for category in CODES:
        other = prompts.load_template(category)
        assert all(other.args[name] == names for name in other.args if "lang" in name)


def test_bitext_never_pairs_a_language_with_itself_and_keeps_the_conditional_weights():
    sampled = rows("bitext")
    assert all(row["src_lang"] != row["tgt_lang"] for row in sampled)
    template = prompts.load_template("bitext")
    p = dict.fromkeys(template.args["src_lang"], 0.0)
    for name, weight in zip(template.args["src_lang"], template.weights["src_lang"], strict=True):
        p[name] += weight
    kept = 1 - sum(weight**2 for weight in p.values())
    expected = {name: N * weight * (1 - weight) / kept for name, weight in p.items()}
    for side in ("src_lang", "tgt_lang"):
        seen = Counter(row[side] for row in sampled)
        assert chisquare([seen[name] for name in expected], list(expected.values())).pvalue > 1e-3
    english = sum("English" in row.values() for row in sampled) / N
    assert abs(english - 2 * 0.431 * 0.569 / kept) < 0.005  # paper.md: 0.611 of pairs have one English side


@pytest.mark.parametrize("category", list(CODES))
def test_row_i_is_the_same_whatever_n_is_and_however_rows_are_split(category):
    whole = rows(category, 500)
    assert rows(category, 37) == whole[:37]
    parts = [row for start in range(0, 500, 83) for row in rows(category, min(83, 500 - start), start=start)]
    assert parts == whole
    assert rows(category, 500, seed=1) != whole


def test_rows_do_not_depend_on_pythonhashseed():
    code = (
        "from lib.generate import prompts as p; from lib.common.files import digest\n"
        "print(digest([p.sample_slots(p.load_template(c), 300, 3, c, ['a', 'b'] if c in p.BRAINSTORMED else None)"
        " for c in p.KEYS]))"
    )
    seen = under_hash_seeds(code, 0, 1, 12345)
    assert len(seen) == 1


def test_variants_differ_where_the_papers_do():
    released, wang = (prompts.load_template("long_short", v) for v in ("released", "wang2024"))
    assert released.args["num_words"] == ("50", "100", "200", "300", "400", "500")
    assert wang.args["num_words"] == ("less than 10", "at least 10", "at least 50", "at least 100", "at least 200")
    assert prompts.load_template("sts").args["low_score"] == ("1.5", "2", "2.5")
    assert prompts.load_template("sts", "wang2024").args["low_score"] == ("2.5", "3", "3.5")
    for category in ("short_short", "short_long", "long_long", "bitext"):
        assert prompts.load_template(category) == prompts.load_template(category, "wang2024")


@pytest.mark.parametrize("category", prompts.BRAINSTORMED)
def test_the_small_variant_shows_worked_examples_and_bounds_every_text(category):
    from lib.generate.parsing import Parsed, parse_response

    template = prompts.load_template(category, "small")
    shown = template.shown(0)
    assert len(shown) == prompts.SHOWN and template.shown(1)[0] == shown[1]  # the next row begins one further
    assert len({template.shown(i) for i in range(100)}) == len(template.examples) > prompts.SHOWN
    properties = prompts.answer_schema(category, 0, template.lengths)["properties"]
    for prompt, answer in template.examples:
        assert isinstance(parse_response(category, answer), Parsed) and "{" not in prompt
        for key, text in json.loads(answer).items():
            assert properties[key]["minLength"] <= len(text) <= properties[key].get("maxLength", 900)
    # beyond these, the grammar engine slows to 20 ms a token
    assert all(2 < rule["minLength"] <= 128 and rule.get("maxLength", 0) <= 255 for rule in properties.values())
    shorter = prompts.answer_schema(category, 12, template.lengths)["properties"]  # max_chars is the user's, and wins
    assert {(rule["minLength"], rule["maxLength"]) for rule in shorter.values()} == {(1, 12)}
    assert not prompts.load_template(category, "classroom").examples


def test_every_bundled_answer_has_its_prompt_in_the_classroom_variant():
    from lib.generate.answers import responses

    for category in CODES:
        template = prompts.load_template(category, "classroom")
        for row in responses(category):
            text = template.render(row["slots"])
            assert "{" not in text and row["slots"].get("task", "") in text
        assert all(f'"{key}"' in text for key in prompts.KEYS[category])
    for category in prompts.BRAINSTORMED:
        assert "Python list" in prompts.load_template(category, stage="brainstorm").render({})


@pytest.mark.parametrize("variant", prompts.VARIANTS)
def test_the_bundled_templates_are_sound(variant):
    """Every placeholder has values, probabilities sum to 1, and what must differ can."""
    for category in CODES:
        template = prompts.load_template(category, variant)
        names = {name for _, name, _, _ in string.Formatter().parse(template.text) if name is not None}
        assert names <= {"task", *template.args, *template.constants}
        for name, values in template.args.items():
            assert len(values) == len(template.weights[name]) and abs(sum(template.weights[name]) - 1) < 1e-6
        assert all(len({*template.args[a], *template.args[b]}) > 1 for a, b in template.unequal)


def test_what_cannot_be_sampled_is_refused():
    with pytest.raises(KitError, match="brainstorm"):
        prompts.sample_slots(prompts.load_template("short_short"), 1, 0, "short_short", [])
    with pytest.raises(KitError, match="short_shart"):
        prompts.load_template("short_shart")
    with pytest.raises(KitError, match="released"):
        prompts.load_template("sts", "wang")


def test_item_seeds_are_distinct_and_fixed():
    seeds = [prompts.item_seed(42, category, "instance", i) for category in CODES for i in range(2000)]
    assert len(set(seeds)) > 0.9999 * len(seeds) and 0 <= min(seeds) and max(seeds) < 2**31
    assert (
        prompts.item_seed(0, "sts", "instance", 0)
        == prompts.item_seed(0, "sts", "instance", 0)
        != prompts.item_seed(1, "sts", "instance", 0)
    )
