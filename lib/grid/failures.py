"""What went wrong in a grid: per failed job one sentence with the fix, where to look, and the last lines it left."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from lib.common.bundled import shown
from lib.grid.jobs import executed, notebook_of, stage_files
from lib.params.params import Params

MARK = "=== a run of the grid begins ==="  # written into snakemake.log, which all runs of a folder share
LINES = 3  # last lines shown of what a failed job left behind
FULL = 8 << 20  # bytes; with less left on a disk a notebook may not even be able to say so

_MEMORY = re.compile(r"MemoryError|out of memory|can.?t allocate memory|Cannot allocate memory|bad_alloc", re.I)
_SNAKEMAKE = re.compile(r"\[\w{3} \w{3} +\d|RuleException|CalledProcessError|Command '|Select jobs|Execute \d+ jobs")
_AGAIN = "fix the cause and run again: only what has no result is run"
_LESS = (
    "run again with more memory: fewer jobs at once (CORES=1), a larger grid.mem_mb on a cluster, or smaller "
    "training.micro_batch_tokens and model.encode_tokens"
)
_DIED = "it was killed or ran out of memory before it could say why"


def failure(notebook: Path) -> str:
    """Return the error an executed notebook holds, in one line, or "" when it holds none."""
    error = error_of(executed(notebook))
    return _line(error) if error else ""


def error_of(ran: dict[str, Any]) -> dict[str, Any] | None:
    """Return the error among the outputs of an executed notebook, or None."""
    return next((output for output in _outputs(ran) if output.get("output_type") == "error"), None)


def _outputs(ran: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in ran.get("cells", []) for output in cell.get("outputs", [])]


def failures(params: Params) -> list[str]:
    """Return one text per job that was begun and has no result: what happened, the fix, where to look, last lines."""
    broken, files, texts = _of_the_log(params.run_dir / "snakemake.log"), stage_files(params), []
    for stage, jobs in files.items():
        for job, path in jobs.items():
            notebook = notebook_of(params, stage, job)
            if path.exists() or stage == "score" and job in files["train"] and not files["train"][job].exists():
                continue  # done, or it could not even begin
            if notebook.exists() or str(path) in broken:
                texts.append(message(f"{stage} {job}", notebook, broken.get(str(path), [])))
    return texts


def message(name: str, notebook: Path, lines: list[str] | None = None) -> str:
    """Return the text on one failed job; ``lines`` are the log's, for a job that left no notebook."""
    ran = executed(notebook)
    error = error_of(ran)
    if error:
        reason, last = _line(error), _trace(error)
        if _MEMORY.search(reason):
            reason += f"; {_LESS}"
        elif not _ours(error):  # a KitError names its fix
            reason += f"; {_AGAIN}"
    else:
        reason, last = f"{_DIED}{_last_cell(ran)}; {_again(notebook)}", _printed(ran) or lines or []
    look = f" (see {shown(notebook)})" if notebook.exists() else ""
    return f"{name} failed: {reason}{look}" + "".join(f"\n    {line[:200]}" for line in last[-LINES:])


def last_words(params: Params) -> list[str]:
    """Return what Snakemake itself said last, for a grid that stopped although no job failed."""
    log = params.run_dir / "snakemake.log"
    lines = [line for line in _of_this_run(log) if line.strip()]
    return [
        f"Snakemake stopped; run again and it goes on where it was (all it said is in {shown(log)})",
        *(f"    {line[:200]}" for line in lines[-LINES:]),
    ]


def _ours(error: dict[str, Any]) -> bool:
    """Is it a KitError, or of a class below it? Its whole traceback is its one sentence."""
    return error["ename"] == "KitError" or "".join(error.get("traceback", [])).startswith("KitError: ")


def _line(error: dict[str, Any]) -> str:
    return f"{'KitError' if _ours(error) else error['ename']}: {error['evalue']}".replace("\n", " ")[:600]


def _trace(error: dict[str, Any]) -> list[str]:
    """Return the lines of a traceback that IPython marks as where it happened, and the last."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.get("traceback", [])))
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line for line in lines[:-1] if re.match(r"-+> *\d+ ", line)]
    return [] if _ours(error) else [*(marked or lines[:-1]), *lines[-1:]]


def _last_cell(ran: dict[str, Any]) -> str:
    """Say which cell was the last that began, by papermill's notes."""
    cells = [cell for cell in ran.get("cells", []) if cell.get("cell_type") == "code"]
    begun = [cell.get("metadata", {}).get("papermill", {}).get("start_time") for cell in cells]
    last = max((number for number, time in enumerate(begun, start=1) if time), default=0)
    return f", in code cell {last} of {len(cells)}" if last else ""


def _again(notebook: Path) -> str:
    folder = notebook.parent
    while not folder.exists():
        folder = folder.parent
    if shutil.disk_usage(folder).free < FULL:
        return f"the disk of {shown(folder)} is full: free some space there and run again, what is finished is kept"
    return f"it goes on where it was when you run again; if memory was short, {_LESS}"


def _printed(ran: dict[str, Any]) -> list[str]:
    text = "".join("".join(out.get("text", "")) for out in _outputs(ran) if out.get("output_type") == "stream")
    return [line for line in text.splitlines() if line.strip()]


def _of_this_run(log: Path) -> list[str]:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text[text.rfind(MARK) + len(MARK) :].splitlines() if MARK in text else []


def _of_the_log(log: Path) -> dict[str, list[str]]:
    """Return {result file: the lines before it} of every job that Snakemake's log calls failed, in its last run."""
    lines, found = _of_this_run(log), {}
    for number, line in enumerate(lines):
        if line.lstrip().startswith("Error in rule "):
            output = next((text for text in lines[number : number + 8] if text.strip().startswith("output: ")), "")
            before = [
                text for text in lines[max(0, number - 12) : number] if text.strip() and not _SNAKEMAKE.match(text)
            ]
            found[output.strip().removeprefix("output: ")] = before
    return found
