"""The batches of a run: homogeneous, equal doses, no incomplete batch, the same from the same seed."""

from __future__ import annotations

import json

import pytest
from hashed import under_hash_seeds

from lib.common.design import CATEGORIES, subsets
from lib.common.files import KitError
from lib.params.model import MixtureParams
from lib.train.mixture import PUBLIC, plan, read_pools, start_seed, steps_per_source

POOLS = {
    PUBLIC: range(500),
    "short_short": range(100),
    "short_long": range(64),
    "long_short": range(33),
    "long_long": range(41),
}
STEPS = MixtureParams(budget="fixed_steps", steps=12, steps_per_category=2)
SHARED = MixtureParams(budget="fixed_steps", steps=12, steps_per_category=2, draws="shared")
EPOCHS = MixtureParams(budget="fixed_epochs", epochs=2)


@pytest.mark.parametrize("subset", subsets())
def test_fixed_steps(subset):
    batches = plan(POOLS, subset, STEPS, 16, seed=3)
    doses = steps_per_source(batches)
    assert (
        len(batches) == 12 and doses.pop(PUBLIC) == 12 - 2 * len(subset) and doses == dict.fromkeys(sorted(subset), 2)
    )
    for batch in batches:
        assert len(set(batch.rows)) == 16 and max(batch.rows) < len(POOLS[batch.source])


def test_doses_of_a_mixture_of_its_own():
    subset = ("short_short", "short_long")
    usual = plan(POOLS, subset, STEPS, 16, seed=3)
    assert plan(POOLS, subset, STEPS, 16, seed=3, doses={PUBLIC: 8, "short_long": 2, "short_short": 2}) == usual
    own = plan(POOLS, subset, STEPS, 16, seed=3, doses={"short_short": 5, "short_long": 1, PUBLIC: 3})
    assert steps_per_source(own) == {PUBLIC: 3, "short_long": 1, "short_short": 5}
    assert set(own) & set(usual) >= {batch for batch in usual if batch.source == "short_short"}, "other draws"
    for wrong in ({"short_short": 5, PUBLIC: 3}, {"short_short": 5, "short_long": 0, PUBLIC: 3}):
        with pytest.raises(KitError, match="leave a category without batches out of the subset"):
            plan(POOLS, subset, STEPS, 16, seed=3, doses=wrong)


def test_shared_draws_give_the_same_triplets_of_a_category_to_every_subset():
    def rows(subset, source):
        return sorted(b.rows for b in plan(POOLS, subset, SHARED, 16, seed=3) if b.source == source)

    alone = rows(("short_long",), "short_long")
    assert all(rows(subset, "short_long") == alone for subset in subsets() if "short_long" in subset)
    public = {batch for batch in rows((), PUBLIC)}
    assert public > set(rows(CATEGORIES, PUBLIC))


def test_own_draws_differ_from_run_to_run_in_batches_and_start():
    def rows(subset, seed):
        return frozenset(b.rows for b in plan(POOLS, subset, STEPS, 16, seed) if b.source == "short_long")

    with_it = [subset for subset in subsets() if "short_long" in subset]
    assert len({rows(subset, seed) for subset in with_it for seed in (3, 4)}) == 2 * len(with_it)
    starts = [start_seed(subset, STEPS, seed) for subset in subsets() for seed in (3, 4)]
    assert len(set(starts)) == 32 and starts == [
        start_seed(subset, STEPS, seed) for subset in subsets() for seed in (3, 4)
    ]
    assert {start_seed(subset, SHARED, 3) for subset in subsets()} == {3}


def test_fixed_epochs_drops_the_incomplete_last_batch():
    batches = plan(POOLS, CATEGORIES, EPOCHS, 16, seed=0)
    assert steps_per_source(batches) == {
        "long_long": 4,
        "long_short": 4,
        "short_long": 8,
        "short_short": 12,
        PUBLIC: 62,
    }
    seen = [row for b in batches if b.source == "short_long" for row in b.rows]
    assert sorted(seen) == sorted([*range(64), *range(64)])  # 64 = 4 full batches: every row once per epoch


def test_more_batches_than_a_pass_start_a_new_shuffled_pass():
    batches = plan({PUBLIC: range(20)}, (), MixtureParams(steps=4), 10, seed=1)
    assert sorted(row for b in batches for row in b.rows) == sorted([*range(20), *range(20)])
    assert len({b.rows for b in batches}) == 4


def test_without_public_data_the_categories_share_the_steps():
    batches = plan(POOLS, CATEGORIES[:3], STEPS, 16, seed=0, public=False)
    assert steps_per_source(batches) == {"long_short": 4, "short_long": 4, "short_short": 4}


def test_seeds_differ_and_the_hash_seed_does_not_matter():
    assert plan(POOLS, CATEGORIES, STEPS, 16, 0) != plan(POOLS, CATEGORIES, STEPS, 16, 1)
    code = (
        "from lib.train.mixture import plan; from lib.params.model import MixtureParams; import json;"
        "print(json.dumps([[b.source, b.rows] for b in plan({'public': range(99), 'sts': range(50)}, ('sts',), "
        "MixtureParams(), 9, 4)]))"
    )
    outputs = under_hash_seeds(code, 1, 2)
    assert len(outputs) == 1 and len(json.loads(outputs.pop())) == MixtureParams().steps


@pytest.mark.parametrize(
    ("pools", "subset", "params", "words"),
    [
        ({PUBLIC: range(99)}, ("sts",), STEPS, "no training data for sts"),
        ({PUBLIC: range(99), "sts": []}, ("sts",), STEPS, "sts has 0 triplets"),
        ({PUBLIC: range(99), "sts": range(5)}, ("sts",), STEPS, "fewer than one batch"),
        (POOLS, CATEGORIES, MixtureParams(steps=7, steps_per_category=2), "more than the 7 steps"),
    ],
)
def test_what_cannot_be_met_is_refused_in_one_sentence(pools, subset, params, words):
    with pytest.raises(KitError, match=words) as told:
        plan(pools, subset, params, 16, 0)
    assert "\n" not in str(told.value)


def test_nothing_to_train_on():
    with pytest.raises(KitError, match="nothing to train on"):
        plan(POOLS, (), STEPS, 16, 0, public=False)


def test_missing_data_name_the_file_and_the_mend(tmp_path):
    with pytest.raises(KitError, match="short_long.*notebook 01"):
        read_pools(tmp_path, ("short_long",))
