"""One forward pass over a micro-batch: token ids to embeddings, padded or laid end to end.

padded   texts right-padded to one width. A causal model gets no mask: its real tokens never see the padding behind
         them, and attention takes its fast kernel. Encoders (BERT) get a mask where lengths differ.
ragged   texts end to end in one row, no padding anywhere. Attention must keep them apart, so it is PyTorch's own, text
         by text (texts of one length together), behind transformers' attention interface. A dense block mask would be
         exact too, but costs a third more at 8k tokens; and transformers' own detection of packed rows is silently
         lost with a key-value cache and does not exist for BERT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import scaled_dot_product_attention

from lib.common.files import KitError
from lib.embedder.packing import Rows, padded, ragged
from lib.kernels import pool, pool_ragged

if TYPE_CHECKING:
    from lib.embedder.embedder import Embedder

RAGGED = {causal: f"synfluence_ragged{'_causal' if causal else ''}" for causal in (False, True)}  # attention's names
_lengths: list[tuple[int, ...]] = []  # the texts of the forward pass that is running, innermost last


def embed_rows(embedder: Embedder, rows: Rows, attention: str = "padded") -> torch.Tensor:
    """Return (n, dim) fp32 embeddings of token ids; ``attention`` is "padded" or "ragged"."""
    if embedder.eos is not None and any(row[-1] != embedder.eos for row in rows):
        raise KitError("a text does not end in the end-of-sequence token; make token ids with Embedder.tokenize")
    pooling, normalize = embedder.params.pooling, embedder.params.normalize
    if attention == "ragged":
        ids, positions, offsets = ragged(rows, embedder.device)
        if embedder.family in ("roberta", "xlm-roberta"):
            positions = positions + embedder.core.config.pad_token_id + 1
        with ragged_attention(embedder.core, [len(row) for row in rows], embedder.causal):
            hidden = _run(embedder, input_ids=ids, position_ids=positions)
        return pool_ragged(hidden, offsets, pooling, normalize)
    if attention != "padded":
        raise KitError(f"attention is {attention!r}; choose padded or ragged")
    ids, lengths = padded(rows, embedder.pad, embedder.device)
    mask = {}
    if not embedder.causal and min(map(len, rows)) < ids.shape[1]:
        mask["attention_mask"] = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
    return pool(_run(embedder, input_ids=ids, **mask), lengths, pooling, normalize)


def _run(embedder: Embedder, **arguments) -> torch.Tensor:
    """Run the model and return its last hidden states. No cache: with one, transformers forgets packed rows."""
    if embedder.causal:
        arguments["use_cache"] = False
    output = embedder.core(**arguments)
    if getattr(output, "past_key_values", None) is not None:
        raise KitError("the model kept a key-value cache although use_cache is False: transformers has changed; pin it")
    return output.last_hidden_state


@contextmanager
def ragged_attention(core: torch.nn.Module, lengths: Sequence[int], causal: bool) -> Iterator[None]:
    """Within the block, ``core`` reads one row of texts end to end, of the given lengths."""
    _register()
    config = core.config
    before, config._attn_implementation = config._attn_implementation, RAGGED[causal]
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

    for causal, name in RAGGED.items():
        AttentionInterface.register(name, _attention(causal))
        AttentionMaskInterface.register(name, lambda *args, **kwargs: None)


def _attention(causal: bool):
    def attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, sliding_window=None, **kwargs):
        """query (1, heads, total, dim); key, value (1, key heads, total, dim); returns (1, total, heads, dim)."""
        if attention_mask is not None:
            raise KitError("texts laid end to end take no attention mask; use training.attention padded with a mask")
        together = [(len(list(texts)), length) for length, texts in groupby(_lengths[-1])]  # neighbours of one length
        sizes = [count * length for count, length in together]
        # split, not slices: the gradient of a slice is a whole tensor of zeros, that of a split is put together once
        parts = [states.squeeze(0).transpose(0, 1).split(sizes) for states in (query, key, value)]
        out = []
        for (count, length), *qkv in zip(together, *parts, strict=True):
            q, k, v = (states.unflatten(0, (count, length)).transpose(1, 2) for states in qkv)
            slides = causal and sliding_window is not None and length > sliding_window
            seen = scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=_window_mask(length, sliding_window, q.device) if slides else None,
                dropout_p=dropout,
                scale=scaling,
                is_causal=causal and not slides and length > 1,
                enable_gqa=key.shape[1] != query.shape[1],
            )
            out.append(seen.transpose(1, 2).flatten(0, 1))
        return torch.cat(out)[None], None

    return attention


def _window_mask(length: int, window: int, device) -> torch.Tensor:
    """Causal (length, length) mask in which a token sees itself and the ``window - 1`` before it."""
    place = torch.arange(length, device=device)
    ago = place[:, None] - place[None, :]
    return (ago >= 0) & (ago < window)
