"""The instruction that all queries of a batch begin with, run once instead of once per query, with its gradient.

In a causal decoder the hidden states of a prefix do not depend on what follows, so its keys and values can be
computed once and shared; autograd sums the gradients of all the texts into them. The prefix is found on tokens
(the tokens of a joined string need not be the joined tokens of its parts). Exact for causal models only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lib.kernels.checks import require
from lib.kernels.last_layer import DECODERS, base_model, pooled_last_layer


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Return how many leading tokens all rows share, leaving every row at least one token of its own."""
    if not rows:
        return 0
    low, high = min(rows), max(rows)  # the two that differ earliest, in lexical order
    limit = min(len(row) for row in rows) - 1
    shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return max(0, min(shared, limit))


def supports_prefix(model: torch.nn.Module) -> bool:
    """Return True for the decoder families this was tested with."""
    return base_model(model).config.model_type in DECODERS


def prefix_cache(model: torch.nn.Module, prefix: torch.Tensor, texts: int):
    """Run ``prefix`` (p,) token ids once; return a DynamicCache that shows its keys and values to ``texts`` rows.

    Gradients flow through it. Use it for one forward pass: that pass appends to it.
    """
    from transformers import DynamicCache

    require(
        supports_prefix(model),
        f"{base_model(model).config.model_type} models are not causal; "
        "a prefix can only be shared in a decoder, switch the shared prefix off",
    )
    once, shared = DynamicCache(), DynamicCache()  # without a config: full layers, sliding windows by mask
    model(input_ids=prefix.view(1, -1), past_key_values=once, use_cache=True)
    for index, layer in enumerate(once.layers):
        shared.update(layer.keys.expand(texts, -1, -1, -1), layer.values.expand(texts, -1, -1, -1), index)
    return shared


def forward_with_prefix(
    model: torch.nn.Module, prefix: torch.Tensor, suffixes: torch.Tensor, lengths: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the last hidden states (n, t, h) of right-padded ``suffixes`` (n, t) that follow ``prefix`` (p,).

    With ``lengths`` (n,), the suffixes' real tokens, only the last token's state comes back, (n, 1, h), and the
    last layer is computed there alone.
    """
    cache = prefix_cache(model, prefix, len(suffixes))
    positions = torch.arange(suffixes.shape[1], device=suffixes.device)[None] + prefix.numel()
    arguments = dict(input_ids=suffixes, position_ids=positions, past_key_values=cache, use_cache=False)
    if lengths is None:
        return model(**arguments).last_hidden_state
    with pooled_last_layer(model, lengths=lengths):
        return model(**arguments).last_hidden_state
