"""Generators compared: one category, as each of them wrote it, against none of it, and against each other.

Every generator has the same number of triplets of the same tasks, the same steps and the same seeds. The runs of one
seed share the adapter's start, the order of the batches and the public data (``lib.train.mixture``), and differ in who
wrote the triplets; so two generators are compared seed by seed. Errors are over runs. Effects in points.

That no difference is found says little with few seeds. Whether two generators are *alike* is a test of its own (two
one-sided t-tests, TOST, by statsmodels): it finds them alike where the difference is surely smaller than ``margin``.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from statsmodels.stats.weightstats import ttost_paired

from lib.common.design import BASE, generator_of, parse_run
from lib.common.files import KitError
from lib.influence.regression import adjust, margin, t_test
from lib.influence.scores import read
from lib.influence.tables import OVERALL

NONE = "none"  # what a generator's runs are compared with first: public data alone
ALIKE, DIFFERENT, BOTH, OPEN = "alike", "different", "different, by less than the margin", "undecided"
FAMILY = ["level", "against_none"]  # what is corrected together


def contrasts(results, limit: float = 1.0, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per set, type, or all sets (``level``) x comparison: a generator against none, or another one.

    ``results``: a table or file of the design generators. Columns: ``level, task, type, generator, against``;
    ``effect, se, df, t, p, ci_low, ci_high`` (1 - alpha) over runs: two samples of runs with one variance against none,
    pairs of runs of one seed between generators; ``p_bh, p_holm`` over the rows of a level and kind of comparison;
    between generators also ``margin``, ``p_tost`` (Holm over the types) and ``says``: alike, different, both, or
    undecided; ``n`` runs of the generator. Raises KitError for a table without such runs.
    """
    scores = _scores(results)
    names = [name for name in dict.fromkeys(scores.columns.get_level_values("generator")) if name != NONE]
    pairs = [(name, NONE) for name in names] + [(b, a) for a, b in combinations(names, 2)]
    rows = [
        {**dict(zip(("level", "task", "type"), key, strict=True)), "generator": one, "against": other}
        | _compare(part.loc[key, one], part.loc[key, other], other != NONE, limit, alpha)
        for key, part in scores.groupby(level=["level", "task", "type"], sort=False)
        for one, other in pairs
    ]
    table = pd.DataFrame(rows).assign(against_none=lambda t: t["against"] == NONE)
    for name, source, method in (("p_bh", "p", "fdr_bh"), ("p_holm", "p", "holm"), ("p_tost", "p_tost", "holm")):
        table[name] = table.groupby(FAMILY)[source].transform(lambda p, method=method: adjust(p, method))
    apart, alike = table["p_holm"] < alpha, table["p_tost"] < alpha
    table["says"] = np.select([apart & alike, apart, alike], [BOTH, DIFFERENT, ALIKE], OPEN)
    table["says"] = table["says"].where(~table["against_none"], "")
    return table.drop(columns="against_none")


def _scores(results) -> pd.DataFrame:
    """Points by (level, task, type) and (generator, seed): the sets, then the means of types, then that of all sets."""
    table = read(results)
    if missing := {"subset", "seed", "task", "type", "score"} - set(table):
        raise KitError(
            f"a table of generators needs the column {sorted(missing)[0]!r}; run `make reproduce` to make it"
        )
    table = table[table["subset"] != BASE]
    table = table.assign(score=pd.to_numeric(table["score"]) * 100, seed=pd.to_numeric(table["seed"]))
    of = {name: generator_of(name) or NONE for name in table["subset"].unique()}
    if strange := [name for name, generator in of.items() if generator == NONE and parse_run(name) != ((), True)]:
        raise KitError(f"the run {strange[0]} names no generator; compare generators in a table of their own")
    if NONE not in of.values() or len(set(of.values())) < 2:
        raise KitError("a comparison of generators needs runs of one at least, and runs of public data alone (none)")
    table = table.assign(generator=table["subset"].map(of))
    wide = table.pivot_table(index=["task", "type"], columns=["generator", "seed"], values="score", sort=False)
    wide = wide[list(dict.fromkeys(of[name] for name in of))].dropna()  # sets that every run has
    if wide.empty:
        raise KitError("no evaluation set was scored in every run of every generator; score the missing ones first")
    types = wide.groupby(level="type", sort=False).mean()
    parts = [
        wide.reset_index(),
        types.reset_index().assign(task=""),
        wide.mean().to_frame().T.assign(task="", type=OVERALL),
    ]
    parts = [part.assign(level=level) for part, level in zip(parts, ("task", "type", "overall"), strict=True)]
    return pd.concat(parts).set_index(["level", "task", "type"]).astype(float)


def _compare(one: pd.Series, other: pd.Series, paired: bool, limit: float, alpha: float) -> dict[str, float]:
    """Compare the runs of two rows, scores by seed."""
    n, m, p_tost = len(one), len(other), np.nan
    if paired:
        one, other = one.align(other, join="inner")
        n = m = len(one)
        apart = one - other
        effect, df = apart.mean(), n - 1
        se = apart.std(ddof=1) / np.sqrt(n)
        if se > 0:
            p_tost = ttost_paired(one.to_numpy(), other.to_numpy(), -limit, limit)[0]
        elif n > 1:  # no noise at all: it is what it is
            p_tost = float(abs(effect) >= limit)
    else:
        effect, df = one.mean() - other.mean(), n + m - 2
        square = ((one - one.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum()
        se = np.sqrt(square / df * (1 / n + 1 / m)) if df else np.nan
    t, p = t_test(effect, se, df)
    half = margin(se, df, alpha)
    found = {"effect": effect, "se": se, "df": df, "t": t, "p": p, "ci_low": effect - half, "ci_high": effect + half}
    return {k: float(v) for k, v in found.items()} | {"margin": limit if paired else np.nan, "p_tost": p_tost, "n": n}


def cost_per_thousand(costs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per generator: what a thousand valid triplets of it took, by ``cost_table`` of its answers.

    Columns: generator, asked, valid, yield, tokens_in, tokens_out, seconds, cost (each per 1,000 valid triplets, NaN
    where it was not measured), currency.
    """
    rows = []
    for name, own in costs.groupby("generator", sort=False):
        valid = own["valid"].sum()
        row = {"generator": name, "asked": own["asked"].sum(), "valid": valid, "yield": valid / own["asked"].sum()}
        for column in ("tokens_in", "tokens_out", "seconds", "cost"):
            row[column] = 1000 * pd.to_numeric(own[column]).sum(skipna=False) / valid if valid else np.nan
        rows.append(row | {"currency": own["currency"].iloc[0]})
    return pd.DataFrame(rows)
