"""Checkpoints of a training run: everything that the next step depends on, in one file, written atomically."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch

from lib.common.files import KitError, write_bytes, write_jsonl

NAME = "checkpoint.pt"
DIGEST = 32  # bytes of SHA-256 at the head: a file with a changed byte may be one that torch can read


def save(folder: Path, key: str, step: int, budget: int, model, optimizer) -> None:
    """Write adapter, optimizer, steps done and micro-batch budget. The schedule is a function of the step alone."""
    adapter = {name: weight.detach().cpu().clone() for name, weight in _trained(model)}
    state = {"key": key, "step": step, "budget": budget, "adapter": adapter, "optimizer": optimizer.state_dict()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_bytes(folder / NAME, hashlib.sha256(content).digest() + content)


def load(folder: Path, key: str, model, optimizer, log: Path) -> tuple[int, int]:
    """Restore a run; return (steps done, micro-batch budget), (0, 0) when there is none to go on from.

    A checkpoint that is damaged, or whose steps are not all in ``log``, is none: that is said, and the run starts
    again. ``key`` is the digest of everything the run is made from. Raises KitError when the checkpoint belongs to
    other data or parameters.
    """
    state = read(folder / NAME)
    if state is None:
        return 0, 0
    if state["key"] != key:
        raise KitError(
            f"{folder / NAME} is of a run with other data or parameters; delete {folder} to train anew, "
            "or go back to those parameters to finish it"
        )
    if logged(log, state["step"]) is None:
        print(
            f"{log} does not hold the {state['step']} steps before the checkpoint; this run is trained again from its "
            "start"
        )
        return 0, 0
    with torch.no_grad():
        for name, weight in _trained(model):
            weight.copy_(state["adapter"][name])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["budget"]


def read(path: Path) -> dict[str, Any] | None:
    """Return a checkpoint's content, None when there is none or it is not what ``save`` wrote (said aloud)."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        print(f"{path} is damaged (its digest differs); this run is trained again from its start")
        return None
    return torch.load(io.BytesIO(content[DIGEST:]), map_location="cpu", weights_only=True)


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
