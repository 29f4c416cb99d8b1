"""Checkpoints of a training run: everything that the next step depends on, in one file, written atomically."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.files import KitError, read_jsonl, write_bytes, write_jsonl

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
        "key": key, "step": position.step, "budget": position.budget, "keep": position.keep,
        "adapter": {name: weight.detach().cpu().clone() for name, weight in _trained(model)},
        "optimizer": optimizer.state_dict(), "torch": torch.get_rng_state(), "python": _packed(random.getstate()),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(folder / NAME, buffer.getvalue())


def load(folder: Path, key: str, model, optimizer) -> Position | None:
    """Restore a run from its checkpoint; None when there is none.

    ``key`` is the digest of everything the run is made from. Raises KitError when the checkpoint belongs to other
    data or parameters, or is damaged.
    """
    import torch

    path = folder / NAME
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise KitError(f"{path} is damaged ({type(error).__name__}); delete it to train this run from its start") from error
    if state.get("key") != key:
        raise KitError(f"{path} is of a run with other data or parameters; delete {folder} to train anew, "
                       "or go back to those parameters to finish it")
    with torch.no_grad():
        for name, weight in _trained(model):
            weight.copy_(state["adapter"][name])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch"])
    random.setstate(_unpacked(state["python"]))
    if state["cuda"] and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    return Position(state["step"], state["budget"], state["keep"])


def remove(folder: Path) -> None:
    """Delete the checkpoint of a finished run."""
    (folder / NAME).unlink(missing_ok=True)


def trim_log(path: Path, steps: int) -> list[dict]:
    """Cut a log back to its first ``steps`` steps (a killed run may have logged more than it saved); return them."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]               # a line without its end was being written
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    rows = [row for row in (read_jsonl(path) if whole else []) if row["step"] <= steps]
    write_jsonl(path, rows)
    return rows


def _trained(model) -> list[tuple[str, torch.Tensor]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def _packed(state: tuple) -> list:
    return [state[0], list(state[1]), state[2]]


def _unpacked(state: list) -> tuple:
    return (state[0], tuple(state[1]), state[2])
