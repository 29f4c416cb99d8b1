"""InfoNCE in plain torch, a few query rows at a time; the path of CPUs and of float64.

Both passes hold one (rows, C) strip of scores of bounded size and the two gradients, so memory grows as B + C.
The gradients are made while the strip is there (the loss is a sum over rows): three matrix products in all,
as many as a loss that stores every score.
"""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

STRIP = 1 << 21  # scores held at a time: 8 MiB in fp32, the fastest of 2^16 to 2^24 on a CPU
STRIP_GPU = 1 << 26


def masked_columns(forbidden: torch.Tensor, candidate_ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the (rows, C) mask of candidates that are left out, for the few rows of one strip."""
    mask = torch.zeros((len(forbidden), len(candidate_ids)), dtype=torch.bool, device=forbidden.device)
    for column in forbidden.unbind(1):
        mask |= candidate_ids[None, :] == column[:, None]
    return mask.scatter_(1, targets[:, None], False)


def strips(
    query: torch.Tensor,
    candidates: torch.Tensor,
    targets: torch.Tensor,
    scale: float,
    forbidden: torch.Tensor | None,
    candidate_ids: torch.Tensor | None,
    weights: torch.Tensor | None,
):
    """Return losses (B,) and, when ``weights`` (B,) are given, the gradients of sum(weights * losses).

    Computes in float64 for float64 input and in float32 otherwise. Shapes as in ``lib.kernels.infonce``.
    """
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    texts = candidates.to(wide)
    losses = torch.empty(len(query), dtype=wide, device=query.device)
    grad_query = torch.empty(query.shape, dtype=wide, device=query.device) if weights is not None else None
    grad_texts = torch.zeros(texts.shape, dtype=wide, device=query.device) if weights is not None else None
    most = (STRIP_GPU if query.is_cuda else STRIP) // len(texts)
    step = max(1, min(most, (len(query) + 1) // 2))  # never all rows at once
    with torch.autocast(query.device.type, enabled=False):
        for start in range(0, len(query), step):
            part = slice(start, start + step)
            rows, target = query[part].to(wide), targets[part, None]
            scores = (rows * scale) @ texts.T
            if forbidden is not None:
                scores.masked_fill_(masked_columns(forbidden[part], candidate_ids, targets[part]), -torch.inf)
            positive = scores.gather(1, target)
            highest = scores.amax(1, keepdim=True)
            total = scores.sub_(highest).exp_().sum(1, keepdim=True)  # scores now hold exp(score - highest)
            losses[part] = (total.log() + highest - positive).squeeze(1)
            if weights is None:
                continue
            share = weights[part, None].to(wide) * scale
            scores.mul_(share / total).scatter_add_(1, target, -share)  # now the gradient of the raw scores
            torch.mm(scores, texts, out=grad_query[part])
            grad_texts.addmm_(scores.T, rows)
    return losses, grad_query, grad_texts


class StripInfoNCE(torch.autograd.Function):
    """Losses of all rows reduced by "mean", "sum" or "none"; see ``lib.kernels.infonce`` for the arguments."""

    @staticmethod
    def forward(ctx, query, candidates, targets, scale, forbidden, candidate_ids, reduction):
        """Compute the loss and, for a scalar loss with gradients wanted, both gradients."""
        ctx.scale, ctx.reduction = scale, reduction
        wanted = query.requires_grad or candidates.requires_grad
        weights = None
        if wanted and reduction != "none":
            weights = query.new_full((len(query),), 1 / len(query) if reduction == "mean" else 1.0, dtype=torch.float64)
        losses, grad_query, grad_texts = strips(query, candidates, targets, scale, forbidden, candidate_ids, weights)
        if wanted and reduction == "none":
            ctx.save_for_backward(query, candidates, targets, forbidden, candidate_ids)
        elif wanted:
            ctx.save_for_backward(grad_query.to(query.dtype), grad_texts.to(candidates.dtype))
        return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """Scale the stored gradients, or walk the strips again when each row has its own weight."""
        if ctx.reduction == "none":
            query, candidates, targets, forbidden, candidate_ids = ctx.saved_tensors
            _, left, right = strips(query, candidates, targets, ctx.scale, forbidden, candidate_ids, grad)
            left, right = left.to(query.dtype), right.to(candidates.dtype)
        else:
            left, right = (saved * grad.to(saved.dtype) for saved in ctx.saved_tensors)
        return left, right, None, None, None, None, None
