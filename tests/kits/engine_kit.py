"""Small random embedders of every family, a word tokenizer, and triplets: shared by the engine's tests."""

from __future__ import annotations

import random

import torch

from lib.common.design import Triplet
from lib.embedder.embedder import Embedder
from lib.params.model import ModelParams, TrainingParams

WORDS = [f"w{i}" for i in range(80)]
DECODERS = ["mistral", "mistral-sliding", "qwen2", "qwen2-sliding", "qwen3", "llama"]
FAMILIES = [*DECODERS, "bert", "roberta"]


def tokenizer():
    """A word-level tokenizer with padding and end-of-sequence tokens; it appends nothing by itself."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def core(family: str, dropout: float = 0.0, layers: int = 3):
    """A random model of a family; "-sliding" gives it a window of 3 tokens."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    kind = family.removesuffix("-sliding")
    settings = dict(
        vocab_size=90,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    if kind in ("bert", "roberta"):
        settings |= dict(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    else:
        settings |= dict(num_key_value_heads=2, head_dim=8, attention_dropout=dropout)
    if kind == "mistral":
        settings |= dict(sliding_window=3 if family.endswith("sliding") else None)
    if family == "qwen2-sliding":
        settings |= dict(use_sliding_window=True, sliding_window=3, max_window_layers=1)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **settings), attn_implementation="sdpa")
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def embedder(
    family: str = "bert", pooling: str | None = None, lora: bool = True, dropout: float = 0.0, **params
) -> Embedder:
    """A random embedder with (by default) a LoRA adapter whose B is not zero, so that every gradient is alive."""
    last = family.removesuffix("-sliding") not in ("bert", "roberta")
    pooling = pooling or ("last" if last else "mean")
    settings = ModelParams(
        name=family, pooling=pooling, append_eos=last, max_length=48, lora_rank=4, lora_alpha=8, **params
    )
    found = Embedder(core(family, dropout), tokenizer(), settings)
    if lora:
        found.attach_lora(seed=1)
        wake(found)
    return found


def wake(found: Embedder, seed: int = 5) -> None:
    """Give every LoRA B random weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in found.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))


def text(stream: random.Random, low: int, high: int) -> str:
    """A text of ``low`` to ``high`` words."""
    return " ".join(stream.choice(WORDS) for _ in range(stream.randint(low, high)))


def triplets(
    count: int = 12, seed: int = 0, low: int = 1, high: int = 20, source: str = "", negatives: bool = True
) -> list[Triplet]:
    """Triplets of mixed lengths, a quarter without a hard negative, with some repeated queries and positives."""
    stream = random.Random(seed)
    found = []
    for i in range(count):
        positive = found[i - 3].positive if i % 5 == 4 else text(stream, low, high)
        query = found[i - 2].query if i % 7 == 6 else text(stream, low, max(low, high // 2))
        negative = text(stream, low, high) if negatives and i % 4 != 3 else ""
        found.append(Triplet("find it", query, positive, negative, source, id=f"{source}-{i}"))
    return found


def training(**changes) -> TrainingParams:
    """Training parameters for tiny models."""
    return TrainingParams(
        **{
            "batch_size": 8,
            "max_length": 40,
            "temperature": 0.1,
            "learning_rate": 1e-2,
            "micro_batch_tokens": 64,
            "keep_graph_tokens": 0,
            **changes,
        }
    )


def gradients(model) -> torch.Tensor:
    """All gradients of the trainable weights as one vector."""
    return torch.cat([w.grad.reshape(-1).clone() for w in model.parameters() if w.requires_grad])


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest error relative to the largest entry."""
    return float((found - expected).abs().max() / expected.abs().max())


def one_by_one(found, some):
    """Every text alone in plain transformers: no padding, no mask, no helper of ours."""
    states = [
        found.core(input_ids=torch.tensor([row]), **({"use_cache": False} if found.causal else {})).last_hidden_state[0]
        for row in some
    ]
    mode = found.params.pooling
    pooled = torch.stack([s.mean(0) if mode == "mean" else s[0] if mode == "cls" else s[-1] for s in states])
    return torch.nn.functional.normalize(pooled, dim=1)
