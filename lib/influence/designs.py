"""What categories do together (the crossed design), each by itself (isolation), and generators compared; in points.

Two categories interact when one's effect depends on the other's presence. The runs of two generators in one seed differ
only in who wrote the triplets, so generators are compared seed by seed. That no difference is found says little with
few seeds: whether two are *alike* is a test of its own (two one-sided t-tests, TOST), which finds them alike where the
difference is surely smaller than a margin. Errors are over runs.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from lib.common.design import BASE, generator_of, parse_run
from lib.common.files import KitError
from lib.influence.effects import effects
from lib.influence.regression import adjust, design, fit, inference, shared_note, with_corrected
from lib.influence.scores import Study, read, study
from lib.influence.tables import LEVELS, OVERALL, outcomes

NONE = "none"  # what a generator's runs are compared with first: public data alone
ALIKE, DIFFERENT, BOTH, OPEN = "alike", "different", "different, by less than the margin", "undecided"


def interactions(scores, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per task, type and overall x pair of categories, from the regression with all two-way products.

    ``term`` is "ss:sl", ``effect`` how much the first category's effect changes when the second is present (difference
    in differences, points), with its error as in ``effects``; ``p_bh, p_holm`` over the level.
    """
    data = study(scores)
    x, names = design(data, "two_way")
    pairs = [name for name in names if ":" in name]
    parts, notes = [], [*data.notes, *shared_note(data)]
    for level in LEVELS:
        out = outcomes(data, level)
        found = fit(x, names, out.y).of(pairs)
        columns = inference(found.effect, found.se, found.df, alpha) | {"n": found.n}
        still = np.nanmax(out.y, axis=0) == np.nanmin(out.y, axis=0)
        columns |= {key: np.where(still, np.nan, columns[key]) for key in ("t", "p")}
        parts.append(with_corrected(out.rows(pairs, "term", columns)))
        notes += [*out.notes, *(f"{text}." for text in found.lost)]
    table = pd.concat(parts, ignore_index=True)
    table.attrs = {"notes": list(dict.fromkeys(notes))}
    return table


def crossed(scores, alpha: float = 0.05) -> pd.DataFrame:
    """Return main effects and two-way interactions of one regression, per type and over all tasks (type OVERALL).

    ``p_bh`` and ``p_holm`` are over all types together, main effects and interactions each.
    """
    data = study(scores)
    main = effects(data, "all", None, "two_way", alpha).rename(columns={"factor": "term"})
    table = pd.concat([main, interactions(data, alpha)], ignore_index=True).drop(columns=["p_bh", "p_holm"])
    table = table[table["level"] != "task"]
    table["type"] = table["type"].where(table["level"] == "type", OVERALL)
    pair = table["term"].str.contains(":").rename("pair")
    table = with_corrected(table, pair).assign(pair=pair).sort_values("pair", kind="stable")
    return table["type term effect se t df p p_bh p_holm ci_low ci_high n".split()].reset_index(drop=True)


def interaction_block(scores) -> pd.DataFrame:
    """Do the two-way interactions together explain more than chance? One row per task, type and overall.

    Columns: ``level, task, type, F, df_num, df_den, p``, ``p_bh`` over the level. NaN without degrees of freedom.
    """
    data, parts = study(scores), []
    for level in LEVELS:
        out = outcomes(data, level)
        f, num, den = block_f(data, out.y)
        part = out.names[["level", "task", "type"]].assign(F=f, df_num=num, df_den=den, p=stats.f.sf(f, num, den))
        parts.append(part.assign(p_bh=adjust(part["p"])))
    return pd.concat(parts, ignore_index=True)


def block_f(data: Study, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F of the two-way block for every column of ``y``, and its degrees of freedom, as statsmodels' ``anova_lm``."""
    x, names = design(data, "two_way")
    kept = [place for place, name in enumerate(names) if ":" not in name]
    small, large = fit(x[:, kept], [names[place] for place in kept], y), fit(x, names, y)
    num, den = small.df - large.df, large.df
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (small.rss - large.rss) / num / (large.rss / den)
    return np.where((num > 0) & (den > 0), f, np.nan), num, den


def isolation(scores, alpha: float = 0.05) -> pd.DataFrame:
    """Return what each category does by itself, one row per task (type, overall) x category x ``public``.

    ``effect`` is the mean of the runs on that category alone minus their reference: the runs on public data only
    (``public`` 1), or the untrained base model, taken as fixed (0). ``se, t, df, p, ci_low, ci_high`` are over runs,
    pooled over these groups, and need two seeds somewhere; ``p_bh, p_holm`` over all rows that one figure shows: types
    and overall of both halves, and all sets; ``n_alone, n_reference`` runs. KitError where no half can be told.
    """
    data, parts = study(scores), []
    runs, names, notes = data.runs, [name for name in data.factors if name != "public"], list(data.notes)
    beside, count = runs["public"] if "public" in data.factors else 1, runs[names].sum(axis=1)
    base = [data.base.get(task, np.nan) for task in data.tasks]
    for public in (1, 0):
        last = np.full(len(base), np.nan) if public else base  # the base is the last row where it is the reference
        levels = [outcomes(replace(data, y=np.vstack([data.y, last])), level) for level in LEVELS]
        used = (beside == public) & (count >= 1 - public) & (count <= 1)
        chosen = [name for name in names if runs.loc[used, name].any()]
        none = used & (count == 0)
        if not chosen or not (none.any() if public else data.base):
            continue
        x = np.column_stack([np.ones(len(runs)), runs[chosen]])[used, 0 if public else 1 :]
        for out in levels:
            y, have = out.y[:-1][used] - (0 if public else out.y[-1]), ~np.isnan(out.y[:-1])
            found = fit(x, ["mean", *chosen][0 if public else 1 :], y).of(chosen)
            n_alone = np.array([have[used & (runs[name] == 1)].sum(axis=0) for name in chosen])
            columns = {"public": np.array(public), **inference(found.effect, found.se, found.df, alpha)}
            columns |= {"n_alone": n_alone, "n_reference": have[none].sum(axis=0)}
            parts.append(out.rows(chosen, "factor", columns))
            silent = [] if found.df.any() else ["One seed per subset: differences without error; train a second seed."]
            notes += [*out.notes, *silent]
    if not parts:
        raise KitError("no run of one category alone has a reference to be compared with; run the design isolation")
    table = pd.concat(parts, ignore_index=True)
    table = with_corrected(table, table["level"] == "task")
    table.attrs = {"notes": list(dict.fromkeys(notes))}
    return table


def contrasts(results, limit: float = 1.0, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per set, type, or all sets (``level``) x comparison: a generator against none, or another one.

    Columns: ``level, task, type, generator, against``; ``effect, se, df, t, p, ci_low, ci_high`` (1 - alpha) over runs:
    two samples with one variance against none, pairs of runs of one seed between generators; ``p_bh, p_holm`` over the
    rows of a level and kind of comparison; between generators also ``margin``, ``p_tost`` (Holm over the types) and
    ``says``: alike, different, both, or undecided; ``n`` runs. KitError for a table without such runs.
    """
    scores = _by_generator(results)
    names = [name for name in dict.fromkeys(scores.columns.get_level_values("generator")) if name != NONE]
    pairs = [(name, NONE) for name in names] + [(b, a) for a, b in combinations(names, 2)]
    rows = [
        {**dict(zip(("level", "task", "type"), key, strict=True)), "generator": one, "against": other}
        | _compare(part.loc[key, one], part.loc[key, other], other != NONE, limit, alpha)
        for key, part in scores.groupby(level=["level", "task", "type"], sort=False)
        for one, other in pairs
    ]
    table = pd.DataFrame(rows)
    family = ["level", table["against"] == NONE]  # what is corrected together
    for name, source, method in (("p_bh", "p", "fdr_bh"), ("p_holm", "p", "holm"), ("p_tost", "p_tost", "holm")):
        table[name] = table.groupby(family)[source].transform(adjust, method)
    apart, alike = table["p_holm"] < alpha, table["p_tost"] < alpha
    said = np.select([apart & alike, apart, alike], [BOTH, DIFFERENT, ALIKE], OPEN)
    return table.assign(says=np.where(table["against"] == NONE, "", said))


def _by_generator(results) -> pd.DataFrame:
    """Points by (level, task, type) and (generator, seed): the sets, then the means of types, then that of all sets."""
    table = read(results)
    if missing := {"subset", "seed", "task", "type", "score"} - set(table):
        raise KitError(f"a table of generators needs the column {min(missing)!r}; run `make reproduce` to make it")
    table = table[table["subset"] != BASE]
    of = {name: generator_of(name) or NONE for name in table["subset"].unique()}
    if strange := [name for name, generator in of.items() if generator == NONE and parse_run(name) != ((), True)]:
        raise KitError(f"the run {strange[0]} names no generator; compare generators in a table of their own")
    if NONE not in of.values() or len(set(of.values())) < 2:
        raise KitError("a comparison of generators needs runs of one at least, and runs of public data alone (none)")
    numbers = {"score": pd.to_numeric(table["score"]) * 100, "seed": pd.to_numeric(table["seed"])}
    table = table.assign(generator=table["subset"].map(of), **numbers)
    wide = table.pivot_table(index=["task", "type"], columns=["generator", "seed"], values="score", sort=False)
    wide = wide[list(dict.fromkeys(of.values()))].dropna()  # sets that every run has
    if wide.empty:
        raise KitError("no evaluation set was scored in every run of every generator; score the missing ones first")
    types = wide.groupby(level="type", sort=False).mean().reset_index().assign(task="", level="type")
    overall = wide.mean().to_frame().T.assign(task="", type=OVERALL, level="overall")
    both = pd.concat([wide.reset_index().assign(level="task"), types, overall])
    return both.set_index(["level", "task", "type"]).astype(float)


def _compare(one: pd.Series, other: pd.Series, paired: bool, limit: float, alpha: float) -> dict[str, float]:
    """Compare the runs of two rows, scores by seed."""
    n, p_tost = len(one), np.nan
    if paired:
        one, other = one.align(other, join="inner")
        apart, n = one - other, len(one)
        effect, df, se = apart.mean(), n - 1, apart.std(ddof=1) / np.sqrt(n)
        p_tost = ttost_paired(one.to_numpy(), other.to_numpy(), -limit, limit)[0] if n > 1 else np.nan
    else:
        effect, df = one.mean() - other.mean(), n + len(other) - 2
        square = ((one - one.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum()
        se = np.sqrt(square / df * (1 / n + 1 / len(other))) if df else np.nan
    found = inference(effect, se, df, alpha)
    found = {name: float(found[name]) for name in "effect se df t p ci_low ci_high".split()}
    return found | {"margin": limit if paired else np.nan, "p_tost": p_tost, "n": n}


def cost_per_thousand(costs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per generator of a ``cost_table``: what a thousand valid triplets of it took.

    Columns: generator, asked, valid; tokens_in, tokens_out, seconds, cost per 1,000 valid (NaN where not measured);
    currency.
    """
    rows, measured = [], ["tokens_in", "tokens_out", "seconds", "cost"]
    for name, own in costs.groupby("generator", sort=False):
        asked, valid = own[["asked", "valid"]].sum()
        each = 1000 * own[measured].apply(pd.to_numeric).sum(skipna=False) / (valid or np.nan)
        rows.append({"generator": name, "asked": asked, "valid": valid, **each, "currency": own["currency"].iloc[0]})
    return pd.DataFrame(rows)
