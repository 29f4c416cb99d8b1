"""Hidden states to one unit vector per text: mean, CLS or last token, right-padded or ragged."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from lib.common.files import KitError


class PaddedMean(torch.autograd.Function):
    """Mean of the real tokens; keeps lengths only, where autograd would keep a masked copy of the states."""

    @staticmethod
    def forward(ctx, hidden, lengths):
        """hidden (n, t, h), lengths (n,); returns (n, h), sums in fp32 (float64 for float64)."""
        real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
        ctx.save_for_backward(lengths)
        ctx.width, ctx.dtype = hidden.shape[1], hidden.dtype
        if hidden.dtype in (torch.float32, torch.float64):
            total = torch.bmm(real[:, None].to(hidden.dtype), hidden).squeeze(1)
        else:
            total = torch.where(real[..., None], hidden, 0).sum(1, dtype=torch.float32)
        return total / lengths[:, None]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """Each real token gets its share of the gradient, each pad zero."""
        (lengths,) = ctx.saved_tensors
        real = torch.arange(ctx.width, device=grad.device) < lengths[:, None]
        return real[..., None] * (grad / lengths[:, None]).to(ctx.dtype)[:, None], None


def pool(hidden: torch.Tensor, lengths: torch.Tensor, mode: str) -> torch.Tensor:
    """Return (n, h) fp32 unit vectors of right-padded hidden states.

    hidden (n, t, h); lengths (n,) real tokens per row, 1 to t; mode "mean", "cls" (first token) or "last".
    Raises KitError for an unknown mode or lengths that do not fit.
    """
    if hidden.dim() != 3 or lengths.shape != hidden.shape[:1]:
        raise KitError(
            f"hidden states {tuple(hidden.shape)} and lengths {tuple(lengths.shape)} do not fit; "
            "they must be (texts, tokens, dimension) and (texts,)"
        )
    lengths = lengths.to(hidden.device)
    if mode == "mean":
        return _unit(PaddedMean.apply(hidden, lengths))
    return _unit(hidden[torch.arange(len(hidden), device=hidden.device), _place(mode, 0, lengths - 1)])


def pool_ragged(hidden: torch.Tensor, offsets: torch.Tensor, mode: str) -> torch.Tensor:
    """Return (n, h) fp32 unit vectors of texts laid end to end.

    hidden (total, h) or (1, total, h); offsets (n + 1,) starts of the texts and the end, 0 first and total last;
    the rest as in ``pool``.
    """
    hidden = hidden.reshape(-1, hidden.shape[-1])
    offsets = offsets.to(device=hidden.device, dtype=torch.int64)
    if mode != "mean":
        return _unit(hidden[_place(mode, offsets[:-1], offsets[1:] - 1)])
    lengths = offsets.diff()
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), lengths)
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    sums = torch.zeros(len(lengths), hidden.shape[1], device=hidden.device, dtype=wide)
    return _unit(sums.index_add(0, owner, hidden.to(wide)) / lengths[:, None])


def _place(mode: str, first, last):
    if mode not in ("cls", "last"):
        raise KitError(f'pooling is {mode!r}; choose "mean", "cls" or "last"')
    return first if mode == "cls" else last


def _unit(pooled: torch.Tensor) -> torch.Tensor:
    pooled = pooled if pooled.dtype == torch.float64 else pooled.float()
    return torch.nn.functional.normalize(pooled, dim=1, eps=1e-12)
