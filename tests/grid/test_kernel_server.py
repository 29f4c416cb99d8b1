"""The kernel server: the same results as an ordinary papermill run, and nothing left behind by a killed one."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from lib.grid import kernel_server as kernel_client
from lib.grid.kernel_server import kernel_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="forking is only safe on Linux")]


@pytest.fixture(scope="module")
def environment():
    with kernel_server(dict(os.environ), modules=("papermill.cli", "ipykernel.kernelapp")) as environment:
        yield environment


def notebook(folder, source):
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("value = 1", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(source),
        ]
    )
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "in.ipynb")


def command(folder, *arguments):
    return [
        sys.executable,
        "-I",
        kernel_client.__file__,
        "papermill",
        "--no-progress-bar",
        *arguments,
        str(folder / "in.ipynb"),
        str(folder / "out.ipynb"),
    ]


def text(folder):
    cell = nbformat.read(folder / "out.ipynb", 4).cells[-1]
    return "".join(output.get("text", "") for output in cell.outputs)


def test_runs_parameters_environment_and_folder(tmp_path, environment):
    notebook(tmp_path, "import os; print(value, os.environ['MARK'], os.getcwd())")
    cold = {k: v for k, v in environment.items() if k not in (kernel_client.VARIABLE, "JUPYTER_PATH")}
    for mode in (environment, cold):
        run = command(tmp_path, "-p", "value", "7", "--cwd", str(tmp_path))
        done = subprocess.run(run, env={**mode, "MARK": "here"})
        assert done.returncode == 0
        assert text(tmp_path).strip() == f"7 here {tmp_path}"


def test_a_failing_cell_fails_the_command(tmp_path, environment):
    notebook(tmp_path, "raise ValueError('planted')")
    done = subprocess.run(command(tmp_path), env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "planted" in done.stderr


def begun(folder):
    """The process whose id a notebook writes into ``pid``."""
    deadline = time.time() + 60
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        assert time.time() < deadline, "the kernel never started"
        time.sleep(0.1)
    return psutil.Process(int((folder / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_no_kernel(tmp_path, environment, number):
    note = f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))"
    notebook(tmp_path, f"import os, pathlib, time\n{note}\ntime.sleep(600)")
    process = subprocess.Popen(command(tmp_path), env=environment)
    kernel = begun(tmp_path)
    process.send_signal(number)
    process.wait(30)
    kernel.wait(30)


def test_the_end_of_the_server_ends_what_a_kernel_has_started(tmp_path):
    note = f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(subprocess.Popen(['sleep', '600']).pid))"
    notebook(tmp_path, f"import pathlib, subprocess, time\n{note}\ntime.sleep(600)")
    with kernel_server(dict(os.environ), modules=("papermill.cli", "ipykernel.kernelapp")) as environment:
        process = subprocess.Popen(command(tmp_path), env=environment)
        worker = begun(tmp_path)
    process.wait(30)
    worker.wait(30)
