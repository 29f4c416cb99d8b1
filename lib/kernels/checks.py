"""Checks of a loss call: one clear sentence for every shape, type or index that does not fit."""

from __future__ import annotations

import torch

from lib.common.files import KitError

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class InputError(KitError, ValueError):
    """A tensor or setting that does not fit; both a KitError and a ValueError."""


def require(condition: bool, message: str) -> None:
    """Raise InputError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)


def embeddings(query: torch.Tensor, candidates: torch.Tensor) -> None:
    """Check two matrices of embeddings, (B, d) and (C, d), of one dtype on one device."""
    for name, value in (("query", query), ("candidates", candidates)):
        require(
            torch.is_tensor(value) and value.dim() == 2 and min(value.shape) > 0,
            f"{name} must be a non-empty matrix of embeddings (rows, dimension), "
            f"not {tuple(value.shape) if torch.is_tensor(value) else type(value).__name__}",
        )
        require(value.dtype in FLOATS, f"{name} holds {value.dtype}; embeddings must be floating point")
    require(
        query.shape[1] == candidates.shape[1],
        f"query has {query.shape[1]} dimensions and candidates {candidates.shape[1]}; encode both with one model",
    )
    require(
        query.dtype == candidates.dtype,
        f"query is {query.dtype} and candidates {candidates.dtype}; cast one to the other's type",
    )
    require(
        query.device == candidates.device,
        f"query is on {query.device} and candidates on {candidates.device}; move one to the other's device",
    )


def temperature(value: float) -> float:
    """Return the temperature as a float; it must be a finite number above zero."""
    require(
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf"),
        f"temperature is {value!r}; it must be a finite number above zero, such as 0.02",
    )
    return float(value)


def index(
    name: str, value: torch.Tensor | None, shape: tuple[int, ...], low: int, high: int, device: torch.device
) -> torch.Tensor | None:
    """Return integer ``value`` of ``shape`` as contiguous int64 on ``device``, each entry in [low, high)."""
    if value is None:
        return None
    value = ids(name, value, shape, device)
    if value.numel():
        smallest, largest = (int(x) for x in value.aminmax())
        require(
            low <= smallest and largest < high,
            f"{name} holds {smallest if smallest < low else largest}, outside {low} to {high - 1}; "
            "it must name a row of candidates",
        )
    return value


def ids(name: str, value: torch.Tensor | None, shape: tuple[int, ...], device: torch.device) -> torch.Tensor | None:
    """Return integer ``value`` of ``shape`` (-1 in ``shape`` allows any size) as contiguous int64 on ``device``."""
    if value is None:
        return None
    value = torch.as_tensor(value)
    require(
        not value.is_floating_point() and not value.is_complex() and value.dtype != torch.bool,
        f"{name} holds {value.dtype}; it must hold integers",
    )
    fits = value.dim() == len(shape) and all(want in (-1, got) for want, got in zip(shape, value.shape, strict=True))
    require(fits, f"{name} has shape {tuple(value.shape)}; it must be {shape}")
    return value.to(device=device, dtype=torch.int64).contiguous()
