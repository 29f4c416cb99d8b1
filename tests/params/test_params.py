"""Overrides change exactly what they name, numbers are numbers, and other parameters have places of their own."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.common.files import KitError
from lib.params.params import find, flat, load

VALUES = {
    "study.seeds": [3],
    "generation.n": {"sts": 5},
    "generation.n.sts": 5,
    "generation.temperature": 0.25,
    "cleaning.rules": False,
    "negatives.margin": 0.0,
    "negatives.strategy.sts": "none",
    "public.n": 7,
    "mixture.steps": 9,
    "model.lora_rank": 3,
    "training.learning_rate": 0.5,
    "training.max_length": 33,
    "scoring.suite": "MySuite",
    "influence.alpha": 0.125,
    "grid.threads": 7,
    "profile": "mine",
    "paths.runs": "elsewhere",
}


def nested(dotted):
    tree = {}
    for name, value in dotted.items():
        above, _, last = name.partition(".")
        tree |= {above: {**tree.get(above, {}), last: value}} if last else {name: value}
    return tree


@settings(deadline=None, max_examples=60)
@given(
    st.sets(st.sampled_from([n for n in VALUES if n != "generation.n"]), max_size=5),
    st.booleans(),
    st.sampled_from(["classroom", "laptop", "paper"]),
)
def test_an_override_changes_exactly_the_parameters_it_names(names, as_tree, profile):
    dotted = {name: VALUES[name] for name in names if not as_tree or name.count(".") < 2}
    both = (load(profile), load(profile, nested(dotted) if as_tree else dotted))
    before, after = (flat(each.model_dump(mode="json")) for each in both)
    for name, value in after.items():
        inside = {key.rsplit(".", 1)[1]: one for key, one in dotted.items() if key.startswith(f"{name}.")}
        wanted = {**(before[name] or {}), **inside} if inside else dotted.get(name, before[name])
        assert value == wanted, name


def test_the_nested_override_of_a_newcomer():
    assert load("classroom", {"training": {"learning_rate": 1e-3}}).training.max_length == 96
    assert load("classroom", {"negatives": {"margin": 0.0}}).negatives.same_task is True
    assert load("classroom", {"training": {"learning_rate": 1e-3}, "training.batch_size": 8}).training.batch_size == 8
    with pytest.raises(KitError, match="twice"):
        load("classroom", {"training": {"learning_rate": 1e-3}, "training.learning_rate": 2e-3})
    with pytest.raises(KitError, match="training.learning_rte"):
        load("classroom", {"training": {"learning_rte": 1e-3}})
    for wrong, said in (
        ({1: 2}, "'1'"),
        ({True: {"steps": 2}}, "'True'"),
        ({"influence.seeds_considered": []}, "at least 1"),
    ):
        with pytest.raises(KitError, match=said):
            load("classroom", wrong)


def test_numbers_as_people_write_them_are_numbers(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(find("classroom").read_text().replace("learning_rate: 0.002", "learning_rate: 1e-3"))
    assert yaml.safe_load("1e-3") == "1e-3"  # why this is needed
    assert (
        load(path).training.learning_rate
        == load("classroom", {"training.learning_rate": "1e-3"}).training.learning_rate
        == 1e-3
    )
    assert load("classroom", {"public.n": "1e3"}).public.n == 1000
    for wrong in ({"training.learning_rate": "fast"}, {"public.n": "1.5e0"}, {"public.n": "7"}):
        with pytest.raises(KitError, match=next(iter(wrong))):
            load("classroom", wrong)


def test_what_an_override_changes_has_its_own_place_and_the_rest_is_the_studys():
    study = load("classroom")
    for same in (
        {"study.seeds": [0, 1, 2]},
        {"study.design": "crossed"},
        {"grid.threads": 3},
        {"training.checkpoint_every": 9},
    ):
        other = load("classroom", same)
        assert other.note() == "" and (other.models_dir, other.run_dir) == (study.models_dir, study.run_dir)
    rate = load("classroom", {"training.learning_rate": 1e-3})
    assert (
        rate.data_dir == study.data_dir and rate.models_dir != study.models_dir and rate.figure_dir != study.figure_dir
    )
    assert rate.other() == {"training.learning_rate": (0.002, 0.001)} and "training.learning_rate" in rate.note()
    sets = load("classroom", {"scoring.suite": "mine", "cleaning.contamination": "off"})
    alpha = load("classroom", {"influence.alpha": 0.1})
    assert sets.scores_dir != study.scores_dir
    assert alpha.results_file == study.results_file and alpha.run_dir != study.run_dir
    again = load("classroom", {"training": {"learning_rate": 0.001}})
    assert again.models_dir == rate.models_dir, "the same parameters have the same place"
    mine = load("classroom", {"profile": "mine", "training.learning_rate": 1e-3})
    assert mine.note() == "" and mine.models_dir == mine.study_dir / "models"
