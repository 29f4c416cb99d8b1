"""Claims: every rule gives every verdict it can on studies with planted truth; the index; notebook 05."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib import claims, gain_verdicts, report, sources, verdicts
from lib.analysis import analyse
from lib.files import KitError
from lib.params import InfluenceParams
from lib.verdicts import CONTRADICTED, DIRECTION, NOISE, REPRODUCED, UNTESTABLE, Evidence
from tests.test_figures import CODES, study

ROOT = Path(__file__).resolve().parent.parent
QUICK = InfluenceParams(bootstrap=200)
TWO = {"Reranking": 2, "STS": 2}


def exactly(sizes, effects, wobble, seeds=2, interactions=None):
    """A study whose least-squares effects are exactly the planted ones: {(category, type): points}.

    `wobble` (points) is a pattern over the runs, orthogonal to every main effect, that plays the noise; every task of
    the study has the same pattern, so type means are as noisy as tasks.
    """
    table = study(sizes, seeds=seeds, noise=0.0, base_rows=False)
    on = table[list(CODES)] - 0.5
    table["score"] = (
        0.6 + sum(on[c] * table["type"].map(lambda k, c=c: (effects or {}).get((c, k), 0.0)) for c in CODES) / 100
    )
    runs = table[["subset", "seed"]].drop_duplicates().reset_index(drop=True)
    x = np.column_stack([np.ones(len(runs)), runs["subset"].map(lambda s: 0).to_numpy()])
    levels = np.array([[c in s.split("+") for c in CODES] for s in runs["subset"]], float) - 0.5
    x = np.column_stack([np.ones(len(runs)), levels])
    pattern = np.random.default_rng(1).normal(size=len(runs))
    pattern -= x @ np.linalg.lstsq(x, pattern, rcond=None)[0]
    pattern *= wobble / pattern.std() / 100
    return table.merge(runs.assign(extra=pattern), on=["subset", "seed"]).assign(
        score=lambda t: t["score"] + t["extra"]
    )


def evidence(table, costs=None):
    return Evidence(analyse(table, QUICK), sources.reference("published_mteb_scores"), costs)


def test_kit_claims_are_complete_and_each_rule_is_used():
    loaded = claims.load()
    assert len({claim["id"] for claim in loaded}) == len(loaded) >= 10
    assert {claim["test"]["kind"] for claim in loaded} == set(claims.RULES)
    assert all(rule.__doc__ for rule in claims.RULES.values())
    text = " ".join(claim["claim"] for claim in loaded).lower()
    for words in ("improve reranking", "harm sts", "short-short", "2 of 6", "sparse", "8b", "fifth", "average"):
        assert words in text


# wobble .5 over 32 runs: a standard error of about .19 points
@pytest.mark.parametrize(
    ("planted", "verdict"), [(2.0, REPRODUCED), (0.3, DIRECTION), (0.05, NOISE), (-0.3, NOISE), (-2.0, CONTRADICTED)]
)
def test_effect_claim(planted, verdict):
    test = {"kind": "effect", "factor": "sl", "type": "Reranking", "sign": 1}
    found = verdicts.effect(evidence(exactly(TWO, {("sl", "Reranking"): planted}, 0.5)), test)
    assert found.verdict == verdict, found
    mirrored = verdicts.effect(evidence(exactly(TWO, {("sl", "Reranking"): -planted}, 0.5)), {**test, "sign": -1})
    assert mirrored.verdict == verdict
    assert f"{abs(planted):.2f} points" in found.numbers


def test_effect_claim_that_these_results_cannot_test():
    test = {"kind": "effect", "factor": "sl", "type": "Retrieval", "sign": 1}
    assert verdicts.effect(evidence(study(TWO)), test).verdict == UNTESTABLE
    published = Evidence(analyse(pd.DataFrame(study(TWO)).query("subset in ('none', 'sl') and seed == 0"), QUICK), None)
    assert verdicts.effect(published, {**test, "type": "STS"}).verdict == UNTESTABLE  # two runs leave no error


@pytest.mark.parametrize(
    ("effects", "wobble", "verdict"),
    [
        ({}, 0.5, REPRODUCED),
        ({("ss", "STS"): -0.1, ("ss", "Reranking"): -0.1}, 4.0, DIRECTION),
        ({("ss", "STS"): 0.1}, 4.0, NOISE),
        ({("ss", "STS"): 2.0}, 0.5, CONTRADICTED),
    ],
)
def test_no_improvement_claim_needs_more_than_silence(effects, wobble, verdict):
    found = verdicts.no_improvement(evidence(exactly(TWO, effects, wobble)), {"factor": "ss", "margin": 1.0})
    assert found.verdict == verdict, found
    assert verdicts.no_improvement(evidence(study(TWO)), {"factor": "bt", "margin": 1.0}).verdict == UNTESTABLE


@pytest.mark.parametrize(
    ("count", "moving", "verdict"),
    [(12, 4, REPRODUCED), (12, 12, CONTRADICTED), (12, 0, CONTRADICTED), (7, 0, NOISE), (3, 1, UNTESTABLE)],
)
def test_tasks_improving_claim(count, moving, verdict):
    table = study({"Clustering": count}, noise=0.3)
    up = table["task"].isin([f"Clustering{i}" for i in range(moving)]) & (table["ll"] == 1)
    table["score"] += 0.03 * up
    found = verdicts.tasks_improving(evidence(table), {"type": "Clustering", "improving": 2, "of": 6})
    assert found.verdict == verdict and found.numbers.startswith(f"{moving} of {count}"), found
    other = verdicts.tasks_improving(evidence(table), {"type": "STS", "improving": 2, "of": 6})
    assert other.verdict == UNTESTABLE


@pytest.mark.parametrize(
    ("effects", "wobble", "verdict"),
    [
        ({("sl", "Reranking"): 2.0}, 0.5, REPRODUCED),
        ({}, 0.5, NOISE),
        ({(c, k): 2.0 for c in CODES[:3] for k in TWO}, 0.5, CONTRADICTED),
        ({(c, k): 2.0 for c in CODES[:2] for k in ("STS",)} | {("ls", "STS"): 2.0}, 0.5, DIRECTION),
    ],
)
def test_sparse_effects_claim(effects, wobble, verdict):
    found = verdicts.sparse_effects(evidence(exactly(TWO, effects, wobble)), {"most": 0.25, "margin": 1.0})
    assert found.verdict == verdict, found


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ({("sl", "Reranking"): 2.0, ("sl", "STS"): -2.0}, REPRODUCED),
        ({("sl", "Reranking"): 2.0, ("sl", "STS"): -0.3}, DIRECTION),
        ({("sl", "Reranking"): 2.0, ("ll", "STS"): -2.0}, NOISE),
        ({}, NOISE),
        ({("sl", "Reranking"): 2.0, ("sl", "STS"): 2.0}, CONTRADICTED),
    ],
)
def test_trade_off_claim(effects, verdict):
    assert verdicts.trade_off(evidence(exactly(TWO, effects, 0.5)), {}).verdict == verdict
    assert verdicts.trade_off(evidence(study({"STS": 3})), {}).verdict == UNTESTABLE


@pytest.mark.parametrize(
    ("planted", "verdict"), [(1.0, REPRODUCED), (0.12, DIRECTION), (-0.12, NOISE), (-1.0, CONTRADICTED)]
)
def test_average_gain_claim(planted, verdict):
    table = exactly(TWO, {(c, k): planted for c in CODES for k in TWO}, 0.5)
    found = gain_verdicts.average_gain(evidence(table), {})
    assert found.verdict == verdict and f"{abs(4 * planted):.2f} points" in found.numbers, found


def test_total_gain_is_all_against_none_whatever_the_two_way_interactions():
    table = exactly(TWO, {("sl", "STS"): 1.5, ("ll", "STS"): -0.5}, 0.0)
    table["score"] += 0.02 * (table["sl"] - 0.5) * (table["ll"] - 0.5) + 0.01 * (table["ss"] - 0.5) * (
        table["ls"] - 0.5
    )
    a = analyse(table.assign(score=table["score"] + np.random.default_rng(0).normal(0, 1e-9, len(table))), QUICK)
    corner = table.groupby("subset")["score"].mean() * 100
    assert gain_verdicts.total_gain(a)[0] == pytest.approx(corner["ss+sl+ls+ll"] - corner["none"], abs=1e-5)


def concentrated(share_of_first, seeds=2, noise=0.05, net=2.0):
    table = study({"STS": 7}, seeds=seeds, noise=noise)
    first = table["task"] == "STS0"
    each = np.where(first, 7 * net * share_of_first, 7 * net * (1 - share_of_first) / 6)
    return table.assign(
        score=table["score"] + each / 100 * table[list(CODES)].sum(axis=1) / 4 * (table["subset"] != "base")
    )


@pytest.mark.parametrize(
    ("table", "verdict"),
    [
        (concentrated(0.8), REPRODUCED),
        (concentrated(1 / 7), CONTRADICTED),
        (concentrated(0.8, net=-2.0), NOISE),
        (concentrated(0.8, seeds=1), DIRECTION),
    ],
)
def test_concentrated_gain_claim(table, verdict):
    found = gain_verdicts.concentrated_gain(evidence(table), {"fraction": 1 / 7, "share": 0.5})
    assert found.verdict == verdict, found


@pytest.mark.parametrize(
    ("apart", "spread", "verdict"),
    [(-0.2, 0.1, REPRODUCED), (-3.0, 0.1, CONTRADICTED), (-0.5, 3.0, DIRECTION), (-1.5, 3.0, NOISE)],
)
def test_generator_claim(apart, spread, verdict):
    large = study({"STS": 6}, noise=0.1)
    shift = pd.Series(apart + spread * np.array([-1, 1, -1, 1, -1, 1]), [f"STS{i}" for i in range(6)]) / 100
    small = large.assign(score=large["score"] + large["task"].map(shift) * (large["subset"] == "ss+sl+ls+ll"))
    both = pd.concat([small.assign(generator="Llama-8B"), large.assign(generator="Llama-70B")])
    test = {"small": "8B", "large": "70B", "margin": 1.0}
    found = gain_verdicts.generator_parity(evidence(both), test)
    assert found.verdict == verdict, found
    assert gain_verdicts.generator_parity(evidence(large), test).verdict == UNTESTABLE


@pytest.mark.parametrize(
    ("small", "verdict"), [(0.22, REPRODUCED), (0.6, DIRECTION), (1.2, CONTRADICTED), (None, UNTESTABLE)]
)
def test_cost_claim(small, verdict):
    costs = pd.DataFrame({"generator": ["L-8B", "L-70B"], "cost": [small, 1.0], "valid": [100, 100]})
    whole = Evidence(None, None, costs)
    assert gain_verdicts.cost_ratio(whole, {"small": "8B", "large": "70B", "ratio": 0.2}).verdict == verdict


def test_interaction_with_public_needs_the_crossed_design():
    test = {"factor": "public"}
    assert verdicts.interaction_with(evidence(study(TWO)), test).verdict == UNTESTABLE
    on = study(TWO, noise=0.3, base_rows=False)
    off = study(TWO, noise=0.3, base_rows=False, seed=0)
    off = off[
        off["subset"].isin(["ll", "sl+ll", "ss+ls", "sl+ls+ll"]) | off["subset"].isin(["ss", "sl", "ss+sl+ls", "none"])
    ]
    off = off[off["subset"] != "none"].assign(public=0, subset=lambda t: t["subset"] + "-alone")
    both = pd.concat([on, off], ignore_index=True)
    assert verdicts.interaction_with(evidence(both), test).verdict == NOISE
    both["score"] += 0.03 * both["public"] * both["sl"]
    found = verdicts.interaction_with(evidence(both), test)
    assert found.verdict == REPRODUCED and "sl" in found.numbers, found


def test_published_gain_is_recomputed():
    test = {"mean": 2.07, "top": 8, "share": 0.72, "fall": 14}
    reference = sources.reference("published_mteb_scores")
    assert gain_verdicts.published_gain(Evidence(None, reference), test).verdict == REPRODUCED
    changed = reference.assign(wang2024_full=reference["wang2024_full"] + 0.1)
    assert gain_verdicts.published_gain(Evidence(None, changed), test).verdict == CONTRADICTED


def test_claims_file_with_an_unknown_test_or_key_is_refused(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("claims:\n- {id: a, claim: b, source: c, published: d, test: {kind: guess}}\n")
    with pytest.raises(KitError, match="unknown test 'guess'"):
        claims.load(path)
    path.write_text(
        "claims:\n- {id: a, claim: b, verdict: reproduced, source: c, published: d, test: {kind: effect}}\n"
    )
    with pytest.raises(KitError, match="verdict"):
        claims.load(path)
    with pytest.raises(KitError, match="lacks 'sign'"):
        test = {"kind": "effect", "factor": "sl", "type": "STS"}
        claims.evaluate(evidence(study(TWO)), [{"id": "a", "claim": "", "source": "", "published": "", "test": test}])


def test_index_names_every_figure_and_follows_the_inputs(tmp_path, monkeypatch):
    one = ("noise", "a question", dict((n, d) for n, _, d in report.FIGURES)["noise"])
    monkeypatch.setattr(
        report, "FIGURES", (one, ("never", "another", lambda r: (_ for _ in ()).throw(KitError("no data"))))
    )
    (tmp_path / "never.png").write_bytes(b"of earlier results")
    study(TWO).to_csv(tmp_path / "results.csv", index=False)
    first = report.write_all(tmp_path / "results.csv", tmp_path, QUICK)
    text = (tmp_path / "INDEX.md").read_text()
    assert "[noise](noise.png)" in text and "not drawn: no data" in text and "05_influence.ipynb" in text
    assert "untrained base" in text and not (tmp_path / "never.png").exists()
    assert [path.name for path in first] == [
        "noise.svg",
        "noise.png",
        "noise.csv",
        "claims.csv",
        "claims.md",
        "INDEX.md",
    ]
    before = {path.name: path.read_bytes() for path in first}
    report.write_all(tmp_path / "results.csv", tmp_path, QUICK)
    assert before == {path.name: path.read_bytes() for path in first}
    study(TWO, seed=5).to_csv(tmp_path / "results.csv", index=False)
    report.write_all(tmp_path / "results.csv", tmp_path, QUICK)
    assert (tmp_path / "INDEX.md").read_text() != text
    judged = pd.read_csv(tmp_path / "claims.csv", keep_default_na=False)
    assert set(judged["verdict"]) <= set(verdicts.VERDICTS) and judged["numbers"].str.len().min() > 10


def test_counts_come_from_the_run_folder(tmp_path):
    from lib.figures.catalogue import data_counts

    assert data_counts(None).empty
    (tmp_path / "generation.json").write_text(json.dumps({"categories": {"short_long": {"valid": 7}}}))
    (tmp_path / "public.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    assert data_counts(tmp_path)[["category", "rows"]].values.tolist() == [["sl", 7], ["public", 2]]


def test_missing_or_broken_results_are_one_sentence(tmp_path):
    with pytest.raises(KitError, match="make reproduce"):
        report.build(tmp_path / "results.csv")
    (tmp_path / "results.csv").write_bytes(b"\xff\xfe\x00not a table")
    with pytest.raises(KitError):
        report.build(tmp_path / "results.csv")


def test_published_scores_are_a_study_of_two_runs():
    work = report.build("published", QUICK)
    overall = work.analysis.across[work.analysis.across["type"] == ""]
    assert overall["effect"].item() == pytest.approx(2.07, abs=0.005) and overall["p_t"].item() < 0.001
    assert work.claims.set_index("id")["verdict"].to_dict() == {
        claim["id"]: REPRODUCED if claim["id"] == "wang_gain" else UNTESTABLE for claim in claims.load()
    }


def run_notebook(tmp_path, results):
    overrides = json.dumps({"paths.figures": str(tmp_path / "figures"), "paths.runs": str(tmp_path / "runs")})
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--cwd",
        "notebooks",
        "--kernel",
        "python3",
        "--no-progress-bar",
        "-p",
        "results",
        str(results),
        "-y",
        f"overrides: {overrides}",
        "notebooks/05_influence.ipynb",
        str(tmp_path / "out.ipynb"),
    ]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@pytest.mark.slow
def test_notebook_on_a_csv_of_your_own(tmp_path):
    mine = study({"STS": 2, "Chess": 2}, noise=0.5, base_rows=False).drop(columns=["public", "subset", "metric"])
    mine.to_csv(tmp_path / "mine.csv", index=False)
    done = run_notebook(tmp_path, tmp_path / "mine.csv")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Chess" in (tmp_path / "figures" / "mine" / "influence.csv").read_text()
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_notebook_on_the_published_scores(tmp_path):
    done = run_notebook(tmp_path, "published")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "figures" / "published" / "INDEX.md").exists()


@pytest.mark.slow
def test_notebook_without_results_says_what_to_run(tmp_path):
    done = run_notebook(tmp_path, "")
    assert done.returncode != 0 and "make reproduce" in done.stderr
