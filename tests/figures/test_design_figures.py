"""The figures of other designs, drawn from their tables alone: what was planted is on them, and what was not is not."""

import numpy as np
import pandas as pd
import pytest
from drawing import again
from scipy import stats

from lib.common.bundled import ROOT
from lib.common.design import BASE, CATEGORIES, CODES, design_runs, minus
from lib.common.files import read_json
from lib.figures import report
from lib.influence.designs import crossed, isolation
from lib.influence.tables import OVERALL
from lib.params.params import load

KINDS = ("STS", "Retrieval", "Clustering")


def results(design, gain, seeds=2, noise=0.3, **more):
    """A table of a design as `collect` writes it; ``gain(run, type)`` in points, the untrained base at 50."""
    rng, rows = np.random.default_rng(3), []
    for run in design_runs(design, range(seeds), **more):
        for kind in KINDS:
            luck = rng.normal(0, noise)
            for i in range(2):
                score = 0.5 + (gain(run, kind) + luck + rng.normal(0, 0.1)) / 100
                levels = [int(category in run.subset) for category in CATEGORIES]
                rows.append((run.name, int(run.public), *levels, run.seed, f"{kind}{i}", kind, score, "own"))
    rows += [(BASE, 0, 0, 0, 0, 0, 0, f"{kind}{i}", kind, 0.5, "own") for kind in KINDS for i in range(2)]
    factors = [CODES[category] for category in CATEGORIES]
    return pd.DataFrame(rows, columns=["subset", "public", *factors, "seed", "task", "type", "score", "draws"])


def written(table, folder):
    table.to_csv(folder / "results.csv", index=False)
    return {path.name for path in report.write_all(report.build(folder / "results.csv"), folder / "out")}


def sts_helps_sts(run, kind):
    return 3.0 * run.public + 4.0 * ("sts" in run.subset and kind == "STS") - 2.0 * ("bitext" in run.subset)


def test_isolation_finds_what_each_of_six_categories_does_and_corrects_one_figure_together():
    table = isolation(results("isolation", sts_helps_sts, noise=0.1))
    cells = table[table["level"] != "task"].set_index(["public", "factor", "type"])
    assert len(cells) == 2 * 6 * (len(KINDS) + 1)
    assert cells.loc[(1, "sts", "STS"), "effect"] == pytest.approx(4, abs=1)
    assert cells.loc[(0, "bt", "Retrieval"), "effect"] == pytest.approx(-2, abs=1)
    assert cells.loc[(1, "sts", "STS"), "p_holm"] < 0.05 and abs(cells.loc[(1, "sl", "STS"), "effect"]) < 1
    smallest = cells["p"].min()
    assert cells["p_holm"].min() == pytest.approx(min(1, smallest * len(cells)))
    inside = (cells["ci_low"] < cells["effect"]) & (cells["effect"] < cells["ci_high"])
    assert inside.all() and cells["n_reference"].groupby("public").agg(set).to_dict() == {0: {0}, 1: {2}}


def test_without_effects_isolation_marks_as_few_studies_as_promised():
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        table = results("isolation", lambda run, kind: 0.0, noise=0.0)
        runs = table.groupby(["subset", "seed"]).ngroup()
        table["score"] += rng.normal(0, 0.01, runs.max() + 1)[runs] * (table["subset"] != BASE)
        found += isolation(table)["p_holm"].min() < 0.05
    assert found <= 7, f"{found} of 40 studies without effects have a mark"  # sets and types: two families of 5 %


def test_isolation_is_drawn_with_its_own_claims(tmp_path):
    names = written(results("isolation", sts_helps_sts), tmp_path)
    assert {"alone.png", "alone.svg", "alone.csv", "claims.csv", "INDEX.md"} <= names and "influence.csv" not in names
    verdicts = pd.read_csv(tmp_path / "out" / "claims.csv").set_index("id")["verdict"]
    assert verdicts["sts_data_for_sts"] == "in one study" and verdicts["bitext_data_for_bitext"] == "not testable here"
    assert "dose" in (tmp_path / "out" / "INDEX.md").read_text()


def test_crossed_finds_a_planted_interaction_in_its_own_family(tmp_path):
    def gain(run, kind):
        on = "short_long" in run.subset
        return 5.0 * run.public + on + 3.0 * (on and run.public and kind == "Retrieval")

    table = results("crossed", gain)
    terms = crossed(table).set_index(["type", "term"])
    assert len(terms) == (len(KINDS) + 1) * 15 and terms.loc[(OVERALL, "public"), "effect"] > 4
    assert terms.loc[("Retrieval", "sl:public"), "effect"] == pytest.approx(3, abs=0.6)
    pairs = terms[terms.index.get_level_values("term").str.contains(":")]
    assert set(pairs[pairs["p_holm"] < 0.05].index) <= {("Retrieval", "sl:public"), (OVERALL, "sl:public")}
    assert terms.loc[("Retrieval", "sl:public"), "p_holm"] < 0.05
    names = written(table, tmp_path)
    assert "crossed.png" in names and "alone.png" in names and "power.png" not in names
    verdicts = pd.read_csv(tmp_path / "out" / "claims.csv").set_index("id")["verdict"]
    assert verdicts["public_interaction"] == "in one study"


def test_generators_are_drawn_with_their_costs(tmp_path):
    costs = {"generator": ["classroom", "small"], "asked": 100, "valid": [90, 50], "tokens_in": [None, 1000]}
    more = {"tokens_out": [None, 500], "seconds": [None, 25.0], "cost": None, "currency": "USD"}
    pd.DataFrame(costs | more).to_csv(tmp_path / "costs.csv", index=False)
    table = results("generators", lambda run, kind: 2.0 * bool(run.generator), 4, categories=("short_long",),
                    generators=("classroom", "small"))  # fmt: skip
    assert "generators.png" in written(table, tmp_path)
    index = (tmp_path / "out" / "INDEX.md").read_text()
    assert "| classroom | 90 of 100 | not measured | not measured | not measured | not measured |" in index
    assert "| small | 50 of 100 | 20,000 | 10,000 | 500 | not measured |" in index


def test_a_table_is_told_by_the_names_of_its_runs():
    for design in ("isolation", "generators"):
        more = {"generators": ("a",), "categories": ("short_long",)} if design == "generators" else {}
        assert report.design_of(results(design, lambda run, kind: 0.0, **more)) == design
    for design in ("factorial", "crossed"):
        assert report.design_of(results(design, lambda run, kind: 0.0)) == ""
    assert report.design_of(pd.DataFrame({"subset": ["mine", "yours"]})) == report.design_of(pd.DataFrame()) == ""


def test_the_notebook_finds_the_figures_of_the_last_run_before_the_committed_ones(tmp_path, monkeypatch):
    params = load("classroom", {"paths.figures": str(tmp_path / "new")})
    monkeypatch.setattr(report, "ROOT", tmp_path)
    assert report.drawn(params, "isolation") is None
    for folder in (tmp_path / "figures", tmp_path / "new"):  # the committed ones, then those of a run
        (folder / "classroom-isolation").mkdir(parents=True)
        (folder / "classroom-isolation" / "INDEX.md").touch()
        assert report.drawn(params, "isolation") == folder / "classroom-isolation"


def test_a_design_drawn_again_by_the_grid_keeps_its_second_study(tmp_path):
    table, place = results("crossed", sts_helps_sts), {"paths.runs": str(tmp_path), "paths.figures": str(tmp_path)}
    params = load("classroom", {**place, "study.design": "crossed"})
    params.results_file.parent.mkdir(parents=True)
    table.to_csv(params.results_file, index=False)
    params.figure_dir.mkdir()
    again(table, table).to_csv(params.figure_dir / report.SECOND, index=False)
    report.of_design(params)
    assert "second" in pd.read_csv(params.figure_dir / "influence.csv")
    assert report.SECOND in read_json(params.influence_file)["inputs"]


def said_of(design):
    """What the page of the designs says about one that was run."""
    text = (ROOT / "docs" / "designs.md").read_text(encoding="utf-8")
    return " ".join(text.split(f"*{design.capitalize()}, measured")[1].split("\n\n")[0].split())


def test_the_pages_numbers_of_generators_are_those_of_the_committed_table():
    table = pd.read_csv(ROOT / "figures" / "classroom-generators" / "generators.csv", keep_default_na=False)
    rows = table[table["level"] == "overall"].set_index(["generator", "against"])
    words = said_of("generators")
    for key in (("classroom", "none"), ("smollm2-135m", "none")):
        effect, se = (float(rows.loc[key, column]) for column in ("effect", "se"))
        assert f"{minus(effect, 1)} ± {se:.1f}" in words, key
    apart = rows.loc["smollm2-135m", "classroom"]
    half = stats.t.ppf(0.95, float(apart["df"])) * float(apart["se"])
    low, high = float(apart["effect"]) - half, float(apart["effect"]) + half
    assert f"{minus(float(apart['effect']), 1)} (90 % {minus(low, 1)} to +{high:.1f})" in words
    assert apart["says"] == "undecided" and float(apart["margin"]) == 1


def test_the_pages_numbers_of_crossed_are_those_of_the_committed_table():
    table = pd.read_csv(ROOT / "figures" / "classroom-crossed" / "crossed.csv")
    pairs = table["term"].str.contains(":")
    overall = table[(table["type"] == OVERALL) & ~pairs]
    words, sizes = said_of("crossed"), overall["effect"].round(1)
    assert f"{sizes.min()} to {sizes.max()} ± {overall['se'].iloc[0]:.1f} points" in words
    assert len(overall) == 5 and (overall["p_bh"] < 0.05).all() and (overall["effect"] > 0).all()
    (sure,) = table[pairs & (table["p_bh"] < 0.05)].itertuples()
    assert (sure.term, sure.type) == ("sl:public", OVERALL)
    assert f"Of {pairs.sum()} interactions" in words and f"{-sure.effect:.1f} ± {sure.se:.1f} less" in words


def test_the_pages_numbers_of_isolation_are_those_of_the_committed_table():
    words = said_of("isolation")
    table = pd.read_csv(ROOT / "figures" / "classroom-isolation" / "alone.csv", keep_default_na=False)
    table = table[table["level"] != "task"].set_index(["public", "factor", "type"])
    for key, told in {
        (1, "ls", "Classification"): "classification (+{:.1f} ± {:.1f} points)",
        (1, "ls", ""): "all sets (+{:.1f} ± {:.1f})",
        (0, "bt", ""): "sets by {:.1f} ± {:.1f}",
        (1, "sts", "STS"): "moved STS by {:.1f} ± {:.1f}",
    }.items():
        assert told.format(abs(float(table.loc[key, "effect"])), float(table.loc[key, "se"])) in words, key
    beside = table.loc[1]
    assert set(beside[beside["p_bh"].astype(float) < 0.05].index) == {("ls", "Classification"), ("ls", "")}


def test_the_page_says_what_the_decoder_did():
    from lib.common.bundled import ROOT
    from lib.figures.report import read_second
    from lib.influence.influence import agreement

    text = " ".join((ROOT / "docs" / "designs.md").read_text(encoding="utf-8").split())
    folder = ROOT / "figures" / "decoder"
    cells = read_second(folder / "models.csv")
    told = {level: agreement(part).iloc[0] for level, part in cells.groupby("level")}
    assert (
        f"over {told['task']['n']} effects of category × set the correlation is {minus(told['task']['r'], 2)}," in text
    )

    def reliability(part, study):
        return 1 - (part[f"{study}_se"] ** 2).mean() / part[study].var(ddof=1)

    parts = {level: part for level, part in cells.groupby("level")}
    most = {k: np.sqrt(reliability(part, "first") * reliability(part, "second")) for k, part in parts.items()}
    assert (
        f"could reach {most['task']:.2f} at most (types: {minus(told['type']['r'], 2)} of {most['type']:.2f})" in text
    )
    assert f"the reliability of the type effects is {reliability(parts['type'], 'second'):.2f}" in text
    assert told["task"]["marked"] == 9 and told["task"]["same_sign"] == 5 and told["task"]["returned"] == 0
    claims = pd.read_csv(folder / "claims.csv").set_index("id")
    assert (
        claims["verdict"].value_counts()["in one study"] == 1
        and "+3.67 points" in claims.loc["average_gain", "numbers"]
    )
    effects = pd.read_csv(folder / "influence.csv")
    assert not (effects["p_bh"] < 0.05).any(), "the page says that no effect is sure"
    scores = pd.read_csv(folder / "main_results.csv").set_index(["mixture", "type"])["points"]
    mixtures = "untrained base", "public data only", "public + all synthetic (ss+sl+ls+ll)"
    base, none, full = (scores[name, "All tasks"] for name in mixtures)
    assert f"from {base:.1f} (untrained) to {none:.1f} points, everything together to {full:.1f}" in text
