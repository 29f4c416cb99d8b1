"""Equal shares: the same number of triplets from each generator, of the same tasks as far as both have them."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from fake_llm import FakeLLM
from hypothesis import given
from hypothesis import strategies as st

from lib.common.design import Triplet, read_triplets, write_triplets
from lib.common.files import KitError, write_digests
from lib.generate.dataset import Maker, cost_table, share_out, shares
from lib.generate.llms import close_backends
from lib.params.params import answering, generators, load, of_run
from lib.train.mixture import read_pools


def pool(tasks, name="a"):
    return [Triplet(f"task {task}", f"{name} {i}", "positive", id=f"{name}{i}") for i, task in enumerate(tasks)]


TASKS = st.lists(st.integers(0, 5), min_size=1, max_size=30)


@given(st.tuples(TASKS, TASKS, TASKS))
def test_shares_are_equal_and_take_common_tasks_first(tasks):
    pools = {name: pool(own, name) for name, own in zip("abc", tasks, strict=True)}
    found = shares(pools)
    size = min(map(len, tasks))
    common = {task: min(own.count(task) for own in tasks) for task in range(6)}
    for name, share in found.items():
        assert len(share) == size == len({triplet.id for triplet in share}) and set(share) <= set(pools[name])
        have = Counter(triplet.instruction for triplet in share)
        assert all(have[f"task {task}"] >= least for task, least in common.items())
    first = [[t.instruction for t in share][: sum(common.values())] for share in found.values()]
    assert first[0] == first[1] == first[2], "row by row the same task"


def test_the_same_tasks_in_the_same_numbers_are_left_whole():
    pools = {"a": pool([0, 1, 1, 2], "a"), "b": pool([1, 2, 1, 0], "b")}
    assert all(len(share) == 4 for share in shares(pools).values())


@pytest.fixture
def study(tmp_path):
    entries = [{"name": name, "generation": {"seed": n, "n": {"short_long": n}}} for name, n in (("a", 9), ("b", 6))]
    return load("classroom", {"paths.runs": str(tmp_path), "study.design": "generators", "study.generators": entries})


def answer(params, name, n):
    folder = answering(params, name).data_dir
    files = [write_triplets(folder / "triplets" / "short_long.jsonl", pool(range(n), name))]
    files.append(write_triplets(folder / "public.jsonl", pool([0], "public")))
    write_digests(folder / "manifest.json", files)


def test_shares_wait_for_all_answers_are_made_once_and_made_anew_when_answers_change(study):
    places = {name: of_run(study, f"sl@{name}/seed0").data_dir / "triplets" / "short_long.jsonl" for name in "ab"}
    answer(study, "a", 9)
    assert not share_out(study) and not places["a"].exists()
    answer(study, "b", 6)
    assert share_out(study)
    assert [len(read_triplets(places[name])) for name in "ab"] == [6, 6]
    times = [places[name].stat().st_mtime_ns for name in "ab"]
    assert share_out(study) and [places[name].stat().st_mtime_ns for name in "ab"] == times
    answer(study, "b", 4)
    assert share_out(study) and [len(read_triplets(places[name])) for name in "ab"] == [4, 4]
    (places["b"].parents[1] / "manifest.json").unlink()  # killed in the middle
    assert share_out(study) and (places["b"].parents[1] / "manifest.json").exists()
    answer(study, "b", 0)
    with pytest.raises(KitError, match="b has no short_long triplet"):
        share_out(study)


def test_places_and_parameters_of_generators_are_their_own_and_the_rest_is_the_studys(study):
    a, b = (of_run(study, f"sl@{name}") for name in "ab")
    assert a.data_dir != b.data_dir and len({answering(study, n).data_dir for n in "ab"} | {study.data_dir}) == 3
    for own in (a, b):
        assert (own.models_dir, own.scores_dir, own.note()) == (study.models_dir, study.scores_dir, "")
    assert a.hash("model") != b.hash("model") != study.hash("model") and of_run(study, "none") is study
    assert answering(study, "a").study.categories == ("short_long",) and generators(load("classroom")) == ()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"name": "a"}, {"name": "b"}], "a and b would give the same answers"),
        ([{"name": "a", "generation": {"modell": "x"}}, {"name": "b"}], "'modell' in generation of a"),
    ],
)
def test_generators_that_cannot_be_compared_are_refused(entries, words):
    with pytest.raises(KitError, match=words):
        generators(load("classroom", {"study.design": "generators", "study.generators": entries}))


@pytest.mark.parametrize("entries", [[{"name": "a"}, {"name": "a"}], [{"name": "a b"}], [{"name": "a/b"}], ["@"]])
def test_names_that_cannot_be_told_apart_or_written_are_refused(entries):
    with pytest.raises(KitError, match="study.generators"):
        load("classroom", {"study.generators": entries})


def test_an_unknown_generator_is_named_with_the_known_ones(study):
    with pytest.raises(KitError, match="no generator 'c' in study.generators of classroom.yaml; it has a, b"):
        of_run(study, "sl@c")


def test_the_papers_three_generators_are_asked_cut_and_costed(tmp_path):
    """params/generators.yaml from the first prompt to equal shares, its servers played by one on loopback."""
    with FakeLLM() as server:
        entries = [each.model_dump() for each in load("generators").study.generators]
        for place, entry in enumerate(entries):
            entry["generation"] |= {"base_url": server.url, "n": {"short_long": 30 - place}, "price_out": 1.0 + place}
        small = {"generation.brainstorms": 2, "negatives.encoder": "bundled:minilm", "negatives.max_length": 16}
        sets = {
            "public.source": "docstrings",
            "public.n": 30,
            "scoring.suite": "classroom",
            "paths.runs": str(tmp_path),
        }
        params = load("generators", {"study.generators": entries, **small, **sets})
        assert generators(params) == ("8B", "70B", "GPT-4o-mini") and not share_out(params)
        for name in generators(params):
            maker = Maker(answering(params, name), {}, encode=lambda texts: np.eye(64, 8)[[len(t) % 64 for t in texts]])
            maker.make("short_long", progress=False)
            maker.finish()
        close_backends()
        asked = {body["model"] for body in server.bodies}
    assert asked == {"meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct", "gpt-4o-mini"}
    assert share_out(params)
    runs = {run.name for run in params.study.runs() if run.generator}
    sizes = {name: len(read_pools(of_run(params, name).data_dir, ("short_long",))["short_long"]) for name in runs}
    assert set(sizes) == {"sl@8B", "sl@70B", "sl@GPT-4o-mini"} and len(set(sizes.values())) == 1 and sizes["sl@8B"] > 15
    spent = pd.concat([cost_table(answering(params, name).data_dir) for name in generators(params)])
    assert (spent["cost"] > 0).all() and (spent["tokens_out"] > 0).all()
