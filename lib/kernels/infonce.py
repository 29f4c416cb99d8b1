"""InfoNCE for training embedders: one call for every device, never a (B, C) matrix.

A (B, C) mask would undo that, so false negatives are known by text ids: each query carries a short list of ids, and a
candidate is left out for a query when its id is on that list and it is not the query's own positive.

On a CPU and for float64 plain torch takes a few query rows at a time. It holds one strip of scores of bounded size and
the two gradients, which are made while the strip is there (the loss is a sum over rows): three matrix products in all,
as many as a loss that stores every score. On a GPU it is ``lib.kernels.infonce_triton``.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch.autograd.function import once_differentiable

from lib.common.files import KitError

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
STRIP = 1 << 21  # scores held at a time: 8 MiB in fp32, the fastest of 2^16 to 2^24 on a CPU
STRIP_GPU = 1 << 26


def infonce(
    query: torch.Tensor,
    candidates: torch.Tensor,
    temperature: float = 0.02,
    *,
    candidate_ids: torch.Tensor | None = None,
    query_ids: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Return the mean InfoNCE loss of queries against candidates (paper, section 2: contrastive objective).

    query          (B, d) embeddings, usually of length 1; scores are dot products over ``temperature``
    candidates     (C, d) embeddings: the positives of the queries in their order, then hard negatives in any
    candidate_ids  (C,) integer per candidate, equal ids meaning equal texts: a copy of a query's positive is then
                   no negative for it
    query_ids      (B,) ids of the query texts in the same numbering: the query's own text and every positive of a
                   row with the same query are then no negatives for it (needs ``candidate_ids``)
    backend        None picks Triton on a GPU (bf16, fp16, fp32) and torch elsewhere; "torch" and "triton" force one

    Differentiable in both embeddings, once. Sums in fp32 (float64 for float64 input). Memory grows as B + C.
    Raises KitError for arguments that do not fit.
    """
    _check(query, candidates, temperature)
    forbidden = None
    if candidate_ids is not None:
        candidate_ids = _ids("candidate_ids", candidate_ids, candidates)
        query_ids = None if query_ids is None else _ids("query_ids", query_ids, query)
        forbidden = forbidden_ids(candidate_ids[: len(query)], query_ids)
    elif query_ids is not None:
        raise KitError("query_ids needs candidate_ids, the ids that it is compared with")
    arguments = query, candidates, 1 / temperature, forbidden, candidate_ids
    if backend is None:
        backend = "triton" if query.is_cuda and query.dtype != torch.float64 and find_spec("triton") else "torch"
    if backend == "torch":
        return StripInfoNCE.apply(*arguments)
    if backend != "triton":
        raise KitError(f'backend is {backend!r}; choose None, "torch" or "triton"')
    if query.dtype == torch.float64 or not (query.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"):
        raise KitError('backend="triton" needs bf16, fp16 or fp32 tensors on a GPU; leave backend out')
    from lib.kernels.infonce_triton import TritonInfoNCE

    return TritonInfoNCE.apply(*arguments)


def forbidden_ids(positives: torch.Tensor, query_ids: torch.Tensor | None) -> torch.Tensor:
    """Return (B, K) text ids that are no negatives for each query, with repetitions; K is mostly a handful.

    The query's own positive and, with ``query_ids``, its own text and the positives of all rows with the same query.
    """
    if query_ids is None:
        return positives[:, None].contiguous()
    _, group = torch.unique(query_ids, return_inverse=True)
    pairs = torch.unique(torch.stack([group, positives], dim=1), dim=0)  # distinct (query text, positive), sorted
    sizes = torch.bincount(pairs[:, 0])
    starts = sizes.cumsum(0) - sizes
    table = pairs[starts, 1][:, None].repeat(1, int(sizes.max()))  # shorter lists repeat their first
    table[pairs[:, 0], torch.arange(len(pairs), device=pairs.device) - starts[pairs[:, 0]]] = pairs[:, 1]
    return torch.cat([query_ids[:, None], table[group]], dim=1).contiguous()


class StripInfoNCE(torch.autograd.Function):
    """The mean loss, strip by strip in torch. In float64 for float64 input, in float32 otherwise."""

    @staticmethod
    def forward(ctx, query, candidates, scale, forbidden, candidate_ids):
        """query (B, d), candidates (C, d), forbidden (B, K) ids or None; keeps both gradients if any is wanted."""
        wanted = query.requires_grad or candidates.requires_grad
        wide = torch.float64 if query.dtype == torch.float64 else torch.float32
        texts = candidates.to(wide)
        scale = texts.new_tensor(scale)
        losses = torch.empty(len(query), dtype=wide, device=query.device)
        if wanted:
            grad_query = torch.empty(query.shape, dtype=wide, device=query.device)
            grad_texts = torch.zeros_like(texts)
        most = (STRIP_GPU if query.is_cuda else STRIP) // len(texts)
        step = max(1, min(most, (len(query) + 1) // 2))  # never all rows at once
        with torch.autocast(query.device.type, enabled=False):
            for start in range(0, len(query), step):
                part = slice(start, start + step)
                rows = query[part].to(wide)
                scores = (rows * scale) @ texts.T
                if forbidden is not None:
                    left_out = torch.zeros_like(scores, dtype=torch.bool)
                    for ids in forbidden[part].unbind(1):
                        left_out |= candidate_ids == ids[:, None]
                    left_out.diagonal(start).fill_(False)  # of query i its own positive, candidate i
                    scores.masked_fill_(left_out, -torch.inf)
                positive = scores.diagonal(start).clone()
                highest = scores.amax(1, keepdim=True)
                total = scores.sub_(highest).exp_().sum(1, keepdim=True)  # scores now hold exp(score - highest)
                losses[part] = (total.log() + highest).squeeze(1) - positive
                if wanted:
                    scores.mul_(scale / total).diagonal(start).sub_(scale)  # now the gradient of the raw scores
                    torch.mm(scores, texts, out=grad_query[part])
                    grad_texts.addmm_(scores.T, rows)
        if wanted:
            grad_query, grad_texts = grad_query.mul_(1 / len(query)), grad_texts.mul_(1 / len(query))
            ctx.save_for_backward(grad_query.to(query.dtype), grad_texts.to(candidates.dtype))
        return losses.sum() / len(query)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """Scale the gradients that are there already."""
        return *(saved * grad.to(saved.dtype) for saved in ctx.saved_tensors), None, None, None


def _check(query, candidates, temperature) -> None:
    """Raise KitError unless both are matrices of one width and type with a positive per query."""
    for name, value in (("query", query), ("candidates", candidates)):
        if not torch.is_tensor(value) or value.dim() != 2 or not value.numel() or value.dtype not in FLOATS:
            found = f"{value.dtype} of shape {tuple(value.shape)}" if torch.is_tensor(value) else type(value).__name__
            raise KitError(f"{name} is {found}; it must be a non-empty floating-point matrix (rows, dimension)")
    if query.shape[1] != candidates.shape[1]:
        wide = f"query has {query.shape[1]} dimensions and candidates {candidates.shape[1]}"
        raise KitError(f"{wide}; encode both with one model")
    if (query.dtype, query.device) != (candidates.dtype, candidates.device):
        raise KitError(
            f"query is {query.dtype} on {query.device} and candidates are {candidates.dtype} on {candidates.device}; "
            "cast or move one to the other's"
        )
    if len(candidates) < len(query):
        raise KitError(f"{len(query)} queries but {len(candidates)} candidates; put every query's positive first")
    if isinstance(temperature, bool) or not 0 < temperature < float("inf"):
        raise KitError(f"temperature is {temperature!r}; it must be a finite number above zero, such as 0.02")


def _ids(name: str, value, rows: torch.Tensor) -> torch.Tensor:
    """Return one int64 id per row, on the rows' device."""
    value = torch.as_tensor(value, device=rows.device)
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool or value.shape != rows.shape[:1]:
        raise KitError(f"{name} is {value.dtype} of shape {tuple(value.shape)}; it must be {len(rows)} integers")
    return value.to(torch.int64).contiguous()
