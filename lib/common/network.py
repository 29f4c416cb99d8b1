"""Is the hub there? Asked once per process and never for longer than a moment."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from functools import cache
from urllib.parse import urlparse

HUB_PATIENCE = 2.0  # seconds: offline is found out once, here, and not after every file's own retries
_LOST = {
    "ConnectionError",
    "TimeoutError",
    "Timeout",
    "TransportError",
    "MaxRetryError",
}  # Python, requests, httpx, urllib3


@cache
def online(seconds: float = HUB_PATIENCE) -> bool:
    """Say whether the hub can be reached; asked once per process, in at most ``seconds`` (a name may take longer)."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    address = urlparse(hub_address())
    names = (f"{address.scheme}_proxy", f"{address.scheme.upper()}_PROXY")
    proxy = urlparse(next((os.environ[name] for name in names if os.environ.get(name)), ""))
    target = proxy if proxy.hostname else address
    port = target.port or (80 if target.scheme == "http" else 443)
    try:
        socket.create_connection((target.hostname, port), seconds).close()
    except OSError:
        return False
    return True


def hub_address() -> str:
    """Return the hub's address, as the hub's own library takes it from the environment."""
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def hub_reachable() -> bool:
    """Does the hub answer within HUB_PATIENCE seconds (and is it not switched off by HF_HUB_OFFLINE)?"""
    return in_time(online, HUB_PATIENCE)


def in_time(question: Callable[[], bool], patience: float) -> bool:
    """Run a question in a thread and count no answer within ``patience`` seconds, or any error, as no.

    A look-up of a name that hangs cannot be stopped in any other way.
    """
    answer: list[bool] = []

    def ask() -> None:
        try:
            answer.append(question())
        except Exception:  # whatever a broken network raises means the same here: no answer
            answer.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return bool(answer and answer[0])


def went_away(error: BaseException | None) -> bool:
    """Say whether an error, or one behind it, is that of a connection that could not be made or was lost."""
    while error is not None:
        if _LOST & {kind.__name__ for kind in type(error).__mro__}:
            return True
        error = error.__cause__ or error.__context__
    return False
