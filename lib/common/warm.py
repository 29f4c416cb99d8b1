"""A warm start for the grid's many short notebooks.

On a laptop, importing torch, transformers, peft and mteb takes longer than training one small adapter, and a
grid pays it 65 times. So one process imports them once and every papermill run and every Jupyter kernel of the
grid is a fork of it: a fresh process in every other respect (``lib.grid.forking``). This file is its client, which
uses nothing but the standard library and starts in a few hundredths of a second:

    python -I lib/common/warm.py papermill ARGUMENTS...       as ``python -m papermill ARGUMENTS...``
    python -I lib/common/warm.py ipykernel ARGUMENTS...       as ``python -m ipykernel_launcher ARGUMENTS...``

Without a server (another machine, macOS, a dead server) the client simply runs the ordinary command.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "SYNFLUENCE_WARM"  # names the server's socket
QUIET = (
    "--IPKernelApp.log_level=50",
)  # no warning per kernel that its local connection is not encrypted, nor of its end
_MODULES = {"papermill": "papermill", "ipykernel": "ipykernel_launcher"}


# ── client ───────────────────────────────────────────────────────────────────────────────────────────────
def main(argv: list[str]) -> int:
    """Have the server run ``argv`` with our streams, folder and environment; return its exit code."""
    die_with_parent()
    path = os.environ.get(VARIABLE, "")
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        os.execv(sys.executable, [sys.executable, "-m", _MODULES[argv[0]], *argv[1:]])
    request = json.dumps({"argv": argv, "cwd": os.getcwd(), "env": dict(os.environ)}).encode() + b"\n"
    connection.sendmsg([request[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    connection.sendall(request[1:])
    for number in (signal.SIGINT, signal.SIGTERM):  # Jupyter interrupts a kernel, Snakemake stops a job
        signal.signal(number, lambda n, _: connection.sendall(bytes([n])))
    answer = connection.recv(1)
    return answer[0] if answer else 1


def die_with_parent(parent: int = 0) -> None:
    """Ask Linux to kill us when our parent dies: a grid that is killed leaves nothing running behind.

    ``parent`` is its process id, where it is known: it may have died before we could ask.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    if parent and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


# ── use ──────────────────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def server(environment: dict[str, str], modules: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Yield ``environment`` with a warm server behind it (unchanged where forking is not safe).

    A kernel specification that shadows ``python3`` sends papermill's kernels through the client as well. ``modules``
    are imported before the first request; none given: what the notebooks need.
    """
    if sys.platform != "linux":
        yield environment
        return
    with tempfile.TemporaryDirectory(prefix="synfluence-") as folder:
        path = os.path.join(folder, "socket")
        spec = {
            "argv": [sys.executable, "-I", __file__, "ipykernel", *QUIET, "-f", "{connection_file}"],
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "metadata": {"debugger": True},
        }
        kernel = Path(folder, "kernels", "python3", "kernel.json")
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps(spec))
        reading, writing = os.pipe()
        code = (
            f"from lib.grid import forking; server = forking.Server({path!r}, {reading}); "
            f"forking.preload({tuple(modules)!r}); server.serve()"
        )  # requests may queue meanwhile
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, pass_fds=[reading], cwd=folder)
        os.close(reading)
        _wait_for(path, process)
        jupyter_path = os.pathsep.join(filter(None, [folder, environment.get("JUPYTER_PATH")]))
        try:
            yield {**environment, VARIABLE: path, "JUPYTER_PATH": jupyter_path}
        finally:
            os.close(writing)
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:  # still importing: there was nothing to do, so it has no children
                process.kill()
                process.wait()


def _wait_for(path: str, process: subprocess.Popen) -> None:
    import time

    while not os.path.exists(path) and process.poll() is None:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
