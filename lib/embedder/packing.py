"""Texts to token ids to micro-batches: each distinct text once, similar lengths together, little padding.

GradCache lets the texts of a step be embedded in any grouping without changing the loss, so they are sorted by
length before they are cut into micro-batches: of the tokens computed, 1 to 5 % are padding, not 35 to 75 %. A
micro-batch goes through the model in one of two ways, which give the same embeddings:

padded   texts right-padded to one width. A causal model gets no mask: its real tokens never see the padding behind
         them, and attention takes its fast kernel. Encoders (BERT) get a mask where lengths differ.
ragged   texts end to end in one row, no padding anywhere. Attention must keep them apart, so it is PyTorch's own, text
         by text (texts of one length together), behind transformers' attention interface. A dense block mask would be
         exact too, but costs a third more at 8k tokens; and transformers' own detection of packed rows is silently
         lost with a key-value cache and does not exist for BERT.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby

import torch
from torch.nn.functional import scaled_dot_product_attention

from lib.common.files import KitError

Rows = Sequence[Sequence[int]]
RAGGED = {causal: f"synfluence_ragged{'_causal' if causal else ''}" for causal in (False, True)}  # attention's names
_lengths: list[tuple[int, ...]] = []  # the texts of the forward pass that is running, innermost last


def tokenize(tokenizer, texts: Sequence[str], max_length: int, eos: int | None = None) -> list[list[int]]:
    """Return the token ids of each text, cut to ``max_length``, each ending in ``eos`` when one is given.

    Some tokenizers (Mistral's under transformers 5) silently leave the end-of-sequence token out, so its id is
    appended here. Raises KitError for a text without any token.
    """
    if not texts:
        return []
    room, extra = max_length - (eos is not None), {"return_attention_mask": False, "return_token_type_ids": False}
    rows = tokenizer(list(texts), truncation=True, max_length=room, padding=False, **extra)["input_ids"]
    if eos is not None:
        rows = [row if row[-1:] == [eos] else [*row, eos] for row in rows]
    for text, row in zip(texts, rows, strict=True):
        if not row:
            raise KitError(f"the text {text[:40]!r} has no tokens; set model.append_eos or leave empty texts out")
    return rows


def distinct(items: Sequence[Hashable]) -> tuple[list, list[int]]:
    """Return the distinct items in order of first appearance, and for each item its place among them."""
    place: dict[Hashable, int] = {}
    index = [place.setdefault(item, len(place)) for item in items]
    return list(place), index


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows (numbers of texts) that go through the model together; ``tokens`` real, ``padded`` with padding."""

    rows: tuple[int, ...]
    tokens: int
    padded: int


def micro_batches(lengths: Sequence[int], budget: int, pad: bool = True) -> list[MicroBatch]:
    """Cut texts, sorted by length, into micro-batches of at most ``budget`` tokens, largest first.

    ``pad`` counts a micro-batch as rows x longest row, otherwise as the sum of its lengths. A text longer than the
    budget gets a micro-batch of its own.
    """
    groups: list[list[int]] = []
    tokens = 0  # of the last group
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        group = groups[-1] if groups else []
        if group and (lengths[group[0]] * (len(group) + 1) if pad else tokens + lengths[i]) <= budget:
            group.append(i)
            tokens += lengths[i]
        else:
            groups.append([i])
            tokens = lengths[i]
    found = []
    for group in groups:
        tokens = sum(lengths[i] for i in group)
        found.append(MicroBatch(tuple(group), tokens, lengths[group[0]] * len(group) if pad else tokens))
    return sorted(found, key=lambda batch: (-batch.padded, batch.rows[0]))


def padded(rows: Rows, pad: int, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return right-padded token ids (n, longest) and lengths (n,), both int64 on ``device``."""
    lengths = [len(row) for row in rows]
    wide = max(lengths)
    flat = torch.tensor([[*row, *[pad] * (wide - len(row))] for row in rows], dtype=torch.int64)
    return flat.to(device, non_blocking=True), torch.tensor(lengths).to(device, non_blocking=True)


def ragged(rows: Rows, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return texts end to end: ids (1, total), positions (1, total) from 0 in each text, and offsets (n + 1,)."""
    ids = torch.tensor([[token for row in rows for token in row]])
    positions = torch.tensor([[place for row in rows for place in range(len(row))]])
    offsets = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    return ids.to(device), positions.to(device), offsets.to(device)


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
        AttentionInterface.register(name, partial(_attention, causal=causal))
        AttentionMaskInterface.register(name, lambda *args, **kwargs: None)


def _attention(
    module, query, key, value, attention_mask, dropout=0.0, scaling=None, sliding_window=None, *, causal, **kwargs
):
    """query (1, heads, total, dim); key, value (1, key heads, total, dim); returns (1, total, heads, dim)."""
    if attention_mask is not None:
        raise KitError("texts laid end to end take no attention mask; embed them padded")
    together = [(len(list(texts)), length) for length, texts in groupby(_lengths[-1])]  # neighbours of one length
    sizes = [count * length for count, length in together]
    # split, not slices: the gradient of a slice is a whole tensor of zeros, that of a split is put together once
    parts = [states.squeeze(0).transpose(0, 1).split(sizes) for states in (query, key, value)]
    out = []
    for (count, length), *qkv in zip(together, *parts, strict=True):
        q, k, v = (states.unflatten(0, (count, length)).transpose(1, 2) for states in qkv)
        window = None  # where one slides, a token sees itself and the ``sliding_window - 1`` before it
        if causal and sliding_window is not None and length > sliding_window:
            window = torch.ones(length, length, dtype=torch.bool, device=q.device).tril().triu(1 - sliding_window)
        straight = causal and window is None and length > 1
        how = {"attn_mask": window, "is_causal": straight, "enable_gqa": key.shape[1] != query.shape[1]}
        seen = scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling, **how)
        out.append(seen.transpose(1, 2).flatten(0, 1))
    return torch.cat(out)[None], None


def padding_table(lengths: Sequence[int], budget: int, size: int = 32) -> dict[str, float]:
    """Return tokens computed per real token for ways to batch the same texts, in the order they are given.

    "one width": all padded to the longest; "in order": micro-batches of ``size`` texts as they come, each with
    its own width; "sorted": sorted by length into token-budget micro-batches; "end to end": no padding at all.
    """
    total = sum(lengths)
    chunks = [lengths[i : i + size] for i in range(0, len(lengths), size)]
    return {
        "one width": len(lengths) * max(lengths) / total,
        "in order": sum(len(chunk) * max(chunk) for chunk in chunks) / total,
        "sorted": sum(batch.padded for batch in micro_batches(lengths, budget)) / total,
        "end to end": 1.0,
    }
