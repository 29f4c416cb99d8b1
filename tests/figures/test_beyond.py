"""docs/beyond.md says what the tables of notebooks 06 to 08 say."""

import pandas as pd
import pytest

from lib.common.bundled import ROOT
from lib.common.design import minus

TEXT = " ".join((ROOT / "docs" / "beyond.md").read_text(encoding="utf-8").split())


def table(name):
    return pd.read_csv(ROOT / "figures" / "classroom" / f"{name}.csv")


@pytest.mark.parametrize(
    "predictor",
    ["gradients, start, adam", "additive", "merged, mean", "merged, sum", "half of the trainings", "all, regressed"],
)
def test_predictions(predictor):
    row = table("predict").set_index("predictor").loc[predictor]
    low, high = (f"{row[name]:.2f}".replace("-", "−") for name in ("lds_low", "lds_high"))
    cells = (
        f"| {row['trainings']:.0f} | {row['seconds']:.0f} | {row['lds']:.2f} ({low} to {high}) | {row['cells']:.2f} "
    )
    assert f"{cells}| {row['rmse']:.1f} |" in TEXT


def test_ceiling_and_the_guess_that_nothing_changes():
    rows = table("predict").set_index("predictor")
    most = rows.loc["noise-free"]
    assert f"about | | | {most['lds']:.2f} | {most['cells']:.2f} | {most['rmse']:.1f} |" in TEXT
    assert f"nothing changes ({rows.loc['nothing changes', 'rmse']:.1f})" in TEXT
    assert rows.loc["merged, chosen", "lds"] == rows.loc["merged, mean", "lds"]
    assert rows.loc["additive", "rmse"] > rows.loc["nothing changes", "rmse"] > rows.loc["merged, mean", "rmse"]


@pytest.mark.parametrize("strategy", ["none", "predicted", "measured", "routed", "merged"])
def test_choices(strategy):
    rows = table("improve")
    row = rows[(rows["strategy"] == strategy) & (rows["against"] == "all") & (rows["judge"] == "study")].iloc[0]
    assert row["sets"] == 31 and f"| {minus(row['gain'], 1)} ({_plain(row['low'])} to {_plain(row['high'])}) |" in TEXT
    if strategy != "none":
        assert row["low"] < 0 < row["high"], "the page says that no choice beats all"
        curse = table("winners_curse").query("judged_sets == 'same' and judged_runs == 'same'").set_index("strategy")
        assert f"{_plain(row['high'])}) | {minus(curse.loc[strategy, 'gain'], 1)} |" in TEXT


@pytest.mark.parametrize("strategy", ["none", "subset", "doses"])
def test_fresh_runs(strategy):
    rows = table("improve").query("type != type and judge == 'fresh'").set_index(["strategy", "against"])
    over_all, over_none = rows.loc[(strategy, "all")], rows.loc[("all" if strategy == "none" else strategy, "none")]
    assert f"| {minus(over_all['gain'], 1)} ({_plain(over_all['low'])} to {_plain(over_all['high'])}) |" in TEXT
    assert f"| {minus(over_none['gain'], 1)} ({_plain(over_none['low'])} to {_plain(over_none['high'])}) |" in TEXT
    assert over_none["low"] > 0 and (strategy == "none" or over_all["low"] < 0 < over_all["high"])
    assert over_all["detectable_runs"] < 0.75, "the page says that 0.7 points would have been found"


def _plain(value):
    return f"{value:.1f}".replace("-", "−")


def test_nothing_explains():
    rows = table("why").query("level == 'sets' and truth == 'these runs' and explanation != 'score'")
    assert len(rows) == 9 and rows["p_holm"].min() > 0.05
    assert f"the best R² is {rows['r2'].max():.2f}" in TEXT and f"would allow {rows['ceiling'].iloc[0]:.2f}" in TEXT


def decoder(name):
    return pd.read_csv(ROOT / "figures" / "decoder" / f"{name}.csv")


def test_on_the_decoder_nothing_is_told_from_chance():
    found = decoder("predict").set_index("predictor")
    assert (found.loc[found["kind"] == "predictor", ["lds_holm", "cells_holm"]] > 0.05).all(axis=None)
    errors = found["rmse"].round(1)
    words = f'an error of {errors["merged, mean"]} points, "nothing changes" {errors["nothing changes"]}, '
    assert f"{words}added scores {errors['additive']}." in TEXT
    chosen = decoder("improve").query("type != type and strategy != 'oracle'")
    assert len(chosen) and ((chosen["low"] < 0) & (chosen["high"] > 0)).all()
    reasons = decoder("why").query("explanation != 'score'")
    assert len(reasons) == 18 and (reasons["p_holm"] > 0.05).all()
    nearest = reasons.loc[reasons["p_holm"].idxmin()]
    assert (
        f"{nearest['explanation']} comes nearest (R² {nearest['r2']:.2f}, corrected *p* {nearest['p_holm']:.2f})"
        in TEXT
    )


def test_which_gradients_conflict():
    found = decoder("predict_conflict").set_index(["place", "source"])
    start, none = found.loc["start"].to_numpy(), found.loc["none"].to_numpy()
    against = found.loc["start"].loc["ls"].drop("ls")
    assert f"cosines {minus(against.max(), 2)} to {minus(against.min(), 2)} over different batches" in TEXT
    assert f"agrees with itself by {start.diagonal().min():.2f} to {start.diagonal().max():.2f}" in TEXT
    assert found.loc["start"].drop("ls").drop(columns="ls").to_numpy().min() > 0
    assert f"none below {minus(none.min(), 2)} is left" in TEXT
    encoder = table("predict_conflict").set_index(["place", "source"]).to_numpy()
    assert encoder.min() > -0.055  # "the encoder has no such conflict"; notebook 06 says -0.05
