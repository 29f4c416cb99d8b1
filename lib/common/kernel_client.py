"""The client of the kernel server: started in the place of papermill, and by papermill in the place of a kernel.

On a laptop, importing torch, transformers, peft and mteb takes longer than training one small adapter, and a grid pays
it 65 times. So one process imports them once, and every papermill run and every kernel is a fork of it
(``lib.grid.kernel_server``). This file uses the standard library only and starts in a few hundredths of a second:

    python -I lib/common/kernel_client.py papermill ARGUMENTS...       as ``python -m papermill ARGUMENTS...``
    python -I lib/common/kernel_client.py ipykernel ARGUMENTS...       as ``python -m ipykernel_launcher ARGUMENTS...``

Without a server (another machine, macOS, a dead server) it simply runs the ordinary command.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys

VARIABLE = "SYNFLUENCE_KERNELS"  # names the server's socket
_MODULES = {"papermill": "papermill", "ipykernel": "ipykernel_launcher"}


def main(argv: list[str]) -> int:
    """Have the server run ``argv`` with our streams, folder and environment; return its exit code."""
    die_with_parent()
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(os.environ.get(VARIABLE, ""))
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
