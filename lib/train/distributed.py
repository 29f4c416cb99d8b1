"""Data parallel training without a wrapper: each rank embeds a share of the step's texts and all sum.

The unit is one exact step over all ranks: texts are shared out balanced by tokens, embeddings are summed into
one matrix that every rank holds, each rank takes the loss of its share of the queries against all candidates
(already divided by the whole batch, so no factor of the world size appears anywhere), the gradients of the
embeddings are summed, pass 2 runs locally, and the adapter's gradients are summed once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist

from lib.embedder.packing import MicroBatch


class Group:
    """The ranks that train together; one process alone by default."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this rank writes files and shows the bar."""
        return self.rank == 0

    def share(self, plan: Sequence[MicroBatch]) -> list[MicroBatch]:
        """Return this rank's micro-batches: the largest goes to the rank with the fewest tokens so far."""
        loads = [0] * self.size
        mine = []
        for batch in plan:
            rank = loads.index(min(loads))
            loads[rank] += batch.padded
            if rank == self.rank:
                mine.append(batch)
        return mine

    def slice(self, count: int) -> slice:
        """Return this rank's share of ``count`` queries."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over the ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def smallest(self, value: int) -> int:
        """Return the smallest value that any rank gave."""
        if self.size == 1:
            return value
        found = torch.tensor(value, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(found, dist.ReduceOp.MIN)
        return int(found)

    def sum_gradients(self, model: torch.nn.Module) -> None:
        """Sum the gradients of the trainable weights over the ranks, all in one message."""
        if self.size == 1:
            return
        weights = [w for w in model.parameters() if w.requires_grad]
        flat = torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).reshape(-1).float() for w in weights])
        self.sum_(flat)
        for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
            weight.grad = part.view_as(weight).to(weight.dtype)

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()


def current() -> Group:
    """Return the group of the process group that is up, or a group of one."""
    return Group(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else Group()


@contextmanager
def launched():
    """Join the ranks that torchrun or accelerate started (by their environment variables); leave on exit.

    Yields the group; without a launcher, a group of one. On GPUs each rank takes the device of its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Group()
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if gpu else "gloo")
    try:
        yield current()
    finally:
        dist.destroy_process_group()
