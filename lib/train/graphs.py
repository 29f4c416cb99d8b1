"""Graphs in half the memory: what the backward pass needs is kept in bfloat16, all arithmetic stays in float32.

A processor without bfloat16 arithmetic gains nothing from a bfloat16 model, but twice as many micro-batches keep
their graph when the graphs are half as large, and each of those skips GradCache's second forward pass. The loss stays
exact; the gradient is taken at activations rounded to 8 bits of mantissa, as in any bfloat16 training.
"""

from __future__ import annotations

from collections import deque

import torch


class HalvedGraphs(torch.autograd.graph.saved_tensors_hooks):
    """Within the block, float32 activations that autograd saves are kept as bfloat16 and read back as float32.

    Weights stay as they are, and so do masks, statistics of norms and log-sums of attention, which are small and
    would not bear the rounding. ``config`` is the model's, for the widths that activations have.
    """

    def __init__(self, config):
        super().__init__(self._pack, _unpack)
        heads = config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // heads
        self.widths, self.heads = {config.hidden_size, config.intermediate_size, head}, heads
        # Neighbouring linear layers save the same input. Holding the last few alive makes "same memory" mean "same tensor".
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
