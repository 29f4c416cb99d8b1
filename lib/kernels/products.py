"""Matrix products of low-precision operands whose sums must stay in fp32."""

from __future__ import annotations

import torch

LOW = (torch.bfloat16, torch.float16)


def product_fp32(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return ``left @ right`` in fp32 for bf16 and fp16 operands (without copies of them on a GPU), as is otherwise."""
    if left.dtype not in LOW:
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()
