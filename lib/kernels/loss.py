"""InfoNCE for training embedders: one call for every device, never a (B, C) matrix.

A (B, C) mask would undo that, so false negatives are known by text ids: each query carries a short list of ids, and a
candidate is left out for a query when its id is on that list and it is not the query's own positive.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

from lib.common.files import KitError
from lib.kernels.infonce_torch import StripInfoNCE

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


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
    Raises KitError for arguments that do not fit.
    """
    _check_embeddings(query, candidates)
    _check_options(temperature, reduction, backend)
    if candidate_ids is None and not (query_ids is None and known_ids is None):
        raise KitError("query_ids and known_ids need candidate_ids, the ids that they are compared with")
    if in_batch and negatives is not None:
        raise KitError("negatives is for in_batch=False; in-batch negatives see every candidate")
    rows, columns, device, scale = len(query), len(candidates), query.device, 1 / temperature
    targets = _targets(targets, rows, columns, device)
    forbidden = None
    if candidate_ids is not None:
        candidate_ids = _integers("candidate_ids", candidate_ids, (columns,), device)
        query_ids = None if query_ids is None else _integers("query_ids", query_ids, (rows,), device)
        known_ids = None if known_ids is None else _integers("known_ids", known_ids, (rows, -1), device)
        forbidden = forbidden_ids(candidate_ids[targets], query_ids, known_ids)

    if not in_batch:
        own = _own_negatives(negatives, targets, rows, columns)
        losses = _few_negatives(query, candidates, targets, own, scale, forbidden, candidate_ids)
    elif (backend or _fastest(query)) == "torch":
        return StripInfoNCE.apply(query, candidates, targets, scale, forbidden, candidate_ids, reduction)
    else:
        losses = _by_triton(query, candidates, targets, scale, forbidden, candidate_ids)
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def forbidden_ids(
    own: torch.Tensor, query_ids: torch.Tensor | None = None, known_ids: torch.Tensor | None = None
) -> torch.Tensor:
    """Return (B, K) text ids that are no negatives for each query; ``own`` (B,) are the ids of the positives.

    Columns: the query's own positive (duplicates of it), then, with ``query_ids``, the query's own text and the
    positives of all rows that have the same query, then ``known_ids`` (B, any) as given. K is a handful unless
    one query text is repeated with many distinct positives.
    """
    columns = [own[:, None]]
    if query_ids is not None:
        columns += [query_ids[:, None], positives_of_same_query(own, query_ids)]
    if known_ids is not None:
        columns.append(known_ids)
    return torch.cat(columns, dim=1).contiguous()


def positives_of_same_query(own: torch.Tensor, query_ids: torch.Tensor) -> torch.Tensor:
    """Return (B, K) ids of the distinct positives of each query text, padded with the row's own positive."""
    _, group = torch.unique(query_ids, return_inverse=True)
    pairs = torch.unique(torch.stack([group, own], dim=1), dim=0)  # distinct (query text, positive), sorted
    sizes = torch.bincount(pairs[:, 0])
    starts = sizes.cumsum(0) - sizes
    rank = torch.arange(len(pairs), device=own.device) - starts[pairs[:, 0]]
    table = torch.empty((len(sizes), int(sizes.max())), dtype=own.dtype, device=own.device)
    filled = torch.zeros_like(table, dtype=torch.bool)
    table[pairs[:, 0], rank] = pairs[:, 1]
    filled[pairs[:, 0], rank] = True
    return torch.where(filled[group], table[group], own[:, None])


def _fastest(query: torch.Tensor) -> str:
    return "triton" if query.is_cuda and query.dtype != torch.float64 and find_spec("triton") else "torch"


def _by_triton(query: torch.Tensor, *rest) -> torch.Tensor:
    """Losses (B,) by Triton. Raises KitError where Triton cannot run or has no such type."""
    if not query.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise KitError('backend="triton" needs tensors on a GPU; leave backend out')
    if query.dtype == torch.float64:
        raise KitError('backend="triton" has no float64; use backend="torch"')
    from lib.kernels.infonce_triton import TritonInfoNCE

    return TritonInfoNCE.apply(query, *rest)


def _own_negatives(negatives, targets: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return (B, n) rows of candidates that are each query's own hard negatives, -1 for none."""
    if negatives is not None:
        return _integers("negatives", negatives, (rows, -1), targets.device, -1, columns)
    if columns % rows:
        raise KitError(
            f"{columns} candidates are no multiple of {rows} queries; pass negatives, the rows of each query's hard "
            "negatives"
        )
    own = torch.arange(columns, device=targets.device).view(-1, rows).T
    return own.masked_fill(own == targets[:, None], -1)


def _few_negatives(query, candidates, targets, own, scale, forbidden, candidate_ids) -> torch.Tensor:
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


def _check_embeddings(query: torch.Tensor, candidates: torch.Tensor) -> None:
    """Raise KitError unless both are floating-point matrices of one width and type, on one device."""
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


def _check_options(temperature, reduction, backend) -> None:
    if isinstance(temperature, bool) or not 0 < temperature < float("inf"):
        raise KitError(f"temperature is {temperature!r}; it must be a finite number above zero, such as 0.02")
    if reduction not in ("mean", "sum", "none"):
        raise KitError(f'reduction is {reduction!r}; choose "mean", "sum" or "none"')
    if backend not in (None, "torch", "triton"):
        raise KitError(f'backend is {backend!r}; choose None, "torch" or "triton"')


def _targets(targets, rows: int, columns: int, device) -> torch.Tensor:
    """Return (B,) rows of candidates that are the positives: as given, or 0, 1, ..., B-1."""
    if targets is not None:
        return _integers("targets", targets, (rows,), device, 0, columns)
    if columns < rows:
        raise KitError(f"{rows} queries but {columns} candidates; put the positives first or pass targets")
    return torch.arange(rows, device=device)


def _integers(
    name: str, value, shape: tuple[int, ...], device, low: int | None = None, high: int | None = None
) -> torch.Tensor:
    """Return integers of ``shape`` (-1: any size) as contiguous int64 on ``device``, each in [low, high) if given."""
    value = torch.as_tensor(value)
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise KitError(f"{name} holds {value.dtype}; it must hold integers")
    if value.dim() != len(shape) or any(want not in (-1, got) for want, got in zip(shape, value.shape, strict=True)):
        raise KitError(f"{name} has shape {tuple(value.shape)}; it must be {shape}")
    if low is not None and value.numel() and not low <= value.min() <= value.max() < high:
        raise KitError(f"{name} holds a number outside {low} to {high - 1}; it must name a row of candidates")
    return value.to(device=device, dtype=torch.int64).contiguous()
