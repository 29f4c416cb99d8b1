"""The kernel server: one process imports what the notebooks need and forks a fresh process per request.

Its client is ``lib.common.kernel_client``. A request is one line of JSON (argv, cwd, env) with the client's three
streams; the answer is one byte, the exit code. Bytes that follow a request are signals to pass on.
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
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lib.common import kernel_client
from lib.common.kernel_client import VARIABLE, die_with_parent

PRELOAD = (
    "papermill.cli",
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "pandas",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "peft",
    "mteb",
    "sklearn.linear_model",
    "sklearn.cluster",
    "IPython.core.pylabtools",
    "matplotlib_inline.backend_inline",
)


@contextmanager
def kernel_folder(*launcher: str) -> Iterator[str]:
    """Yield a JUPYTER_PATH whose kernel ``python3`` is started by ``python LAUNCHER...``, and does not warn.

    The warnings: one per kernel that its local connection is not encrypted, and one of its end.
    """
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
    """Yield ``environment`` with a kernel server behind it (unchanged where forking is not safe).

    ``modules`` are imported before the first request is answered.
    """
    if sys.platform != "linux":
        yield environment
        return
    with (
        kernel_folder("-I", kernel_client.__file__, "ipykernel") as jupyter_path,
        tempfile.TemporaryDirectory() as home,
    ):
        path, (reading, writing) = os.path.join(home, "socket"), os.pipe()
        code = f"from lib.grid.kernel_server import Server; Server({path!r}, {reading}).serve({tuple(modules)!r})"
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


class Server:
    """Forks one child per request. Ends, and ends its children, when ``lifeline`` reads end of file."""

    def __init__(self, path: str, lifeline: int) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        self.lifeline = lifeline
        self.children: dict[int, socket.socket] = {}
        self.selector = selectors.DefaultSelector()

    def serve(self, modules: Sequence[str] = ()) -> None:
        """Import ``modules`` (a missing one is left to the notebooks), then answer until the lifeline is cut."""
        for name in modules:
            with suppress(ImportError):
                __import__(name)
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for source in (self.listener, self.lifeline, wake):
            self.selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == self.lifeline:
                    for pid in self.children:
                        _kill(pid, signal.SIGKILL)
                    return
                if key.fileobj == wake:
                    os.read(wake, 4096)
                    self.reap()
                elif key.fileobj is self.listener:
                    self.accept()
                else:
                    self.forward(key.fileobj, key.data)

    def accept(self) -> None:
        """Read one request and fork for it."""
        connection, _ = self.listener.accept()
        message, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(12))
        if not message or not ancillary:
            return connection.close()
        streams = list(array.array("i", ancillary[0][2]))
        with connection.makefile("rb", buffering=0) as reader:
            request = json.loads(message + _line(reader))
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            die_with_parent(server)  # a server that is killed cannot kill its children any more
            os.close(self.lifeline)
            for held in (self.selector, self.listener, connection, *self.children.values()):
                held.close()
            _become(request, streams)
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
            with suppress(OSError):
                connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
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
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, number)


def _become(request: dict, streams: list[int]) -> None:
    """Become the requested process; never returns."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
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


def _run(argv: list[str], attempts: int = 3) -> None:
    """Run papermill's command line or a kernel.

    papermill again when the kernel did not start, which is before anything was done: Jupyter looks for free ports and
    leaves it to the kernel to take them, so of two that start at once, one may lose.
    """
    import random

    import numpy

    random.seed()
    numpy.random.seed()
    sys.argv, sys.path[0] = list(argv), ""
    if argv[0] == "ipykernel":
        from ipykernel.kernelapp import IPKernelApp

        return IPKernelApp.launch_instance(argv[1:])
    from papermill.cli import papermill

    for attempt in range(attempts):
        try:
            return papermill(argv[1:])
        except RuntimeError as error:
            if attempt + 1 == attempts or "before replying to kernel_info" not in str(error):
                raise
