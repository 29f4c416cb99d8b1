"""Last layer at the pooled token and the shared prefix, on small random models of every family."""

from __future__ import annotations

import pytest
import torch

from lib.kernels import (
    InputError,
    common_prefix,
    forward_with_prefix,
    pool,
    pooled_last_layer,
    supports_last_layer,
    supports_prefix,
)
from lib.kernels.lora import fuse_lora

LENGTHS = torch.tensor([1, 9, 4, 9, 6])
FAMILIES = ["llama", "mistral", "mistral-sliding", "qwen2", "qwen2-sliding", "qwen3", "bert", "roberta"]


def tiny(family, fused=False, dropout=0.0):
    """A random 3-layer model of a family with LoRA on its linears and non-zero adapters."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    kind = family.removesuffix("-sliding")
    settings = dict(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    if kind not in ("bert", "roberta"):
        settings |= dict(num_key_value_heads=2, head_dim=8, attention_dropout=0.0)
    if kind == "mistral":
        settings |= dict(sliding_window=3 if family.endswith("sliding") else None)
    if family == "qwen2-sliding":  # the first layer is full, the others slide
        settings |= dict(use_sliding_window=True, sliding_window=3, max_window_layers=1)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **settings), attn_implementation="sdpa").eval()
    targets = (
        ["query", "key", "value", "dense"]
        if kind in ("bert", "roberta")
        else ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    model = get_peft_model(model, LoraConfig(target_modules=targets, r=4, lora_dropout=dropout))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    if fused:
        assert fuse_lora(model) > 0
    return model


def inputs(model, ragged=False):
    """Right-padded ids of five texts, with a mask for encoders only."""
    ids = torch.randint(3, 50, (len(LENGTHS), int(LENGTHS.max())), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(ids.shape[1]) < LENGTHS[:, None]).long()
    encoder = "bert" in model.config.model_type
    return dict(input_ids=ids, attention_mask=mask) if encoder else dict(input_ids=ids, use_cache=False)


def gradients(model, embeddings):
    model.zero_grad()
    (embeddings * torch.linspace(-1, 1, embeddings.numel()).view(embeddings.shape)).sum().backward()
    return torch.cat([p.grad.flatten() for _, p in sorted(model.named_parameters()) if p.grad is not None])


def same(one, other, tolerance=2e-6):
    assert one.shape == other.shape and torch.isfinite(one).all()
    error = (one - other).abs().max() / other.abs().max()
    assert error <= tolerance, f"relative error {error:.1e}"


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_last_layer_equals_full_layer(family, fused):
    model = tiny(family, fused)
    pooling = "cls" if "bert" in family else "last"
    assert supports_last_layer(model, pooling) and not supports_last_layer(model, "mean")
    full = pool(model(**inputs(model)).last_hidden_state, LENGTHS, pooling)
    want = gradients(model, full)
    with pooled_last_layer(model, lengths=LENGTHS):
        states = model(**inputs(model)).last_hidden_state
    assert states.shape == (len(LENGTHS), 1, 32)
    pruned = torch.nn.functional.normalize(states[:, 0], dim=1)
    same(pruned, full)
    same(gradients(model, pruned), want)
    assert model(**inputs(model)).last_hidden_state.shape[1] == 9  # the full layer is back


@pytest.mark.parametrize("family", ["mistral", "mistral-sliding", "qwen3"])
def test_last_layer_on_packed_rows(family):
    model = tiny(family).double()  # in float32 the two orders of adding differ by 2.3e-6 on some processors
    padded = inputs(model)
    full = pool(model(**padded).last_hidden_state, LENGTHS, "last")
    ids = torch.cat([row[:n] for row, n in zip(padded["input_ids"], LENGTHS.tolist(), strict=True)])[None]
    positions = torch.cat([torch.arange(n) for n in LENGTHS.tolist()])[None]
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), LENGTHS.cumsum(0)])
    with pooled_last_layer(model, offsets=offsets):
        states = model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    packed = torch.nn.functional.normalize(states[:, 0], dim=1)
    same(packed, full)
    same(gradients(model, packed), gradients(model, pool(model(**padded).last_hidden_state, LENGTHS, "last")))


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("family", [name for name in FAMILIES if "bert" not in name])
@pytest.mark.parametrize("length", [1, 5])
def test_shared_prefix_equals_full_texts(family, length, pruned):
    model = tiny(family, fused=pruned)
    prefix = torch.randint(3, 50, (length,), generator=torch.Generator().manual_seed(2))
    suffixes = inputs(model)["input_ids"]
    whole = torch.cat([prefix.expand(len(suffixes), -1), suffixes], dim=1)
    full = pool(model(input_ids=whole, use_cache=False).last_hidden_state, LENGTHS + length, "last")
    want = gradients(model, full)
    states = forward_with_prefix(model, prefix, suffixes, LENGTHS if pruned else None)
    shared = torch.nn.functional.normalize(states[:, 0], dim=1) if pruned else pool(states, LENGTHS, "last")
    same(shared, full)
    same(gradients(model, shared), want)


def test_prefix_is_found_on_tokens():
    assert common_prefix([[1, 2, 3, 4], [1, 2, 5], [1, 2, 3, 9, 9]]) == 2
    assert common_prefix([[1, 2, 3], [1, 2, 3]]) == 2  # one token stays
    assert common_prefix([[1, 2, 3], [1, 2]]) == 1
    assert common_prefix([[4], [4, 5]]) == 0 and common_prefix([[7]]) == 0 and common_prefix([]) == 0
    assert common_prefix([[1, 2], [3, 4]]) == 0


def test_refusals_are_one_sentence():
    encoder, decoder = tiny("bert"), tiny("qwen2")
    assert supports_prefix(decoder) and not supports_prefix(encoder)
    with pytest.raises(InputError, match="not causal"):
        forward_with_prefix(encoder, torch.tensor([3]), torch.tensor([[4]]))
    with pytest.raises(InputError, match="lengths"), pooled_last_layer(decoder):
        pass
    decoder.get_base_model().config.model_type = "gpt2"
    with pytest.raises(InputError, match="gpt2"), pooled_last_layer(decoder, lengths=LENGTHS):
        pass
