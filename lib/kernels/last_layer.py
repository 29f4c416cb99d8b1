"""The last transformer layer only where its output is used: at the one token that becomes the embedding.

Keys and values of the last layer still need every token, but its query, attention output, MLP and norms are
wanted at the pooled token alone. Exact; saves about a third of attention and all but one token of the MLP of
one layer in L. Decoders pool the last token (Mistral, Qwen2, Qwen3, Llama), BERT and RoBERTa the first (CLS);
mean pooling needs every token and cannot use this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from lib.kernels.checks import require

DECODERS = ("mistral", "qwen2", "qwen3", "llama")
ENCODERS = ("bert", "roberta", "xlm-roberta")


def supports_last_layer(model: torch.nn.Module, pooling: str) -> bool:
    """Return True where ``pooled_last_layer`` knows the model family and the pooling uses one token."""
    family = base_model(model).config.model_type
    return (family in DECODERS and pooling == "last") or (family in ENCODERS and pooling == "cls")


def base_model(model: torch.nn.Module) -> torch.nn.Module:
    """Return the transformer that holds the layers, inside peft or a task head."""
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    return getattr(model, model.base_model_prefix, model) if hasattr(model, "base_model_prefix") else model


@contextmanager
def pooled_last_layer(
    model: torch.nn.Module, lengths: torch.Tensor | None = None, offsets: torch.Tensor | None = None
) -> Iterator[None]:
    """Within the block, ``model(...).last_hidden_state`` is (n, 1, h): the pooled token of each text.

    Give ``lengths`` (n,) for right-padded (n, t) input or ``offsets`` (n + 1,) for texts end to end in one row.
    Works with LoRA, gradients, sliding windows and a DynamicCache in front (``prefix``). Raises InputError for a
    model family it does not know.
    """
    base = base_model(model)
    family = base.config.model_type
    require(
        family in DECODERS + ENCODERS,
        f"the last layer of {family} models cannot be pooled early; switch it off "
        f"(known: {', '.join(DECODERS + ENCODERS)})",
    )
    require(
        (lengths is None) != (offsets is None), "give lengths for padded input or offsets for packed input, not both"
    )
    decoder = family in DECODERS
    layer = (base.layers if decoder else base.encoder.layer)[-1]
    body = _decoder_layer if decoder else _encoder_layer
    span = _Span(lengths, offsets, last=decoder)
    layer.forward = lambda hidden_states, *args, **kwargs: body(layer, span, hidden_states, *args, **kwargs)
    try:
        yield
    finally:
        del layer.forward


@dataclass
class _Span:
    """Where each text lies in the hidden states, and which of its tokens is pooled."""

    lengths: torch.Tensor | None
    offsets: torch.Tensor | None
    last: bool

    def pick(self, states: torch.Tensor) -> torch.Tensor:
        """Return the pooled token of (n, t, ...) padded or (1, total, ...) packed states, as (n, 1, ...)."""
        if self.offsets is not None:
            where = self.offsets[1:] - 1 if self.last else self.offsets[:-1]
            return states[0, where.to(states.device)][:, None]
        if not self.last:
            return states[:, :1]
        rows = torch.arange(len(self.lengths), device=states.device)
        return states.expand(len(rows), *states.shape[1:])[rows, self.lengths.to(states.device) - 1][:, None]

    def keys(self, states: torch.Tensor) -> torch.Tensor:
        """Return keys or values (n, t, ...) right-padded, from padded or packed ones."""
        if self.offsets is None:
            return states
        offsets = self.offsets.to(states.device)
        width = int(offsets.diff().max())
        index = offsets[:-1, None] + torch.arange(width, device=states.device)
        return states[0, index.clamp_max(states.shape[1] - 1)]

    def mask(self, width: int, past: int, window: int | None, device: torch.device) -> torch.Tensor:
        """Return (n, 1, 1, width) booleans: which keys the pooled token of each text may see."""
        lengths = self.lengths if self.offsets is None else self.offsets.diff()
        ends = past + lengths.to(device)[:, None]
        positions = torch.arange(width, device=device)
        seen = positions < ends
        if window is not None:
            seen &= positions >= ends - window
        return seen[:, None, None]


def _attend(query, key, value, mask, scale, dropout):
    """One query token per text. query (n, heads, dim); key, value (n, key heads, t, dim); returns (n, 1, heads x dim).

    Query heads that share a key head are laid out as that head's queries, so keys are never repeated.
    """
    grouped = query.view(len(query), key.shape[1], -1, query.shape[-1])
    out = scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scale, dropout_p=dropout)
    return out.reshape(len(query), 1, -1)


def _rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding of (n, t, heads, dim) states by (n, t, dim) angles."""
    first, second = states.chunk(2, dim=-1)
    return states * cos.unsqueeze(2) + torch.cat((-second, first), dim=-1) * sin.unsqueeze(2)


def _window(attention) -> int | None:
    """Return the layer's sliding window; Mistral keeps it in its configuration, Qwen in each layer."""
    if attention.config.model_type == "mistral":
        return attention.config.sliding_window
    return getattr(attention, "sliding_window", None)


def _decoder_layer(
    layer,
    span: _Span,
    hidden,
    attention_mask=None,
    position_ids=None,
    past_key_values=None,
    use_cache=False,
    position_embeddings=None,
    **kwargs,
):
    """A pre-norm decoder layer at the last token of each text; returns (n, 1, h)."""
    attention = layer.self_attn
    heads = (*hidden.shape[:2], -1, attention.head_dim)
    normed = layer.input_layernorm(hidden)
    picked = span.pick(normed)
    query = attention.q_proj(picked).view(len(picked), 1, -1, attention.head_dim)
    key, value = attention.k_proj(normed).view(heads), attention.v_proj(normed).view(heads)
    if hasattr(attention, "q_norm"):
        query, key = attention.q_norm(query), attention.k_norm(key)
    cos, sin = position_embeddings
    query = _rotate(query, span.pick(cos), span.pick(sin))
    key = span.keys(_rotate(key, cos, sin)).transpose(1, 2)
    value = span.keys(value).transpose(1, 2)
    fresh = key.shape[2]
    if past_key_values is not None:
        key, value = past_key_values.update(key, value, attention.layer_idx)
    mask = span.mask(key.shape[2], key.shape[2] - fresh, _window(attention), key.device)
    dropout = attention.attention_dropout if layer.training else 0.0
    out = attention.o_proj(_attend(query.squeeze(1), key, value, mask, attention.scaling, dropout))
    out = span.pick(hidden) + out
    return out + layer.mlp(layer.post_attention_layernorm(out))


def _encoder_layer(layer, span: _Span, hidden, *args, **kwargs):
    """A post-norm BERT layer at the first token of each text; returns (n, 1, h)."""
    attention = layer.attention.self
    heads = (*hidden.shape[:2], -1, attention.attention_head_size)
    picked = span.pick(hidden)
    query = attention.query(picked).view(len(picked), -1, attention.attention_head_size)
    key = span.keys(attention.key(hidden).view(heads)).transpose(1, 2)
    value = span.keys(attention.value(hidden).view(heads)).transpose(1, 2)
    mask = span.mask(key.shape[2], 0, None, key.device)
    dropout = attention.dropout.p if layer.training else 0.0
    out = _attend(query, key, value, mask, attention.scaling, dropout)
    return layer.feed_forward_chunk(layer.attention.output(out, picked))
