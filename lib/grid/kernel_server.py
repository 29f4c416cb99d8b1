"""The kernel server: one process imports what the notebooks need and forks a fresh process per request.

On a laptop, importing torch, transformers, peft and mteb takes longer than training one small adapter, and a grid pays
it 65 times. So one process imports them once, and every papermill run and every kernel is a fork of it. This file is
the client too, on the standard library alone, so that it starts in a few hundredths of a second:

    python -I lib/grid/kernel_server.py papermill ARGUMENTS...       as ``python -m papermill ARGUMENTS...``
    python -I lib/grid/kernel_server.py ipykernel ARGUMENTS...       as ``python -m ipykernel_launcher ARGUMENTS...``

Without a server (another machine, macOS, a dead server) it simply runs the ordinary command. A request is one line of
JSON (argv, cwd, env) with the client's three streams; the answer is one byte, the exit code. Bytes that the client
sends after its request are signals to pass on. Every process dies with the one that started it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

VARIABLE = "SYNFLUENCE_KERNELS"  # names the server's socket
PRELOAD = (
    "papermill.cli ipykernel.kernelapp matplotlib.pyplot pandas transformers.models.auto.modeling_auto "
    "transformers.models.auto.tokenization_auto transformers.models.bert.modeling_bert peft mteb sklearn.linear_model "
    "sklearn.cluster IPython.core.pylabtools matplotlib_inline.backend_inline"
).split()
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
    connection.sendall(request[socket.send_fds(connection, [request], [0, 1, 2]) :])
    for number in (signal.SIGINT, signal.SIGTERM):  # Jupyter interrupts a kernel, Snakemake stops a job
        signal.signal(number, lambda n, _: connection.sendall(bytes([n])))
    answer = connection.recv(1)
    return answer[0] if answer else 1


def die_with_parent(parent: int = 0) -> None:
    """Ask Linux to kill us when our parent dies: a grid that is killed leaves nothing running behind."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
        if parent and os.getppid() != parent:  # it died before we could ask
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def kernel_folder(*launcher: str) -> Iterator[str]:
    """Yield a JUPYTER_PATH whose kernel ``python3`` is started by ``python LAUNCHER...``, and does not warn."""
    spec = {
        "argv": [sys.executable, *launcher, "--IPKernelApp.log_level=50", "-f", "{connection_file}"],
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "metadata": {"debugger": True},
    }
    with tempfile.TemporaryDirectory(prefix="synfluence-") as folder:
        file = Path(folder, "kernels", "python3", "kernel.json")
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(spec))
        yield os.pathsep.join(filter(None, [folder, os.environ.get("JUPYTER_PATH")]))


@contextmanager
def kernel_server(environment: dict[str, str], modules: Sequence[str] = PRELOAD) -> Iterator[dict[str, str]]:
    """Yield ``environment`` with a kernel server behind it (unchanged where forking is not safe)."""
    if sys.platform != "linux":
        yield environment
        return
    with kernel_folder("-I", __file__, "ipykernel") as jupyter_path, tempfile.TemporaryDirectory() as home:
        path, (reading, writing) = os.path.join(home, "socket"), os.pipe()
        code = f"from lib.grid.kernel_server import serve; serve({path!r}, {reading}, {tuple(modules)!r})"
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, pass_fds=[reading], cwd=home)
        os.close(reading)
        while not os.path.exists(path) and process.poll() is None:
            time.sleep(0.05)
        try:
            yield {**environment, VARIABLE: path, "JUPYTER_PATH": jupyter_path}
        finally:
            os.close(writing)
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:  # still importing: there was nothing to do, so it has no children
                process.kill()
                process.wait()


def serve(path: str, lifeline: int, modules: Sequence[str] = ()) -> None:
    """Import ``modules`` (a missing one is left to the notebooks), then answer until ``lifeline`` reads end of file."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    for name in modules:
        with suppress(ImportError):
            __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    server = os.getpid()
    while lifeline not in select.select([listener, lifeline], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            try:
                die_with_parent(server)
                listener.close()
                _answer(connection, lifeline)
            finally:
                os._exit(1)
        connection.close()
    with suppress(ChildProcessError):  # until those that answer have ended what they started
        os.wait()


def _answer(connection: socket.socket, lifeline: int) -> None:
    """Fork for one request, pass signals on to it, and answer with its exit code."""
    message, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while b"\n" not in message:
        block = connection.recv(1 << 16)
        if not block:
            return  # the client went away in the middle of its request
        message += block
    request, _, signals = message.partition(b"\n")
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only to write into the pipe that select watches
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        die_with_parent(parent)
        connection.close()
        os.close(lifeline)
        _become(json.loads(request), streams)
    for stream in streams:
        os.close(stream)
    while True:
        for number in signals:
            os.kill(pid, number)
        signals, ready = b"", select.select([connection, wake, lifeline], [], [])[0]
        if lifeline in ready:  # the grid is gone: what a kernel has started goes with it, as below
            return os.killpg(pid, signal.SIGKILL)
        if wake in ready:
            os.read(wake, 4096)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
        elif not (signals := connection.recv(16)):  # a client that is gone takes its process, and its group, along
            return os.killpg(pid, signal.SIGKILL)


def _become(request: dict, streams: list[int]) -> None:
    """Become the requested process; never returns."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        _run(request["argv"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


def _run(argv: list[str]) -> None:
    """Run papermill's command line or a kernel."""
    import random

    import numpy

    random.seed()
    numpy.random.seed()
    sys.argv, sys.path[0] = list(argv), ""
    if argv[0] == "ipykernel":
        from ipykernel.kernelapp import IPKernelApp

        return IPKernelApp.launch_instance(argv[1:])
    from papermill.cli import papermill

    # Again when the kernel did not start, which is before anything was done: Jupyter looks for free ports and leaves it
    # to the kernel to take them, so of two that start at once, one may lose.
    for _ in range(2):
        try:
            return papermill(argv[1:])
        except RuntimeError as error:
            if "before replying to kernel_info" not in str(error):
                raise
    papermill(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
