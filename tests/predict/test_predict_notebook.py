"""Notebook 06 on a stand-in study: untrained adapters, planted scores, three sets; and its picture."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from engine_kit import wake
from planted import study

from lib.common.bundled import ROOT
from lib.common.design import Triplet, write_triplets
from lib.common.files import write_json
from lib.embedder.embedder import Embedder
from lib.figures import report
from lib.figures.beyond import accuracy_against_cost
from lib.params.params import load
from lib.params.provenance import write_manifest

SETS = {"STS0": "EverydaySTS", "PairClassification0": "SameQuestion", "Reranking0": "AskBench"}


def stand_in(folder):
    """Write the files that notebook 06 reads, and return the overrides of a study that lies there."""
    every = {path.stem for path in (ROOT / "lib" / "data" / "classroom" / "suite").glob("*.yaml")}
    overrides = {"paths.runs": str(folder / "runs"), "paths.figures": str(folder / "figures"),
                 "scoring.exclude": sorted(every - set(SETS.values())), "training.batch_size": 4,
                 "training.max_length": 24, "model.max_length": 24}  # fmt: skip
    params = load("classroom", overrides)
    words = "fish lamp river stone cloud bread glass horse".split()
    for number, category in enumerate((*params.study.categories, "public")):
        rows = [Triplet("find", f"{word} {number}", f"the {word} of {category}", "none of it") for word in words]
        place = params.data_dir / ("public.jsonl" if category == "public" else f"triplets/{category}.jsonl")
        write_triplets(place, rows)
    write_manifest(params.data_dir, params)
    embedder = Embedder.from_params(params.model)
    for seed, name in enumerate(("none", "ss", "sl", "ls", "ll")):
        embedder.attach_lora(seed)
        wake(embedder, seed)
        embedder.save_adapter(params.models_dir / name / "seed0")
        write_json(params.models_dir / name / "seed0" / "train.json", {"adapter_digest": embedder.adapter_digest()})
    table = study({"STS": 1, "PairClassification": 1, "Reranking": 1}, effects={("sl", "STS"): 2.0})
    table.assign(task=table["task"].map(SETS)).to_csv(params.results_file, index=False)
    runs = table[["subset", "seed"]].drop_duplicates().assign(seconds=60.0, score_seconds=30.0)
    runs.to_csv(params.results_file.with_name("timing.csv"), index=False)
    return overrides


@pytest.mark.slow
def test_the_notebook_on_a_stand_in_study(tmp_path):
    overrides = stand_in(tmp_path)
    command = [sys.executable, *"-m papermill --cwd notebooks --kernel python3 --no-progress-bar".split()]
    command += ["-r", "params_file", "params/classroom.yaml", "-y", "merge: [mean]", "-p", "sample", "4"]
    command += ["-y", json.dumps({"overrides": overrides}), "notebooks/06_predict.ipynb", str(tmp_path / "out.ipynb")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    table = pd.read_csv(tmp_path / "figures" / "classroom" / "predict.csv").set_index("predictor")
    assert {"additive", "merged, mean", "gradients, path, adam", "features, from other sets"} <= set(table.index)
    assert table.loc["additive", "seconds"] == 450 and table.loc["merged, mean", "seconds"] > 450
    assert table.loc["gradients, path, adam", "seconds"] > 60 > table.loc["size alone", "seconds"]
    kept = sorted(path.name for path in (tmp_path / "runs" / "classroom" / "predict" / "seed0").iterdir())
    assert len(kept) == 13 and "ss+sl.mean.json" in kept and "gradients.start.json" in kept


def test_the_picture_has_a_point_for_every_prediction_with_a_correlation():
    row = {"kind": "predictor", "lds": 0.3, "lds_low": 0.1, "lds_high": 0.5, "cells": 0.4, "cells_low": 0.1,
           "cells_high": 0.6, "rmse": 2.0, "rmse_low": 1.0, "rmse_high": 3.0}  # fmt: skip
    rows = [{**row, "predictor": name, "seconds": 500.0} for name in ("additive", "merged, mean")]
    flat = {**row, "predictor": "nothing changes", "kind": "baseline", "seconds": 90.0, "lds": 0.0, "cells": 0.0}
    fig, _ = accuracy_against_cost(pd.DataFrame([flat, *rows, {**rows[0], "predictor": "noise-free"}]))
    shown = [[line for line in ax.lines if line.get_marker() not in ("None", "", None)] for ax in fig.axes]
    assert [len(lines) for lines in shown] == [2, 2, 3]
    x = [line.get_xdata()[0] for line in shown[0]]
    assert x[0] == 500 and x[1] > 500  # beside each other where they cost the same


def test_the_index_of_figures_names_the_prediction_where_it_was_drawn(tmp_path):
    study({"STS": 1, "Reranking": 1}).to_csv(tmp_path / "results.csv", index=False)
    work = report.build(tmp_path / "results.csv")
    assert "06_predict" not in report.index(work, tmp_path, {})
    (tmp_path / "predict.svg").touch()
    assert "[predict.csv](predict.csv) | notebooks/06_predict.ipynb" in report.index(work, tmp_path, {})
