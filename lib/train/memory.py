"""How many tokens fit: budgets for micro-batches and kept graphs, from the memory that is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.embedder.embedder import Embedder
    from lib.params.params import TrainingParams

CPU_TOKENS = 2048  # a processor gains nothing from larger micro-batches: activations leave its cache
GPU_TOKENS = (2048, 32768)


def bytes_per_token(config, element: int, fused: bool = True) -> int:
    """Return the activations that one token's graph holds through all layers, an estimate in bytes."""
    wide = getattr(config, "intermediate_size", 4 * config.hidden_size)
    per_layer = (6 * config.hidden_size + 3 * wide) * element
    return int(per_layer * config.num_hidden_layers * (1 if fused else 1.5))


def free(device) -> int:
    """Return the bytes that are free on a device (of the machine's memory, what can be had without swapping)."""
    if device.type == "cuda":
        import torch

        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    import psutil

    return psutil.virtual_memory().available


def budgets(embedder: Embedder, params: TrainingParams) -> tuple[int, int]:
    """Return (tokens per micro-batch, tokens whose graphs are kept), the parameters' or what fits.

    On a processor the micro-batch is a constant, so that free memory never changes a bit of the result; a quarter
    of the free memory may hold graphs. On a GPU two thirds of it are for one micro-batch at most, and what that
    leaves (up to 85 %) holds graphs.
    """
    device = embedder.device
    element = 2 if params.keep_graphs_in == "bfloat16" else next(embedder.core.parameters()).element_size()
    token = bytes_per_token(embedder.core.config, element, params.fused_lora)
    room = free(device)
    budget, keep = params.micro_batch_tokens, params.keep_graph_tokens
    if not budget:
        low, high = GPU_TOKENS
        budget = CPU_TOKENS if device.type == "cpu" else int(min(max(room * 2 / 3 / token, low), high))
    if keep < 0:
        spare = room / 4 if device.type == "cpu" else 0.85 * room - budget * token
        keep = max(0, int(spare / token))
    return budget, keep


def used(device) -> int:
    """Return the bytes in use by this process: its memory on a processor, the peak of its tensors on a GPU."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    import psutil

    return psutil.Process().memory_info().rss
