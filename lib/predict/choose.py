"""Choose a mixture by one part of the evidence and judge it by another, so that its gain is no luck of the choice.

What a strategy would have used where is an array of weights like the scores, which it multiplies. Given the choice, a
gain is linear in the scores, and its variance over runs w'Cw, with C the covariance of the sets within a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtridf

from lib.common.files import KitError
from lib.influence.effects import Variances
from lib.influence.influence import without_excluded
from lib.influence.power import detectable_ratio
from lib.influence.regression import margin
from lib.influence.scores import read, study
from lib.influence.tables import complete

# Seeds take turns in choosing and judging. Among k equal candidates the gains of two turns then correlate by
# m^2 / 2(k - 1), with m the mean of the largest of k normal numbers: at most 0.18. So much is added to the variance.
TURNS = 1.2
ALPHA = 0.05  # of every interval
GUESS = ["se_runs", "low_runs", "high_runs", "se", "low", "high", "p", "df"]


@dataclass(frozen=True)
class Scored:
    """Scores of candidates, with the error of a run."""

    names: tuple[str, ...]
    x: np.ndarray  # (candidates, categories) 0/1
    tasks: tuple[str, ...]
    types: tuple[str, ...]
    y: np.ndarray  # (candidates, seeds, sets) in points
    cov: np.ndarray  # (sets, sets) covariance of the scores within a run
    df: int  # its degrees of freedom
    menu: int  # the first so many candidates are the subsets of the study, the others merged adapters
    seeds: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()  # of the categories

    def only(self, name: str) -> np.ndarray:
        """Return the weights of one candidate, its seeds alike, (candidates, seeds, sets). KitError if unknown."""
        if name not in self.names:
            raise KitError(f"there are no scores of {name}, only of {', '.join(self.names)}; run `make improve`")
        return np.zeros_like(self.y) + (np.array(self.names) == name)[:, None, None] / self.y.shape[1]

    @property
    def corners(self) -> tuple[int, int]:
        """The places of the subset of no category and of that of all. Raises KitError where one was not run."""
        size = self.x[: self.menu].sum(axis=1)
        if size.min() > 0 or size.max() < self.x.shape[1]:
            raise KitError("a gain is over none or over all; score the runs of these two subsets first")
        return int(size.argmin()), int(size.argmax())

    @property
    def strategies(self) -> list[str]:
        """What ``choose`` can do with these candidates."""
        return ["predicted", "measured", "routed"] + ["merged"] * (len(self.names) > self.menu)

    @property
    def by_seed(self) -> np.ndarray:
        """``y`` as (seeds, candidates, sets)."""
        return np.ascontiguousarray(self.y.swapaxes(0, 1))

    @property
    def held(self) -> np.ndarray:
        """(candidates,) which of them have two categories or more: no prediction has seen these models."""
        return self.x.sum(axis=1) > 1

    def others(self, place: int) -> np.ndarray:
        """(candidates, sets) mean scores of all seeds but one; with a single seed its own."""
        return np.delete(self.by_seed, place, axis=0).mean(axis=0) if self.y.shape[1] > 1 else self.y[:, 0]


def scored(scores, exclude: Sequence[str] = (), merged: pd.DataFrame | None = None) -> Scored:
    """Return the ``Scored`` of results (path or table) and of rows of ``merged`` adapters: the sets of every run."""
    data = study(without_excluded(read(scores), exclude)[0])
    whole, runs = complete(data.y), data.runs.drop_duplicates("subset")
    tasks, types = np.array(data.tasks)[whole], np.array(data.types)[whole]
    wide = pd.DataFrame(100 * data.y[:, whole], pd.MultiIndex.from_frame(data.runs[["subset", "seed"]]), tasks)
    found = _scored(wide, types, runs["subset"], runs[list(data.factors)].to_numpy(float), data.factors)
    if merged is None:
        return found
    other = arranged(merged, found.tasks)
    if (here := other.y.shape[1]) != (there := found.y.shape[1]):
        raise KitError(f"{here} seeds are merged, and the study has {there}; run `make improve` again")
    x = np.vstack([found.x, np.ones((len(other.names), found.x.shape[1]))])
    return replace(found, names=found.names + other.names, x=x, y=np.concatenate([found.y, other.y]))


def arranged(table: pd.DataFrame, tasks: Sequence[str] = ()) -> Scored:
    """Return the ``Scored`` of rows ``subset, seed, task, type, score`` of any mixtures, sets as in ``tasks``."""
    wide = 100 * table.pivot(index=["subset", "seed"], columns="task", values="score")
    wide = wide.reindex(columns=list(tasks or wide.columns)).dropna()
    names, types = table["subset"].unique(), table.drop_duplicates("task").set_index("task")["type"][wide.columns]
    return _scored(wide, types, names, np.zeros((len(names), 0)))


def _scored(wide: pd.DataFrame, types: Sequence[str], names: Sequence[str], x: np.ndarray, codes=()) -> Scored:
    """Scores (index subset and seed, columns sets) as a block of the seeds that all ``names`` have."""
    seeds = [seed for seed in sorted(set(wide.index.levels[1])) if all((name, seed) in wide.index for name in names)]
    if not seeds:
        raise KitError("no seed has every mixture's scores on every set; finish `make reproduce`, or `make improve`")
    y = wide.loc[[(name, seed) for name in names for seed in seeds]].to_numpy().reshape(len(names), len(seeds), -1)
    seeds = tuple(map(int, seeds))
    return Scored(tuple(names), x, tuple(wide.columns), tuple(types), y, *error(y, x), len(names), seeds, codes)


def error(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the covariance (sets, sets) of what candidate and seed (with one seed: main effects) leave, and its df."""
    candidates, seeds, sets = y.shape
    if seeds > 1:
        rest, df = y - y.mean(axis=1, keepdims=True), (candidates - 1) * (seeds - 1)
        rest = (rest - rest.mean(axis=0)).reshape(-1, sets)
    else:
        design = np.column_stack([np.ones(candidates), x])
        rest, df = y[:, 0] - design @ np.linalg.lstsq(design, y[:, 0])[0], candidates - np.linalg.matrix_rank(design)
    return (rest.T @ rest / df if df else np.full((sets, sets), np.nan)), int(df)


def halves(types: Sequence[str], seed: int = 0) -> np.ndarray:
    """Return a random half of the sets as a mask (sets,): half of every type, odd ones to either side in turn."""
    random, kinds = np.random.default_rng(seed), np.array(types)
    half, extra = np.zeros(len(kinds), bool), int(random.integers(2))
    for kind in sorted(set(types)):
        own = random.permutation(np.flatnonzero(kinds == kind))
        half[own[: (len(own) + extra) // 2]] = True
        extra = (extra + len(own)) % 2
    return half


def additive(scores: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return (subsets, sets) from five trainings of it: none + the sum of (single - none) over the categories."""
    none = scores[x.sum(axis=1) == 0][0]
    singles = [scores[(x == row).all(axis=1)][0] for row in np.eye(x.shape[1])]
    return none + x @ (np.array(singles) - none)


def choose(s: Scored, how: str, mean: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return a strategy's candidates (choices, sets), where ``mean`` (candidates, sets) is ``seen`` (choices, sets).

    ``predicted``: the subset whose score, added up from none and the singles, is highest; ``measured``: the subset with
    the highest mean; ``routed``: that for each type by itself (of all sets where it saw none of the type); ``merged``.
    """
    score = mean @ seen.T / seen.sum(axis=1)  # (candidates, choices)
    subsets = score[: s.menu]
    if how == "predicted":
        subsets = additive(subsets, s.x[: s.menu])
    best = s.menu + score[s.menu :].argmax(axis=0) if how == "merged" else subsets.argmax(axis=0)
    picks = np.repeat(best[:, None], seen.shape[1], axis=1)
    for kind in set(s.types) if how == "routed" else ():
        own = np.array(s.types) == kind
        best = (mean[: s.menu, own] @ seen[:, own].T).argmax(axis=0)
        picks[:, own] = np.where(seen[:, own].any(axis=1, keepdims=True), best[:, None], picks[:, own])
    return picks


def weights(s: Scored, how: str, splits: int = 50, sets: str = "other", runs: str = "other") -> np.ndarray:
    """Return what a strategy would have used, (candidates, seeds, sets), over random splits and all seeds.

    It is chosen on half of the sets and on all seeds but one, and used on the ``other`` half and the other seed, then
    the reverse (``same``: used where it was chosen). With one seed, choice and judgement share the runs.
    """
    half, w = np.array([halves(s.types, split) for split in range(splits)]), np.zeros_like(s.y)
    seen = np.vstack([half, ~half])
    choice, at = np.nonzero(~seen if sets == "other" else seen)
    for seed in range(s.y.shape[1]):
        picks = choose(s, how, s.others(seed), seen)[choice, at]
        for row in [seed] if runs == "other" or s.y.shape[1] == 1 else set(range(s.y.shape[1])) - {seed}:
            np.add.at(w, (picks, row, at), 1.0)
    return w / w.sum(axis=(0, 1))


def gain(s: Scored, g: np.ndarray, kind: str = "", turns: float = 1.0) -> dict:
    """Return the gain in points of the difference ``g`` of two arrays of weights, on the sets of a type ("" for all).

    ``se_runs, low_runs, high_runs``: would these sets gain again? ``se, low, high, p, df``: would others of their kind?
    ``worst_null``: the mean of ``worst`` if nothing did anything. ``turns`` multiplies the variance over runs.
    """
    at = np.flatnonzero([kind in ("", one) for one in s.types])
    g, n = g[:, :, at], len(at)
    d, cov = (g * s.y[:, :, at]).sum(axis=(0, 1)), turns * np.tensordot(g, g, ((0, 1), (0, 1))) * s.cov[np.ix_(at, at)]
    mean, runs, each = d.mean(), cov.sum() / n**2, np.trace(cov) / n
    half, crossed = margin(np.sqrt(runs), s.df), [np.nan] * 5
    if n > 1 and runs > 0:
        parts = runs, d.var(ddof=1) / n, (each - runs) / (n - 1)
        both = Variances(d[None], *(np.array([part]) for part in parts), s.df, n - 1)
        se, bar = both.se()[0], both.bar(ALPHA)[0]
        crossed = [se, mean - bar * se, mean + bar * se, both.p()[0], float(stdtridf(1 - ALPHA / 2, bar))]
    guess = dict(zip(GUESS, [np.sqrt(runs), mean - half, mean + half, *crossed], strict=True))
    least = np.random.default_rng(0).normal(size=(1000, n)).min(axis=1).mean()
    worst = {"worst_set": s.tasks[at[d.argmin()]], "worst": d.min(), "worst_null": np.sqrt(each) * least}
    return {"sets": n, "gain": mean, **guess, **worst}


def gains_table(s: Scored, used: Mapping[str, tuple[np.ndarray, float]]) -> pd.DataFrame:
    """Return ``gain`` of {strategy: (weights, turns)} over all and over none, for all sets (type "") and by type.

    ``detectable``: with probability 0.8. The oracle, best in hindsight, has no interval: what chose it measures it.
    """
    rows = [
        {"strategy": how, "against": other, "type": kind, **gain(s, w - used[other][0], kind, turns)}
        for other in ("all", "none")
        for how, (w, turns) in used.items()
        for kind in ("", *dict.fromkeys(s.types))
        if how != other
    ]
    table = pd.DataFrame(rows)
    table.loc[table["strategy"] == "oracle", GUESS] = np.nan
    ratio = {df: detectable_ratio(df) for df in table["df"].dropna().unique()}
    table["detectable"] = table["se"] * table["df"].map(ratio)
    return table.assign(detectable_runs=table["se_runs"] * detectable_ratio(s.df))


def compare(s: Scored, splits: int = 50) -> pd.DataFrame:
    """Return ``gains_table`` of every strategy that needs no fresh run."""
    none, full = s.corners
    fixed = {"none": none, "all": full, "oracle": s.y[: s.menu].mean(axis=(1, 2)).argmax()}
    used = {name: (s.only(s.names[place]), 1.0) for name, place in fixed.items()}
    return gains_table(s, used | {how: (weights(s, how, splits), TURNS) for how in s.strategies})


def curse(s: Scored, splits: int = 50) -> pd.DataFrame:
    """Return the gain over all of every strategy where it was chosen ("same": with luck) and elsewhere ("other")."""
    full, places = s.only(s.names[s.corners[1]]), ("same", "other")
    cells = [(how, a, b) for how in s.strategies for a in places for b in places[: s.y.shape[1]]]
    rows = [gain(s, weights(s, how, splits, a, b) - full, "", TURNS) for how, a, b in cells]
    return pd.DataFrame(cells, columns=["strategy", "judged_sets", "judged_runs"]).join(pd.DataFrame(rows))
