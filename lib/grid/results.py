"""The results table: every run's scores in one tidy file, with what is missing or mixed said aloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lib.common.bundled import DATA, shown
from lib.common.design import BASE, generator_of
from lib.common.files import KitError, read_json, write_text
from lib.generate.dataset import cost_table
from lib.grid.jobs import listed, spoken, stage_files
from lib.params.params import Params, answering, generators
from lib.score.score import check_scores

# Times differ from run to run, so they are kept in timing.csv: results.csv is the same bytes for the same study.
_TIMES = {"seconds": "first", "score_seconds": "sum"}
_OF_DATA = ("params_hash", "data_hash")  # the same for all runs of a generator, and another for the next
_SAME_EVERYWHERE = ("params_hash", "data_hash", "code", "versions", "device", "world_size")


def read_scores(path: Path) -> pd.DataFrame:
    """Read one run's score file. Raises KitError when it is broken or holds a score that is not a number."""
    try:
        table = pd.read_csv(path, dtype={"subset": str}, keep_default_na=False, na_values=["", "nan", "NaN"])
    except (OSError, ValueError) as error:
        raise KitError(f"{path} cannot be read ({error}); delete it and run again to have it scored anew") from None
    missing = {"subset", "seed", "task", "type", "score"} - set(table.columns)
    if missing or table.empty:
        what = f"lacks the column {sorted(missing)[0]!r}" if missing else "is empty"
        raise KitError(f"{path} {what}; delete it and run again to have it scored anew")
    bad = table[pd.to_numeric(table["score"], errors="coerce").isna()]
    if len(bad):
        raise KitError(f"{path} has no number as the score of {bad['task'].iloc[0]}; delete it and run again")
    return table


def tables(params: Params, present: Sequence[Path] = ()) -> dict[Path, str]:
    """Return {file: content} of ``results.csv``, ``draws.csv`` and ``timing.csv``, made of all score files or some."""
    present, folder = list(present) or list(stage_files(params)["score"].values()), params.results_file.parent
    table = pd.concat([read_scores(path) for path in present], ignore_index=True)
    if named := generators(params):
        table.insert(1, "generator", table["subset"].map(generator_of))
    times = {name: how for name, how in _TIMES.items() if name in table}
    timing = table.groupby(["subset", "seed"], sort=False)[list(times)].agg(times).reset_index()
    found = {folder / "timing.csv": timing}
    draws = [file for path in present if (file := path.with_suffix(".draws.csv")).exists()]
    if draws:
        found[folder / "draws.csv"] = pd.concat([pd.read_csv(file, keep_default_na=False) for file in draws])
    if named:  # what their answers took, before they were cut to equal shares
        costs = [_costs(answering(params, name), name) for name in named]
        found[folder / "costs.csv"] = pd.concat(costs)
    found[folder / "results.csv"] = table.drop(columns=list(times))
    return {path: content.to_csv(index=False, lineterminator="\n") for path, content in found.items()}


def _costs(asked: Params, name: str) -> pd.DataFrame:
    """Return the costs of a generator's answers; of bundled ones the seconds that their record tells, if it does."""
    table = cost_table(asked.data_dir).assign(generator=name)
    if asked.generation.backend == "replay":  # what replaying took says nothing
        record = DATA / "generators" / asked.generation.model_dump().get("bundle", "") / "made.json"
        measured = read_json(record).get("measured", {}) if record.is_file() else {}
        known = measured.get(asked.study.category, {})
        table["seconds"] = known["seconds"] * table["asked"] / known["asked"] if known else float("nan")
    return table


def collect(params: Params, stale: Mapping[Path, str], allow_missing: bool = False) -> list[str]:
    """Write ``results.csv`` (with ``draws.csv`` and ``timing.csv``) from the score files; return sentences to print.

    ``stale``: the files that are not of these parameters, and why (``lib.grid.identity.stale``); they are left out.
    Raises KitError for these, for a damaged file, and one naming the missing runs, unless ``allow_missing``; then the
    sentences name them.
    """
    files = stage_files(params)["score"]
    missing = [spoken(job) for job, path in files.items() if not path.exists()]
    present, notes = [], []
    for path in (path for path in files.values() if path.exists()):
        try:
            check_scores(path)
            if path in stale:
                raise KitError(
                    f"{shown(path)} is not of these parameters{stale[path] and f' ({stale[path]})'}; "
                    "run `make reproduce` to have it made again"
                )
            present.append(path)
        except KitError as error:
            notes.append(f"Left out of this table: {error}.")
            if not allow_missing:
                raise
    if missing and not allow_missing or not present:
        raise KitError(
            f"{len(files) - len(present)} of {len(files)} runs have no scores yet ({', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}); run `make reproduce` to make them"
        )
    for path, content in tables(params, present).items():
        write_text(path, content)
    return ([f"Missing from this table: {', '.join(missing)}."] if missing else []) + notes


def mixed(table: pd.DataFrame) -> list[str]:
    """Return one sentence per provenance column in which the trained runs differ, naming the runs that are alone."""
    trained = table[table["subset"] != BASE].drop_duplicates(["subset", "seed"])
    notes = []
    together, of_generator = pd.Series("", trained.index), trained["subset"].map(generator_of)
    parts = [
        (column, own)
        for column in _SAME_EVERYWHERE
        if column in trained
        for _, own in trained.groupby(of_generator if column in _OF_DATA else together)
    ]
    for column, own in parts:
        if own[column].nunique(dropna=False) > 1:
            usual = own[column].value_counts(dropna=False).index[0]
            names = [f"{run.subset} seed {run.seed}" for run in own[own[column] != usual].itertuples()]
            verb = "differs" if len(names) == 1 else "differ"
            notes.append(
                f"Note: not all runs have the same {column}: {listed(names)} {verb}"
                " from the rest; small differences between runs may come from that."
            )
    return notes


def type_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean score in points (0 to 100) per run name and task type, averaged over seeds, plus the mean."""
    wide = table.pivot_table(index="subset", columns="type", values="score", aggfunc="mean", sort=False) * 100
    order = [name for name in dict.fromkeys(table["subset"]) if name != BASE]
    wide = wide.loc[([BASE] if BASE in wide.index else []) + order]
    tasks = table.groupby(["subset", "task"])["score"].mean().groupby("subset").mean() * 100
    wide["all tasks"] = tasks.reindex(wide.index)
    return wide.round(1)
