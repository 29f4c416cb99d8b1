"""Designs: which models an experiment needs, listed before anything is trained.

- ``factorial``: the paper's 16 subsets of the four categories, public data always on.
- ``isolation``: each of the six categories alone, with and without public data, and public data alone (13 models).
- ``crossed``: the 16 plus eight models without public data, chosen so that the effect of the public data and its
  interaction with each category can be estimated too: 5 main effects and 10 two-way terms from 24 models.

"No category and no public data" is in no design: there is nothing to train on; that model is the untrained base.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.design import CATEGORIES, CODES, EXTRA, run_name, subsets
from lib.files import KitError
from lib.influence.ols import TERMS, fit, model_matrix

DESIGNS = ("factorial", "isolation", "crossed")
WITHOUT_PUBLIC = ("0001", "0010", "0100", "0111", "1000", "1011", "1101", "1110")  # order ss, sl, ls, ll


class Run(NamedTuple):
    """One model to train: its categories, whether the public data are in, and its seed."""

    subset: tuple[str, ...]
    public: bool
    seed: int

    @property
    def name(self) -> str:
        """Name on disk, ``ss+ll``, or ``ss+ll-alone`` without public data."""
        return run_name(self.subset, self.public)


def design_runs(name: str, seeds: int | Sequence[int] = 1, categories: Sequence[str] = CATEGORIES) -> list[Run]:
    """Return the runs of a design in a fixed order: model after model, the seeds of each together.

    ``seeds``: how many (0, 1, ...), or which. ``categories``: of the factorial; the crossed design needs the
    paper's four. Raises KitError for an unknown design.
    """
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not chosen or len(set(chosen)) < len(chosen):
        raise KitError(f"seeds={seeds!r} must name at least one seed, and each only once")
    return [Run(subset, public, seed) for subset, public in _models(name, tuple(categories)) for seed in chosen]


def _models(name: str, categories: tuple[str, ...]) -> list[tuple[tuple[str, ...], bool]]:
    factorial = [(subset, True) for subset in subsets(categories)]
    if name == "factorial":
        return factorial
    if name == "isolation":
        single = [(category,) for category in (*CATEGORIES, *EXTRA)]
        return [((), True), *((one, True) for one in single), *((one, False) for one in single)]
    if name != "crossed":
        raise KitError(f"unknown design {name!r}; the designs are {', '.join(DESIGNS)}")
    if categories != CATEGORIES:
        raise KitError(
            f"the crossed design is made for the four categories {', '.join(CATEGORIES)}; use factorial for others"
        )
    off = [tuple(c for c, bit in zip(CATEGORIES, code, strict=True) if bit == "1") for code in WITHOUT_PUBLIC]
    return factorial + [(subset, False) for subset in off]


def done_mask(runs: Sequence[Run], run_dir: str | Path) -> list[bool]:
    """Return, per run, whether its scores are there: ``scores/<name>/seed<k>.csv`` exists in the run folder."""
    return [(Path(run_dir) / "scores" / run.name / f"seed{run.seed}.csv").is_file() for run in runs]


def design_table(name: str, seeds: int | Sequence[int] = 1, run_dir: str | Path | None = None) -> pd.DataFrame:
    """Return one row per run: ``name, public``, a 0/1 column per code, ``seed``, ``done`` (False without a folder)."""
    runs = design_runs(name, seeds)
    codes = [CODES[c] for c in (*CATEGORIES, *EXTRA) if any(c in run.subset for run in runs)]
    table = pd.DataFrame(
        [
            {
                "name": run.name,
                "public": int(run.public),
                **{code: int(c in run.subset) for c, code in CODES.items() if code in codes},
                "seed": run.seed,
            }
            for run in runs
        ]
    )
    return table.assign(done=done_mask(runs, run_dir) if run_dir is not None else False)


def identified(table: pd.DataFrame, terms: str = "main") -> pd.DataFrame:
    """Return what a list of runs can estimate: ``term, se_per_noise, inflation``; ``attrs["df"]``, ``attrs["notes"]``.

    ``table`` holds one 0/1 column per factor (``design_table``'s, or a results table's runs); factors that never vary
    are left out. ``se_per_noise`` is the standard error of the effect for a noise of 1 per run (NaN: not estimable),
    ``inflation`` its ratio to that of an orthogonal design with as many runs.
    """
    if terms not in TERMS:
        raise KitError(f"terms={terms!r} is not known; say {', '.join(TERMS)}")
    known = [name for name in (*CODES.values(), "public") if name in table.columns and table[name].nunique() > 1]
    x, names = model_matrix(table[known].to_numpy(), known, terms)
    probe = fit(x, names, np.zeros((len(x), 1)))
    inverse = np.linalg.pinv(x)
    se = np.where(np.isnan(probe.beta[:, 0]), np.nan, np.sqrt((inverse**2).sum(axis=1)))
    best = np.array([2.0 ** (len(name.split(":"))) if name != "mean" else 1.0 for name in names]) / np.sqrt(len(x))
    out = pd.DataFrame({"term": names, "se_per_noise": se, "inflation": se / best})
    out.attrs = {"df": int(probe.df[0]), "runs": len(x), "notes": [f"{text}." for text in probe.lost]}
    return out
