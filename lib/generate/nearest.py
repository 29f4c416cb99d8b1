"""Exact nearest neighbours in blocks: the k best candidates per query, never a query x candidate matrix.

A block of queries meets the candidates chunk by chunk; only scores above the query's current k-th best are
looked at again. Memory is ``threads x block x chunk`` floats beside the embeddings themselves, whatever n is, and
nothing is approximated: the result equals a full sort.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

Mask = Callable[[np.ndarray, np.ndarray], np.ndarray]


def top_k(
    queries: np.ndarray,
    candidates: np.ndarray,
    k: int,
    *,
    ceiling: np.ndarray | None = None,
    forbidden: Iterable[tuple[int, int]] = (),
    groups: Iterable[tuple[np.ndarray, np.ndarray]] = (),
    block: int = 1024,
    chunk: int = 8192,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (scores, indices), each ``(queries, k)``, best first; -inf and -1 where fewer candidates are allowed.

    queries ``(n, d)`` and candidates ``(m, d)``: float32 rows of unit length, so that the inner product is the
    cosine. ``ceiling`` ``(n,)``: only candidates scoring strictly below it count. ``forbidden``: (query, candidate)
    positions never returned. ``groups``: pairs of integer labels ``(n,)``, ``(m,)`` that must be equal.
    Equal scores are ordered by candidate position.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    candidates = np.ascontiguousarray(candidates, np.float32)
    ceiling = np.full(len(queries), np.inf, np.float32) if ceiling is None else np.asarray(ceiling, np.float32)
    banned = np.array(sorted(set(forbidden)), np.int64).reshape(-1, 2)
    labels = [(np.asarray(a), np.asarray(b)) for a, b in groups]
    scores = np.full((len(queries), k), -np.inf, np.float32)
    indices = np.full((len(queries), k), -1, np.int64)

    def work(start: int) -> None:
        rows = slice(start, min(start + block, len(queries)))
        low, high = np.searchsorted(banned[:, 0], [rows.start, rows.stop])
        own = banned[low:high] - [rows.start, 0]
        for first in range(0, len(candidates), chunk):
            columns = slice(first, min(first + chunk, len(candidates)))
            found = queries[rows] @ candidates[columns].T
            inside = own[(own[:, 1] >= columns.start) & (own[:, 1] < columns.stop)]
            found[inside[:, 0], inside[:, 1] - columns.start] = -np.inf
            for of_query, of_candidate in labels:
                found[of_query[rows, None] != of_candidate[None, columns]] = -np.inf
            _merge(scores[rows], indices[rows], found, ceiling[rows], columns.start)

    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        list(pool.map(work, range(0, len(queries), block)))
    return scores, indices


def _merge(scores: np.ndarray, indices: np.ndarray, found: np.ndarray, ceiling: np.ndarray, offset: int) -> None:
    """Fold one tile of scores into the running best (in place).

    Most scores of a tile are below the row's k-th best so far: one comparison finds the few that are not, and
    only those are checked against the ceiling and sorted.
    """
    k, width = scores.shape[1], found.shape[1]
    if offset == 0 and width > 4 * k:  # the first tile: nothing is known yet, so find its own k-th best
        allowed = np.where(found < ceiling[:, None], found, -np.inf)
        better = found >= np.partition(allowed, width - k, axis=1)[:, width - k, None]
    else:
        better = found > scores[:, -1:]
    flat = np.flatnonzero(better)
    values, rows = found.ravel()[flat], flat // width
    keep = (values < ceiling[rows]) & (values > -np.inf)
    values, rows, columns = values[keep], rows[keep], flat[keep] % width + offset
    if not len(rows):
        return
    touched, counts = np.unique(rows, return_counts=True)
    line = np.repeat(np.arange(len(touched)), counts)
    place = k + np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    all_scores = np.full((len(touched), k + counts.max()), -np.inf, np.float32)
    all_indices = np.full(all_scores.shape, -1, np.int64)
    all_scores[:, :k], all_indices[:, :k] = scores[touched], indices[touched]
    all_scores[line, place], all_indices[line, place] = values, columns
    # A stable sort: those found in earlier tiles stand first and have lower positions, so ties keep that order.
    order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
    scores[touched] = np.take_along_axis(all_scores, order, axis=1)
    indices[touched] = np.take_along_axis(all_indices, order, axis=1)
