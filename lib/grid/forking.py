"""The server of the warm start (``lib.common.warm``): it has imported everything, and forks a process per request."""

from __future__ import annotations

import array
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence

from lib.common.warm import die_with_parent

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
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            die_with_parent(server)  # a server that is killed cannot kill its children any more
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
        _papermill(argv[1:])
    else:
        from ipykernel.kernelapp import IPKernelApp

        IPKernelApp.launch_instance(argv[1:])
    return 0


def _papermill(arguments: list[str], attempts: int = 3) -> None:
    """Run papermill's command line; again when the kernel did not start, which is before anything was done.

    Jupyter looks for free ports and leaves it to the kernel to take them: of two that start at once, one may lose.
    """
    from papermill.cli import papermill

    for attempt in range(attempts):
        try:
            return papermill(arguments)
        except RuntimeError as error:
            if attempt + 1 == attempts or "before replying to kernel_info" not in str(error):
                raise


def preload(modules: Sequence[str] = ()) -> None:
    """Import what the notebooks will need, or ``modules``. Anything missing is simply left to them."""
    import importlib

    for name in modules or PRELOAD:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
