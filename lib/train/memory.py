"""What fits into memory: how many tokens go through the model together, how many graphs are kept, and in which type."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import psutil
import torch

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
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
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
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


class HalvedGraphs(torch.autograd.graph.saved_tensors_hooks):
    """Within the block, float32 activations that autograd saves are kept as bfloat16 and read back as float32.

    Twice as many micro-batches keep their graph then, and each of those skips GradCache's second forward pass; all
    arithmetic stays in float32. The loss stays exact; the gradient is taken at activations rounded to 8 bits of
    mantissa, as in any bfloat16 training. Weights stay as they are, and so do masks, statistics of norms and log-sums
    of attention, which are small and would not bear the rounding. ``config`` is the model's, for the widths that
    activations have.
    """

    def __init__(self, config):
        super().__init__(self._pack, _unpack)
        heads = config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // heads
        self.widths, self.heads = {config.hidden_size, config.intermediate_size, head}, heads
        # neighbouring linear layers save the same input; holding the last few makes "same memory" mean "same tensor"
        self.recent: deque = deque(maxlen=2)

    def __exit__(self, *arguments):
        self.recent.clear()
        return super().__exit__(*arguments)

    def _activation(self, tensor: torch.Tensor) -> bool:
        if tensor.dtype != torch.float32 or isinstance(tensor, torch.nn.Parameter) or tensor.dim() < 2:
            return False
        log_sums = tensor.dim() == 3 and tensor.shape[1] == self.heads  # of attention: (texts, heads, length)
        return tensor.shape[-1] in self.widths and not log_sums

    def _pack(self, tensor: torch.Tensor):
        if not self._activation(tensor):
            return tensor
        place = tensor.data_ptr(), tensor.numel(), tensor._version
        if tensor.is_contiguous():
            for original, known, small in self.recent:
                if known == place and original._version == place[2]:
                    return small, tensor.shape
        small = tensor.detach().to(torch.bfloat16)
        if not tensor.is_contiguous():
            return small, None
        self.recent.append((tensor.detach(), place, small))
        return small, tensor.shape


def _unpack(kept) -> torch.Tensor:
    if isinstance(kept, torch.Tensor):
        return kept
    small, shape = kept
    return small.float() if shape is None else small.float().view(shape)


def attention_of(embedder: Embedder, params: TrainingParams) -> str:
    """Return the attention body: the one asked for, or what was measured to be fastest on the device.

    2026-11-26, SmolLM2-135M on a processor, a training step of 10 triplets (3,488 tokens): ragged x1.17 of padded.
    """
    if params.attention != "auto":
        return params.attention
    plain = not params.checkpointing and not params.base_dropout
    return "ragged" if embedder.device.type == "cpu" and plain else "padded"
