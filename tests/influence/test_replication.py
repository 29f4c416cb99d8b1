"""A second study: what is there comes back, what is not does not, and studies that cannot be compared are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lib.common.design import CODES, levels, subset_name, subsets
from lib.common.files import KitError
from lib.influence.influence import agreement, analyse, ceilings, compare, sentences

TYPES = {"Retrieval": 6, "STS": 4, "Clustering": 5}


def study(seed: int, effect: dict[str, float], first_seed: int = 0, sets: dict[str, int] = TYPES) -> pd.DataFrame:
    """Scores of 16 subsets x 2 seeds with the effects (points per category) planted on Retrieval, and noise of 0.5."""
    random = np.random.default_rng(seed)
    rows = []
    for subset in subsets():
        for k in (first_seed, first_seed + 1):
            for kind, n in sets.items():
                for place in range(n):
                    gain = sum(effect.get(CODES[c], 0.0) for c in subset) if kind == "Retrieval" else 0.0
                    score = 0.5 + 0.01 * (gain + random.normal(0, 0.5))
                    rows.append({"subset": subset_name(subset), **levels(subset), "seed": k, "draws": "own",
                                 "task": f"{kind}{place}", "type": kind, "score": score})  # fmt: skip
    return pd.DataFrame(rows)


def both(effect, sets=TYPES):
    return [analyse(study(seed, effect, start, sets)) for seed, start in ((1, 0), (2, 1000))]


def test_planted_effects_come_back_and_the_rest_does_not():
    table = compare(*both({"ss": 2.0, "ll": -2.0}))
    types = table[table["level"] == "type"].set_index(["type", "factor"])
    for factor, size in (("ss", 2), ("ll", -2)):
        row = types.loc[("Retrieval", factor)]
        assert row["marked_first"] and row["returned"] and row["second"] == pytest.approx(size, abs=0.5)
    found = agreement(table).set_index("level")
    assert found.loc["task", "r"] > 0.8 and found.loc["task", "slope"] == pytest.approx(1, abs=0.2)
    assert found.loc["task", "returned"] >= 10
    assert any("ss on Retrieval" in line for line in sentences(table))


def test_without_effects_nothing_agrees():
    found = agreement(compare(*both({}))).set_index("level")
    assert abs(found.loc["task", "r"]) < 0.4 and found.loc["task", "marked"] <= 2


def test_the_table_is_symmetric_but_for_the_marks():
    one, two = both({"ss": 1.0})
    there, back = compare(one, two), compare(two, one)
    assert np.allclose(there["first"], back["second"]) and np.allclose(there["difference"], -back["difference"])


def test_other_sets_and_the_same_runs_are_refused():
    one, two = both({})
    other = both({}, {"Retrieval": 5, "STS": 4})[1]
    with pytest.raises(KitError, match="Retrieval5|Clustering"):
        compare(one, other)
    with pytest.raises(KitError, match="fresh seeds"):
        compare(one, one)


def test_the_ceiling_is_what_two_noisy_studies_of_one_truth_can_reach():
    strong, weak = both({"ss": 3.0, "ll": -3.0}), both({})
    assert ceilings(*strong)["task"] > 0.9
    assert ceilings(*weak)["task"] < 0.5 and ceilings(strong[0], weak[1])["task"] < ceilings(*strong)["task"]


def test_two_profiles_are_drawn_beside_each_other_and_a_missing_one_is_named(tmp_path):
    from lib.grid.report import compare_profiles

    files = {}
    for name, (seed, start) in {"encoder": (1, 0), "causal": (2, 1000)}.items():
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        study(seed, {"ss": 2.0, "ll": -2.0}, start).to_csv(folder / "results.csv", index=False)
        files[name] = tmp_path / f"{name}.yaml"
        paths = f"paths: {{runs: {tmp_path / 'runs'}, figures: {tmp_path / 'figures'}}}\n"
        files[name].write_text(f"profile: {name}\n{paths}", encoding="utf-8")
    said = compare_profiles(str(files["causal"]), str(files["encoder"]), {})
    drawn = pd.read_csv(tmp_path / "figures" / "causal" / "models.csv", keep_default_na=False)
    assert (tmp_path / "figures" / "causal" / "models.png").is_file()
    cell = drawn[(drawn["type"] == "Retrieval") & (drawn["factor"] == "ss") & (drawn["level"] == "type")].iloc[0]
    assert cell["first"] == pytest.approx(2, abs=0.5) and cell["second"] == pytest.approx(2, abs=0.5)
    assert any("ss on Retrieval" in line for line in said)
    (tmp_path / "runs" / "encoder" / "results.csv").unlink()
    with pytest.raises(KitError, match="make reproduce PROFILE=encoder"):
        compare_profiles(str(files["causal"]), str(files["encoder"]), {})
