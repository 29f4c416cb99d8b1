"""Build the stand-ins that tiny parameters name (``lib.params.tiny``): models, data, evaluation sets."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lib.common.files import writing
from lib.params.params import Params
from lib.params.tiny import HOME
from lib.tiny.data import write_public, write_released
from lib.tiny.models import make
from lib.tiny.suite import write_suite


def prepare(params: Params) -> None:
    """Build the stand-ins that tiny parameters name and that are not there yet; return at once if there are none.

    Each is made once, whole or not at all, whichever process asks first, and always the same.
    """
    if not params.tiny:
        return
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GB that vLLM takes on a processor; its own default is 4
    missing = {path: make_it for path, make_it in _wanted(params).items() if not path.is_dir()}
    if not missing:
        return
    home = params.study_dir / HOME
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        with open(home / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for path, make_it in missing.items():
                _make_whole(path, make_it)


def _wanted(params: Params) -> dict[Path, Callable[[Path], None]]:
    """Return {folder: what builds it} of everything the parameters name below the stand-ins' folder."""
    makers = {
        params.model.name: make,
        params.generation.model: make,
        params.negatives.encoder: make,
        params.public.location: write_public,
        params.generation.location: partial(write_released, generator=params.generation.model),
        params.scoring.data_dir: partial(write_suite, suite=params.scoring.suite),
    }
    home = params.study_dir / HOME
    return {Path(place): maker for place, maker in makers.items() if Path(place).parent == home}


def _make_whole(path: Path, make_it: Callable[[Path], None]) -> None:
    """Make a folder under another name and move it into its place, so that nobody ever sees half of it."""
    if path.is_dir():  # another process was first
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        unfinished = Path(folder) / path.name
        make_it(unfinished)
        os.replace(unfinished, path)
