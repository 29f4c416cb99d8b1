"""The second study: the same parameters with fresh seeds in a run folder of its own, compared cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.common.files import KitError, write_text
from lib.grid.identity import stale
from lib.grid.results import score_files
from lib.params.params import Params, load

OFFSET = 1000  # the second study's seeds are the first one's plus this


def overrides_of(params: Params, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the overrides of the second study of ``params``: another run folder and seeds that the first never used."""
    step = OFFSET * (1 + max(params.study.seeds) // OFFSET)
    return {
        **overrides,
        "profile": f"{params.profile}-again",
        "study.seeds": [seed + step for seed in params.study.seeds],
    }


def replicate(
    profile: str, overrides: dict[str, Any], cores: int = 0, extra: Sequence[str] = (), cluster: str = ""
) -> list[str]:
    """Run the study of ``profile`` a second time and return sentences: what of it came back.

    ``replication.csv`` goes to the first study's figures, which are drawn again with both studies. Raises KitError where
    the first study is not finished, or the second has failures (what it has finished stays).
    """
    from lib.figures import report
    from lib.grid import run as grid
    from lib.influence.replication import compare, sentences

    first = load(profile, overrides)
    missing = any(not path.is_file() for path in (*score_files(first).values(), first.results_file))
    if missing or stale(first):
        raise KitError(
            f"the first study of {first.profile} is not finished; run `make reproduce` before `make replicate`"
        )
    again = overrides_of(first, overrides)
    second = load(profile, again)
    code = grid.run(second, profile, again, cores, extra, cluster)
    if code or not second.results_file.is_file():
        raise KitError(
            "\n".join(grid.failures(second)) or f"the second study stopped; see {second.run_dir / 'snakemake.log'}"
        )
    table = compare(first.results_file, second.results_file, first.influence)
    path = write_text(Path(first.figure_dir) / report.SECOND, table.to_csv(index=False, lineterminator="\n"))
    report.write_all(report.build(first.results_file, first.influence), first.figure_dir)
    return [*sentences(table), f"written to {path}; the figures show both studies now."]
