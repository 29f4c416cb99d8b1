"""Which candidates a query must not push away: false negatives known from text identity.

A mask of B x C bits would undo the point of a loss that never holds a B x C matrix, so each query carries a
short list of text ids instead, and candidate j is left out for query i when its id is on that list and j is
not the query's own positive.
"""

from __future__ import annotations

import torch


def forbidden_table(
    targets: torch.Tensor,
    candidate_ids: torch.Tensor | None,
    query_ids: torch.Tensor | None = None,
    known_ids: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """Return (B, K) text ids that are no negatives for each query, or None when no ids are given.

    Columns: the query's own positive (duplicates of it), then, with ``query_ids``, the query's own text and the
    positives of all rows that have the same query, then ``known_ids`` (B, any) as given. K is a handful unless
    one query text is repeated with many distinct positives.
    """
    if candidate_ids is None:
        return None
    own = candidate_ids[targets]
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


def masked_columns(forbidden: torch.Tensor, candidate_ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the (rows, C) mask of left-out candidates for a few rows of queries (used chunk by chunk)."""
    mask = torch.zeros((len(forbidden), len(candidate_ids)), dtype=torch.bool, device=forbidden.device)
    for column in forbidden.unbind(1):
        mask |= candidate_ids[None, :] == column[:, None]
    return mask.scatter_(1, targets[:, None], False)
