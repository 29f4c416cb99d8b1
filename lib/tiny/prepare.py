"""Build the stand-ins that tiny parameters name (``lib.params.tiny``): models, data, evaluation sets."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lib.common.files import writing
from lib.params.tiny import HOME

if TYPE_CHECKING:
    from lib.params.params import Params


def prepare(params: Params) -> None:
    """Build the stand-ins that tiny parameters name and that are not there yet; return at once if there are none.

    Each is made once, whole or not at all, whichever process asks first, and always the same.
    """
    if not params.tiny:
        return
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GB that vLLM takes on a processor; its own default is 4
    missing = {path: make for path, make in _wanted(params).items() if not path.is_dir()}
    if not missing:
        return
    home = params.study_dir / HOME
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        with open(home / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for path, make in missing.items():
                _make_whole(path, make)


def _wanted(params: Params) -> dict[Path, Callable[[Path], None]]:
    """Return {folder: what builds it} of everything the parameters name below the stand-ins' folder."""
    home = params.study_dir / HOME
    makers = [(name, _model) for name in (params.model.name, params.generation.model, params.negatives.encoder)]
    makers += [
        (params.public.location, _public),
        (params.generation.location, partial(_released, params.generation.model)),
        (params.scoring.data_dir, partial(_suite, params.scoring.suite)),
    ]
    return {Path(place): make for place, make in makers if Path(place).parent == home}


def _make_whole(path: Path, make: Callable[[Path], None]) -> None:
    """Make a folder under another name and move it into its place, so that nobody ever sees half of it."""
    if path.is_dir():
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        unfinished = Path(folder) / path.name
        make(unfinished)
        os.replace(unfinished, path)


def _model(folder: Path) -> None:
    from lib.tiny.models import make

    make(folder)


def _public(folder: Path) -> None:
    from lib.tiny.data import write_public

    write_public(folder)


def _released(generator: str, folder: Path) -> None:
    from lib.tiny.data import write_released

    write_released(folder, generator)


def _suite(suite: str | list[str], folder: Path) -> None:
    from lib.tiny.suite import write

    write(folder, suite)
