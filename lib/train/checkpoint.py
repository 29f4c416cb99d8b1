"""Checkpoints of a training run: everything that the next step depends on, in one file, written atomically."""

from __future__ import annotations

import hashlib
import io
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.common.files import KitError, write_bytes, write_jsonl

if TYPE_CHECKING:
    import torch

NAME = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands: optimizer steps done, and the token budgets it has been using."""

    step: int
    budget: int
    keep: int


def save(folder: Path, key: str, position: Position, model, optimizer) -> None:
    """Write adapter, optimizer, random states and position. The schedule is a function of the step alone."""
    import torch

    state = {
        "key": key,
        "step": position.step,
        "budget": position.budget,
        "keep": position.keep,
        "adapter": {name: weight.detach().cpu().clone() for name, weight in _trained(model)},
        "optimizer": optimizer.state_dict(),
        "torch": torch.get_rng_state(),
        "python": _packed(random.getstate()),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    state["digest"] = _digest(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(folder / NAME, buffer.getvalue())


def load(folder: Path, key: str, model, optimizer, log: Path) -> Position | None:
    """Restore a run from its checkpoint; None when there is none to go on from.

    A checkpoint that is damaged, or whose steps are not all in ``log``, is none: that is said, and the run starts
    again. ``key`` is the digest of everything the run is made from. Raises KitError when the checkpoint belongs to
    other data or parameters.
    """
    import torch

    state = _read(folder / NAME)
    if state is None:
        return None
    if state["key"] != key:
        raise KitError(
            f"{folder / NAME} is of a run with other data or parameters; delete {folder} to train anew, "
            "or go back to those parameters to finish it"
        )
    if logged(log, state["step"]) is None:
        print(
            f"{log} does not hold the {state['step']} steps before the checkpoint; this run is trained again from its start"
        )
        return None
    with torch.no_grad():
        for name, weight in _trained(model):
            weight.copy_(state["adapter"][name])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch"])
    random.setstate(_unpacked(state["python"]))
    if state["cuda"] and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    return Position(state["step"], state["budget"], state["keep"])


def _read(path: Path) -> dict[str, Any] | None:
    """Return a checkpoint's content, None when there is none or it is not what ``save`` wrote (said aloud)."""
    import torch

    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.pop("digest") != _digest(state):
            raise ValueError("its digest differs")
    except Exception as error:  # half a file, or a changed byte, can make torch raise whatever it likes
        print(f"{path} is damaged ({type(error).__name__}); this run is trained again from its start")
        return None
    return state


def _digest(state: dict[str, Any]) -> str:
    """Digest every number of a checkpoint: a file with a changed byte may well still be one that torch can read."""
    import torch

    hasher = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            hasher.update(f"{value.dtype} {tuple(value.shape)}".encode())
            hasher.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        elif isinstance(value, dict):
            add([item for pair in value.items() for item in pair])
        elif isinstance(value, (list, tuple)):
            hasher.update(f"[{len(value)}".encode())
            for item in value:
                add(item)
        else:
            hasher.update(repr(value).encode())

    add(state)
    return hasher.hexdigest()


def remove(folder: Path) -> None:
    """Delete the checkpoint of a finished run."""
    (folder / NAME).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete what a killed process left half written in a run's own folder."""
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)


def logged(path: Path, steps: int) -> list[dict] | None:
    """Return the first ``steps`` lines of a log, None when they are not the steps 1 to ``steps``."""
    try:
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[:steps]]
        return rows if [row["step"] for row in rows] == list(range(1, steps + 1)) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None if steps else []


def trim_log(path: Path, steps: int) -> list[dict]:
    """Cut a log back to its first ``steps`` steps (a killed run may have logged more than it saved); return them."""
    if not path.is_file():
        return []
    rows = logged(path, steps) or []
    write_jsonl(path, rows)
    return rows


def _trained(model) -> list[tuple[str, torch.Tensor]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def _packed(state: tuple) -> list:
    return [state[0], list(state[1]), state[2]]


def _unpacked(state: list) -> tuple:
    return (state[0], tuple(state[1]), state[2])
