"""Where things are and run: the kit's folder, bundled data, models, whether the hub answers, terminal or notebook."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import getproxies

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[2]  # the kit's folder
DATA = ROOT / "lib" / "data"
HUB_PATIENCE = 2.0  # seconds: offline is found out once, here, and not after every file's own retries
_LOST = {"ConnectionError", "TimeoutError", "Timeout", "TransportError", "MaxRetryError"}  # of requests, httpx, urllib3


def shown(path: Path) -> str:
    """Return a path as people say it: below the kit's folder without that folder."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def model_place(name: str) -> str:
    """Return the full path of a model's folder that is named from the kit's folder; any other name as it is."""
    return str(ROOT / name) if name and (ROOT / name / "config.json").is_file() else name


def data_path(relative: str) -> Path:
    """Return the path of a bundled file or folder, such as ``classroom/suite``."""
    return DATA / relative


def reference(name: str) -> pd.DataFrame:
    """Return a bundled reference table: ``mteb_eng_v1_tasks`` or ``published_mteb_scores`` (papers' own numbers)."""
    import pandas as pd

    return pd.read_csv(data_path(f"reference/{name}.csv"))


def hub_address() -> str:
    """Return the hub's address, as the hub's own library takes it from the environment."""
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


@cache
def online() -> bool:
    """Say whether the hub answers within HUB_PATIENCE and HF_HUB_OFFLINE is off; asked once per process."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    address = urlparse(hub_address())
    proxy = urlparse(getproxies().get(address.scheme, ""))
    target = proxy if proxy.hostname else address
    port = target.port or (80 if target.scheme == "http" else 443)

    def connects() -> bool:
        socket.create_connection((target.hostname, port), HUB_PATIENCE).close()
        return True

    return in_time(connects, HUB_PATIENCE)


def in_time(question: Callable[[], bool], patience: float) -> bool:
    """Ask in a thread, as a name look-up that hangs cannot be stopped; no answer in time, or an error, is no."""
    answer = [False]

    def ask() -> None:
        with suppress(Exception):  # whatever a broken network raises means the same here: no answer
            answer[0] = question()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return answer[0]


def went_away(error: BaseException | None) -> bool:
    """Say whether an error, or one behind it, is that of a connection that could not be made or was lost."""
    while error is not None:
        if _LOST & {kind.__name__ for kind in type(error).__mro__}:
            return True
        error = error.__cause__ or error.__context__
    return False


def bar(*args, **options):
    """Return a tqdm bar; the arguments are tqdm's. A notebook paints the error stream red, so there it is the other."""
    from tqdm import tqdm

    return tqdm(*args, file=sys.stdout if _in_a_kernel() else None, **options)


def wipe() -> bool:
    """Clear a notebook cell's output, in which each step of a bar would be saved; say whether there was one."""
    if inside := _in_a_kernel():
        from IPython.display import clear_output

        clear_output()
    return inside


def _in_a_kernel() -> bool:
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")
