"""Did a run reproduce the committed study? Its effects and verdicts beside those in ``figures/<profile>``.

Other processors round otherwise, so equal bytes are not asked for: a run has reproduced when every verdict is the same
and no effect moved by more than a share of its own standard error over runs.
"""

from __future__ import annotations

from pathlib import Path

from lib.common.bundled import ROOT

NOISE = 1.0  # standard errors that an effect may move and still count as the same
_KEYS = ["type", "factor"]


def compare(fresh: Path, committed: Path) -> list[str]:
    """Return what a user is told about the figures of ``fresh`` beside those of ``committed``.

    Nothing is said (an empty list) where one of the two has no effects, as on a profile that was never published.
    """
    import pandas as pd

    files = [folder / name for folder in (fresh, committed) for name in ("influence.csv", "claims.csv")]
    if not all(path.is_file() for path in files):
        return []
    new, new_claims, old, old_claims = (pd.read_csv(path) for path in files)
    both = old.merge(new, on=_KEYS, suffixes=("_old", "_new"))
    if len(both) != len(old) or len(new) != len(old):
        return [f"Not comparable with {_shown(committed)}: other categories or task types."]
    moved = (both["effect_new"] - both["effect_old"]).abs()
    share = (moved / both["se_old"]).fillna(moved.where(moved == 0, float("inf")))
    at = share.idxmax()
    where = f"{both['factor'][at]} on {both['type'][at]}"
    verdicts = (
        old_claims.set_index("id")["verdict"].to_frame("old").join(new_claims.set_index("id")["verdict"], how="outer")
    )
    turned = verdicts[verdicts["old"] != verdicts["verdict"]]
    good = share[at] <= NOISE and turned.empty
    lines = [
        f"{'Reproduced' if good else 'NOT reproduced'}: against {_shown(committed)}, the effect that moved most is "
        f"{where}, by {moved[at]:.3f} points or {share[at]:.2f} of its standard error ({both['se_old'][at]:.2f})."
    ]
    lines += (
        [f"All {len(verdicts)} verdicts are the same."]
        if turned.empty
        else [f"Verdict changed: {row.Index}, {row.old} -> {row.verdict}." for row in turned.itertuples()]
    )
    return lines


def sentences(fresh: Path, profile: str) -> list[str]:
    """Compare a run's figures with the committed ones of its profile, see ``compare``."""
    return compare(fresh, ROOT / "figures" / profile)


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
