"""Files: atomic writes, JSON lines with line numbers in their errors, and content digests.

Long runs die at bad moments. Everything the kit writes goes to a temporary file beside its target and is
then renamed over it, so a reader finds either the old file or the new one and never half of one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class KitError(Exception):
    """Something the user can fix. Its message is one sentence that names the thing and the fix."""

    def _render_traceback_(self) -> list[str]:
        """Show one line instead of a traceback; IPython and Jupyter look for this method by name."""
        return [f"KitError: {self}"]


class CannotWrite(KitError):
    """The disk is full, read-only or gone. What was written before is whole, and nothing more can be kept now."""


def disk_full(error: BaseException) -> bool:
    """Say whether an error means that a disk, or somebody's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def cannot_write(path: str | Path, error: OSError) -> CannotWrite:
    """Return the error to raise when ``path`` cannot be written: the folder and the fix."""
    name, folder = Path(path).name, Path(path).parent
    if disk_full(error):
        fix = "free some space there and run again, what is finished is kept"
        return CannotWrite(f"the disk is full: cannot write {name} into {folder}; {fix}")
    fix = "make that folder writable or choose another paths.runs"
    return CannotWrite(f"cannot write {path} ({error.strerror or error}); {fix}")


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn what the operating system says while ``path`` is written into one sentence with the fix."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write ``content`` so that ``path`` is never seen half written. Raises CannotWrite where it cannot be written."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> Path:
    """Write one indented JSON document atomically (NaN is refused: it is not JSON)."""
    return write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[dict]) -> Path:
    """Write one JSON object per line, atomically."""
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_jsonl(path: str | Path, row: dict) -> None:
    """Append one line in a single write; a process killed meanwhile can leave only that last line unfinished."""
    with writing(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as handle:
            handle.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KitError(f"{path} does not exist; run the notebook that writes it first") from None
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"{path} cannot be read ({error}); restore it, or delete it to have it made again") from error


def read_json(path: str | Path) -> Any:
    """Read one JSON document. Raises KitError naming the file when it is missing or broken."""
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise KitError(f"{path} is not valid JSON ({error}); delete it to have it made again") from None


def read_jsonl(path: str | Path) -> list[dict]:
    """Read JSON lines. Raises KitError naming file and line for anything that is not one JSON object per line."""
    rows = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                row, why = json.loads(line), ""
            except json.JSONDecodeError as error:
                row, why = None, f" ({error.msg})"
            if not isinstance(row, dict):
                raise KitError(f"{path}, line {number} is not one whole JSON object{why}; fix or delete that line")
            rows.append(row)
    return rows


def digest(value: Any) -> str:
    """Return 16 hex digits that depend on the value only (canonical JSON, keys sorted), not on PYTHONHASHSEED."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def digest_file(path: str | Path) -> str:
    """Return 16 hex digits of a file's content. Raises KitError when it cannot be read."""
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()[:16]
    except OSError as error:
        raise KitError(f"{path} cannot be read: {error.strerror}; run the notebook that writes it first") from None


def write_digests(path: str | Path, files: Iterable[str | Path]) -> Path:
    """Write {name: digest} of ``files``, named from ``path``'s folder, so that ``changed`` notices a changed byte."""
    folder = Path(path).parent
    return write_json(path, {Path(file).relative_to(folder).as_posix(): digest_file(file) for file in files})


def changed(path: str | Path) -> Path | None:
    """Return the first file that is not as ``write_digests`` found it, or None. Raises KitError for a missing file."""
    folder = Path(path).parent
    return next((folder / name for name, known in read_json(path).items() if digest_file(folder / name) != known), None)
