"""InfoNCE for training embedders: one call for every device, never a (B, C) matrix."""

from __future__ import annotations

import os

import torch

from lib.kernels import checks
from lib.kernels.infonce_torch import StripInfoNCE
from lib.kernels.masking import forbidden_table

BACKENDS = (None, "torch", "triton")


def infonce(
    query: torch.Tensor,
    candidates: torch.Tensor,
    targets: torch.Tensor | None = None,
    temperature: float = 0.02,
    *,
    query_ids: torch.Tensor | None = None,
    candidate_ids: torch.Tensor | None = None,
    known_ids: torch.Tensor | None = None,
    in_batch: bool = True,
    negatives: torch.Tensor | None = None,
    reduction: str = "mean",
    backend: str | None = None,
) -> torch.Tensor:
    """Return the InfoNCE loss of queries against candidates (paper, section 2: contrastive objective).

    query          (B, d) embeddings, usually of length 1; scores are dot products over ``temperature``
    candidates     (C, d) embeddings: positives first, then hard negatives
    targets        (B,) row of candidates that is each query's positive; default 0, 1, ..., B-1
    candidate_ids  (C,) integer per candidate, equal ids meaning equal texts: a copy of a query's positive is then
                   no negative for it
    query_ids      (B,) ids of the query texts in the same numbering: the query's own text and every positive of a
                   row with the same query are then no negatives for it (needs ``candidate_ids``)
    known_ids      (B, any) further text ids that are no negatives for each query (needs ``candidate_ids``)
    in_batch       False: each query sees its own positive and its own hard negatives only, the paper's
                   one-positive-one-negative form
    negatives      with in_batch=False, (B, n) rows of candidates that are each query's hard negatives, -1 for none;
                   default: candidate j belongs to query j mod B (positives, then one block of B per negative)
    reduction      "mean" over queries, "sum", or "none" for one loss per query
    backend        None picks Triton on a GPU (bf16, fp16, fp32) and torch elsewhere; "torch" and "triton" force one

    Differentiable in both embeddings, once. Sums in fp32 (float64 for float64 input). Memory grows as B + C.
    Raises checks.InputError (a KitError and a ValueError) for arguments that do not fit.
    """
    checks.embeddings(query, candidates)
    scale = 1 / checks.temperature(temperature)
    rows, columns, device = len(query), len(candidates), query.device
    checks.require(reduction in ("mean", "sum", "none"), f'reduction is {reduction!r}; choose "mean", "sum" or "none"')
    checks.require(backend in BACKENDS, f'backend is {backend!r}; choose None, "torch" or "triton"')
    targets = _targets(targets, rows, columns, device)
    candidate_ids, forbidden = _forbidden(targets, candidate_ids, query_ids, known_ids, rows, columns)
    if not in_batch:
        own = _own_negatives(negatives, targets, rows, columns, device)
        return _reduce(_separate(query, candidates, targets, own, scale, forbidden, candidate_ids), reduction)
    checks.require(negatives is None, "negatives is for in_batch=False; in-batch negatives see every candidate")
    arguments = (query, candidates, targets, scale, forbidden, candidate_ids)
    if (backend or choose(query)) == "triton":
        return _reduce(_triton(*arguments), reduction)
    return StripInfoNCE.apply(*arguments, reduction)


def _triton(query: torch.Tensor, *rest) -> torch.Tensor:
    """Losses (B,) by Triton. Raises checks.InputError where Triton cannot run or has no such type."""
    checks.require(
        query.is_cuda or os.environ.get("TRITON_INTERPRET") == "1",
        'backend="triton" needs tensors on a GPU; leave backend out',
    )
    checks.require(query.dtype != torch.float64, 'backend="triton" has no float64; use backend="torch"')
    from lib.kernels.infonce_triton import TritonInfoNCE

    return TritonInfoNCE.apply(query, *rest)


def _forbidden(targets, candidate_ids, query_ids, known_ids, rows: int, columns: int):
    """Return the checked candidate ids, and the table of ids that are no negatives of each query (None for none)."""
    checks.require(
        candidate_ids is not None or (query_ids is None and known_ids is None),
        "query_ids and known_ids need candidate_ids, the ids that they are compared with",
    )
    candidate_ids = checks.ids("candidate_ids", candidate_ids, (columns,), targets.device)
    query_ids = checks.ids("query_ids", query_ids, (rows,), targets.device)
    known_ids = checks.ids("known_ids", known_ids, (rows, -1), targets.device)
    return candidate_ids, forbidden_table(targets, candidate_ids, query_ids, known_ids)


def choose(query: torch.Tensor) -> str:
    """Return the backend for a tensor: "triton" on a GPU that has Triton, "torch" for all else."""
    if not query.is_cuda or query.dtype == torch.float64:
        return "torch"
    import importlib.util

    return "triton" if importlib.util.find_spec("triton") else "torch"


def _reduce(losses: torch.Tensor, reduction: str) -> torch.Tensor:
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def _targets(targets, rows: int, columns: int, device: torch.device) -> torch.Tensor:
    if targets is None:
        checks.require(
            columns >= rows, f"{rows} queries but {columns} candidates; put the positives first or pass targets"
        )
        return torch.arange(rows, device=device)
    return checks.index("targets", targets, (rows,), 0, columns, device)


def _own_negatives(negatives, targets, rows: int, columns: int, device: torch.device) -> torch.Tensor:
    """Return (B, n) rows of candidates that are each query's own hard negatives, -1 for none."""
    if negatives is not None:
        return checks.index("negatives", negatives, (rows, -1), -1, columns, device)
    checks.require(
        columns % rows == 0,
        f"{columns} candidates are no multiple of {rows} queries; pass negatives, "
        "the rows of each query's hard negatives",
    )
    own = torch.arange(columns, device=device).view(-1, rows).T
    return own.masked_fill(own == targets[:, None], -1)


def _separate(query, candidates, targets, own, scale, forbidden, candidate_ids) -> torch.Tensor:
    """Losses (B,) of the form without in-batch negatives: (B, 1 + n) scores, so plain autograd is enough."""
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    seen = torch.cat([targets[:, None], own], dim=1)
    left_out = (seen < 0) | (seen == targets[:, None])
    seen = seen.clamp_min(0)
    if forbidden is not None:
        left_out |= (candidate_ids[seen][:, :, None] == forbidden[:, None, :]).any(2)
    left_out[:, 0] = False
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.einsum("bd,bnd->bn", query.to(wide) * scale, candidates.to(wide)[seen])
        scores = scores.masked_fill(left_out, -torch.inf)
        return torch.logsumexp(scores, dim=1) - scores[:, 0]
