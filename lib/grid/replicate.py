"""Does it come back? A run beside the committed figures, and a second study with fresh seeds beside the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.common.bundled import ROOT, shown
from lib.common.design import CROSSED, FACTORIAL, GENERATORS, ISOLATION
from lib.common.files import KitError, write_text
from lib.grid.failures import failures
from lib.grid.identity import stale
from lib.grid.jobs import stage_files
from lib.grid.run import run
from lib.params.overrides import flat
from lib.params.params import Params, load

OFFSET = 1000  # the second study's seeds are the first one's plus this
EFFECTS = {  # per design: the table whose effects are compared, and what tells them apart
    FACTORIAL: ("influence.csv", ["type", "factor"]),
    ISOLATION: ("alone.csv", ["public", "task", "type", "level", "factor"]),
    CROSSED: ("crossed.csv", ["type", "term"]),
    GENERATORS: ("generators.csv", ["against", "task", "type", "level", "generator"]),
}
NOISE = 1.0  # standard errors that an effect may move and still count as the same


def replicate(
    profile: str, overrides: dict[str, Any], cores: int = 0, extra: Sequence[str] = (), cluster: str = ""
) -> list[str]:
    """Run the study of ``profile`` a second time and return sentences: what of it came back.

    ``replication.csv`` goes to the first study's figures, which are drawn again with both studies. Raises KitError
    where the first study is not finished, or the second has failures (what it has finished stays).
    """
    from lib.figures import report
    from lib.influence.influence import analyse, compare, sentences

    first = load(profile, overrides)
    results = [*stage_files(first)["score"].values(), first.results_file]
    if not all(path.is_file() for path in results) or stale(first):
        raise KitError(
            f"the first study of {first.profile} is not finished; run `make reproduce` before `make replicate`"
        )
    again = overrides_of(first, overrides)
    second = load(profile, again)
    code = run(second, profile, again, cores, extra, cluster)
    if code or not second.results_file.is_file():
        raise KitError(
            "\n".join(failures(second)) or f"the second study stopped; see {second.run_dir / 'snakemake.log'}"
        )
    table = compare(*(analyse(each.results_file, first.influence) for each in (first, second)))
    path = write_text(Path(first.figure_dir) / report.SECOND, table.to_csv(index=False, lineterminator="\n"))
    report.write_all(report.build(first.results_file, first.influence), first.figure_dir)
    return [*sentences(table), f"written to {path}; the figures show both studies now."]


def overrides_of(params: Params, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the overrides of the second study: another run folder, and seeds that the first never used."""
    step = OFFSET * (1 + max(params.study.seeds) // OFFSET)
    seeds = [seed + step for seed in params.study.seeds]
    return {**flat(Params, overrides), "profile": f"{params.profile}-again", "study.seeds": seeds}


def compare_profiles(profile: str, other: str, overrides: dict[str, Any]) -> list[str]:
    """Draw the influences of two profiles' studies beside each other and return sentences: what they agree on.

    ``other`` is read as it stands; ``overrides`` are those of ``profile``. ``models.{png,svg,csv}`` go to the figures
    of ``profile``. Raises KitError where one of the studies has no results yet, or they have other sets.
    """
    from lib.figures.base import save
    from lib.figures.replication import replication
    from lib.influence.influence import analyse, ceilings, compare, sentences

    both = load(other), load(profile, overrides)
    for params in both:
        if not params.results_file.is_file():
            raise KitError(f"{shown(params.results_file)} is not there; run `make reproduce PROFILE={params.profile}`")
    studies = [analyse(params.results_file, params.influence) for params in both]
    table, most = compare(*studies), ceilings(*studies)
    names = tuple(f"the {params.profile}'s study" for params in both)
    save(*replication(table, names, most), "models", both[1].figure_dir)
    told = [f"First study: {other}; second: {profile}.", *sentences(table)]
    return told + [f"Largest correlation to be expected, {level}: {r:.2f}." for level, r in most.items() if r == r]


def reproduced(fresh: Path, committed: Path, design: str = FACTORIAL) -> list[str]:
    """Return what a user is told about the figures of ``fresh`` beside those of ``committed``.

    Other processors round otherwise, so equal bytes are not asked for: a run has reproduced when every verdict is the
    same and no effect moved by more than ``NOISE`` of its own standard errors over runs. Nothing is said (an empty
    list) where one of the two has no effects, as on a profile that was never published.
    """
    import pandas as pd

    name, keys = EFFECTS[design]
    files = [folder / file for folder in (fresh, committed) for file in (name, "claims.csv")]
    if not all(path.is_file() for path in files):
        return []
    new, new_claims, old, old_claims = (pd.read_csv(path, keep_default_na=False, na_values="") for path in files)
    both = old.merge(new, on=keys, suffixes=("_old", "_new"))
    if len(both) != len(old) or len(new) != len(old):
        return [f"Not comparable with {shown(committed)}: other categories or task types."]
    moved = (both["effect_new"] - both["effect_old"]).abs()
    share = (moved / both["se_old"]).fillna(moved.where(moved == 0, float("inf")))
    at = share.idxmax()
    cell = " on ".join(str(both[key][at]) for key in keys[::-1] if isinstance(both[key][at], str))
    verdicts = old_claims[["id", "verdict"]].merge(
        new_claims[["id", "verdict"]], on="id", how="outer", suffixes=("_old", "_new")
    )
    turned = verdicts[verdicts["verdict_old"] != verdicts["verdict_new"]]
    word = "Reproduced" if share[at] <= NOISE and turned.empty else "NOT reproduced"
    first = (
        f"{word}: against {shown(committed)}, the effect that moved most is {cell}"
        f", by {moved[at]:.3f} points or {share[at]:.2f} of its standard error ({both['se_old'][at]:.2f})."
    )
    if turned.empty:
        return [first, f"All {len(verdicts)} verdicts are the same."]
    return [
        first,
        *(f"Verdict changed: {row.id}, {row.verdict_old} -> {row.verdict_new}." for row in turned.itertuples()),
    ]


def reproduced_profile(params: Params) -> list[str]:
    """Compare a run's figures with the committed ones of its profile, see ``reproduced``."""
    committed = f"{params.profile}{'' if params.study.design == FACTORIAL else f'-{params.study.design}'}"
    return reproduced(params.figure_dir, ROOT / "figures" / committed, params.study.design)
