"""The data that come with the kit, below ``lib/data``: where they are, and the reference tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib.common.files import KitError

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[2]  # the kit's folder
DATA = ROOT / "lib" / "data"


def shown(path: Path) -> str:
    """Return a path as people say it: below the kit's folder without that folder."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def model_place(name: str) -> str:
    """Return the full path of a model's folder that is named from the kit's folder; any other name as it is."""
    return str(ROOT / name) if name and (ROOT / name / "config.json").is_file() else name


def data_path(relative: str) -> Path:
    """Return the path of a bundled file or folder, such as ``classroom/suite``. Raises KitError when absent."""
    path = DATA / relative
    if not path.exists():
        raise KitError(f"the kit has no bundled data {relative!r}; look below {DATA} for what there is")
    return path


def reference(name: str) -> pd.DataFrame:
    """Return a bundled reference table: ``mteb_eng_v1_tasks`` or ``published_mteb_scores`` (papers' own numbers)."""
    import pandas as pd

    return pd.read_csv(data_path(f"reference/{name}.csv"))
