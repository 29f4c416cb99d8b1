"""Attention over texts laid end to end in one row: no padding anywhere, no mask, and no text sees another.

Two bodies behind transformers' attention interface: "ragged" takes PyTorch's own attention text by text (texts of
one length together), on any device; "varlen" is ``torch.nn.attention.varlen`` (GPU, bf16 or fp16). A dense
block mask would be exact too, but costs a third more at 8k tokens, and transformers' own detection of packed rows
is silently lost with a key-value cache and does not exist for BERT.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import groupby

import torch
from torch.nn.functional import scaled_dot_product_attention

from lib.common.files import KitError

PREFIX = "synfluence_"
_lengths: list[tuple[int, ...]] = []  # the texts of the forward pass that is running, innermost last


@contextmanager
def segments(core: torch.nn.Module, lengths: Sequence[int], body: str, causal: bool) -> Iterator[None]:
    """Within the block, ``core`` reads one row of texts end to end, of the given lengths, with ``body``."""
    _register()
    if body == "varlen":
        require_varlen(next(core.parameters()))
    config = core.config
    before = config._attn_implementation
    config._attn_implementation = f"{PREFIX}{body}{'_causal' if causal else ''}"
    _lengths.append(tuple(lengths))
    try:
        yield
    finally:
        _lengths.pop()
        config._attn_implementation = before


@cache
def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    for causal in (False, True):
        for body, function in (("ragged", _ragged), ("varlen", _varlen)):
            name = f"{PREFIX}{body}{'_causal' if causal else ''}"
            AttentionInterface.register(name, _bound(function, causal))
            AttentionMaskInterface.register(name, lambda *args, **kwargs: None)


def _bound(function, causal: bool):
    def attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, sliding_window=None, **kwargs):
        """query (1, heads, total, dim); key, value (1, key heads, total, dim); returns (1, total, heads, dim)."""
        if attention_mask is not None:
            raise KitError("texts laid end to end take no attention mask; use training.attention padded with a mask")
        return function(query, key, value, _lengths[-1], causal, dropout, scaling, sliding_window), None

    return attention


def _window_mask(length: int, window: int, device) -> torch.Tensor:
    """Causal (length, length) mask in which a token sees itself and the ``window - 1`` before it."""
    place = torch.arange(length, device=device)
    ago = place[:, None] - place[None, :]
    return (ago >= 0) & (ago < window)


def _ragged(query, key, value, lengths, causal, dropout, scaling, window):
    together = [
        (len(list(texts)), length) for length, texts in groupby(lengths)
    ]  # neighbours of one length: one product
    grouped = key.shape[1] != query.shape[1]
    sizes = [count * length for count, length in together]
    # split, not slices: the gradient of a slice is a whole tensor of zeros, the gradient of a split is put together once
    parts = [
        states.squeeze(0).transpose(0, 1).split(sizes) for states in (query, key, value)
    ]  # each (tokens, heads, dim)
    out = []
    for (count, length), *qkv in zip(together, *parts, strict=True):
        q, k, v = (states.unflatten(0, (count, length)).transpose(1, 2) for states in qkv)
        slides = causal and window is not None and length > window
        mask = _window_mask(length, window, q.device) if slides else None
        seen = scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=dropout,
            scale=scaling,
            is_causal=causal and not slides and length > 1,
            enable_gqa=grouped,
        )
        out.append(seen.transpose(1, 2).flatten(0, 1))
    return torch.cat(out)[None]


def require_varlen(weight: torch.Tensor) -> None:
    """Raise KitError where ``varlen_attn`` cannot run (no GPU, fp32, or a torch without it)."""
    if not weight.is_cuda or weight.dtype not in (torch.bfloat16, torch.float16):
        raise KitError(
            "training.attention varlen needs a GPU and model.dtype bfloat16 or float16; use padded or ragged"
        )
    if _varlen_options() is None:
        raise KitError(f"torch {torch.__version__} has no varlen_attn; use training.attention padded")


@cache
def _varlen_options() -> frozenset[str] | None:
    """Return the names of varlen_attn's parameters (they differ between torch 2.10 and 2.13), None without it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return frozenset(inspect.signature(varlen_attn).parameters)


def _varlen(query, key, value, lengths, causal, dropout, scaling, window):
    from torch.nn.attention.varlen import varlen_attn

    if dropout:
        raise KitError("varlen attention has no dropout; set training.base_dropout false or attention padded")
    known = _varlen_options()
    query, key, value = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))
    groups = query.shape[1] // key.shape[1]
    options = {}
    if groups > 1 and "enable_gqa" in known:
        options["enable_gqa"] = True
    elif groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if "window_size" in known:
        options["window_size"] = (window - 1 if window else -1, 0) if causal else (-1, -1)
    elif window and causal and max(lengths) > window:
        raise KitError("this torch's varlen_attn has no sliding window; use training.attention padded")
    else:
        options["is_causal"] = causal
    if scaling is not None and "scale" in known:
        options["scale"] = scaling
    elif scaling is not None:
        query = query * (scaling * query.shape[-1] ** 0.5)
    offsets = torch.tensor([0, *lengths], device=query.device, dtype=torch.int32).cumsum(0, dtype=torch.int32)
    longest = max(lengths)
    return varlen_attn(
        query.contiguous(), key.contiguous(), value.contiguous(), offsets, offsets, longest, longest, **options
    )[None]
