"""A warm start for the grid's many short notebooks.

On a laptop, importing torch, transformers, peft and mteb takes longer than training one small adapter, and a
grid pays it 65 times. So one process imports them once and every papermill run and every Jupyter kernel of the
grid is a fork of it: a fresh process in every other respect. The same file is the client, which uses nothing but
the standard library and starts in a few hundredths of a second:

    python -I lib/grid/warm.py papermill ARGUMENTS...       as ``python -m papermill ARGUMENTS...``
    python -I lib/grid/warm.py ipykernel ARGUMENTS...       as ``python -m ipykernel_launcher ARGUMENTS...``

Without a server (another machine, macOS, a dead server) the client simply runs the ordinary command.
"""

from __future__ import annotations

import array
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "SYNFLUENCE_WARM"  # names the server's socket
_MODULES = {"papermill": "papermill", "ipykernel": "ipykernel_launcher"}
PRELOAD = ("papermill.cli", "ipykernel.kernelapp", "matplotlib.pyplot", "pandas",
           "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto",
           "transformers.models.bert.modeling_bert", "peft", "mteb", "sklearn.linear_model",
           "sklearn.cluster", "IPython.core.pylabtools", "matplotlib_inline.backend_inline")


# ── client ───────────────────────────────────────────────────────────────────────────────────────────────
def main(argv: list[str]) -> int:
    """Have the server run ``argv`` with our streams, folder and environment; return its exit code."""
    path = os.environ.get(VARIABLE, "")
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        os.execv(sys.executable, [sys.executable, "-m", _MODULES[argv[0]], *argv[1:]])
    die_with_parent()
    request = json.dumps({"argv": argv, "cwd": os.getcwd(), "env": dict(os.environ)}).encode() + b"\n"
    connection.sendmsg([request[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    connection.sendall(request[1:])
    for number in (signal.SIGINT, signal.SIGTERM):  # Jupyter interrupts a kernel, Snakemake stops a job
        signal.signal(number, lambda n, _: connection.sendall(bytes([n])))
    answer = connection.recv(1)
    return answer[0] if answer else 1


def die_with_parent() -> None:
    """Ask Linux to kill us when our parent dies: a grid that is killed leaves nothing running behind."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG


# ── server ───────────────────────────────────────────────────────────────────────────────────────────────
class Server:
    """Forks one child per request. Ends, and ends its children, when ``lifeline`` reads end of file."""

    def __init__(self, path: str, lifeline: int) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        self.lifeline = lifeline
        self.children: dict[int, socket.socket] = {}
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Answer requests until the lifeline is cut."""
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for source in (self.listener, self.lifeline, wake):
            self.selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == self.lifeline:
                    return self.stop()
                if key.fileobj == wake:
                    os.read(wake, 4096)
                    self.reap()
                elif key.fileobj is self.listener:
                    self.accept()
                else:
                    self.forward(key.fileobj, key.data)

    def stop(self) -> None:
        """Kill every child and its descendants' group."""
        for pid in self.children:
            _kill(pid, signal.SIGKILL)

    def accept(self) -> None:
        """Read one request and fork for it."""
        connection, _ = self.listener.accept()
        message, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(12))
        if not message or not ancillary:
            return connection.close()
        streams = list(array.array("i", ancillary[0][2]))
        with connection.makefile("rb", buffering=0) as reader:
            request = json.loads(message + _line(reader))
        pid = os.fork()
        if pid == 0:
            self.selector.close()
            self.listener.close()
            os.close(self.lifeline)
            connection.close()
            for other in self.children.values():
                other.close()
            _child(request, streams)
        for stream in streams:
            os.close(stream)
        self.children[pid] = connection
        self.selector.register(connection, selectors.EVENT_READ, pid)

    def forward(self, connection: socket.socket, pid: int) -> None:
        """Pass a signal on to a child; a client that is gone takes its child with it."""
        try:
            number = connection.recv(1)
        except OSError:
            number = b""
        if pid in self.children:
            _kill(pid, number[0] if number else signal.SIGKILL, group=not number)
        if not number:
            self.selector.unregister(connection)

    def reap(self) -> None:
        """Report the exit codes of children that have ended."""
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            connection = self.children.pop(pid, None)
            if connection is None:
                continue
            try:
                connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
            except OSError:
                pass
            if connection.fileno() in self.selector.get_map():
                self.selector.unregister(connection)
            connection.close()


def _line(reader) -> bytes:
    content = bytearray()
    while not content.endswith(b"\n"):
        block = reader.read(1 << 16)
        if not block:
            raise EOFError("a client went away in the middle of its request")
        content += block
    return bytes(content)


def _kill(pid: int, number: int, group: bool = True) -> None:
    try:
        (os.killpg if group else os.kill)(pid, number)
    except ProcessLookupError:
        pass


def _child(request: dict, streams: list[int]) -> None:
    """Become the requested process; never returns."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        code = _run(request["argv"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


def _run(argv: list[str]) -> int:
    import random

    import numpy

    random.seed()
    numpy.random.seed()
    sys.argv = list(argv)
    sys.path[0] = ""
    if argv[0] == "papermill":
        from papermill.cli import papermill

        papermill(argv[1:])
    else:
        from ipykernel.kernelapp import IPKernelApp

        IPKernelApp.launch_instance(argv[1:])
    return 0


def preload(modules: Sequence[str] = PRELOAD) -> None:
    """Import what the notebooks will need. Anything missing is simply left to them."""
    import importlib

    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


# ── use ──────────────────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def server(environment: dict[str, str], modules: Sequence[str] = PRELOAD) -> Iterator[dict[str, str]]:
    """Yield ``environment`` with a warm server behind it (unchanged where forking is not safe).

    A kernel specification that shadows ``python3`` sends papermill's kernels through the client as well.
    """
    if sys.platform != "linux":
        yield environment
        return
    with tempfile.TemporaryDirectory(prefix="synfluence-") as folder:
        path = os.path.join(folder, "socket")
        spec = {"argv": [sys.executable, "-I", __file__, "ipykernel", "-f", "{connection_file}"],
                "display_name": "Python 3 (ipykernel)", "language": "python", "metadata": {"debugger": True}}
        kernel = Path(folder, "kernels", "python3", "kernel.json")
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps(spec))
        reading, writing = os.pipe()
        code = (f"from lib.grid import warm; server = warm.Server({path!r}, {reading}); "  # requests may queue from here on
                f"warm.preload({tuple(modules)!r}); server.serve()")
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, pass_fds=[reading], cwd=folder)
        os.close(reading)
        _wait_for(path, process)
        jupyter_path = os.pathsep.join(filter(None, [folder, environment.get("JUPYTER_PATH")]))
        try:
            yield {**environment, VARIABLE: path, "JUPYTER_PATH": jupyter_path}
        finally:
            os.close(writing)
            process.wait()


def _wait_for(path: str, process: subprocess.Popen) -> None:
    import time

    while not os.path.exists(path) and process.poll() is None:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
