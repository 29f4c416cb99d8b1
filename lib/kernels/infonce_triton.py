"""InfoNCE in Triton: score tiles live in registers, the backward pass makes them again from the log-sums.

Forward: every program owns some queries and a share of the candidates and keeps a running log-sum-exp; shares are
combined afterwards. Backward: tiles of d loss / d score are recomputed into a slab of bounded size, and two matrix
products turn a slab into gradients. No (B, C) matrix, any B, C and d, no inline assembly (the interpreter runs it).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

SLAB = 1 << 25  # gradient entries held at a time: 64 MiB in bf16, 128 MiB in fp32
LOW = (torch.bfloat16, torch.float16)
MAX_SHARES = 64  # a query's candidates are split into at most this many parts in the forward pass


@triton.jit
def _tile(
    query, texts, rows, columns, n_rows, n_columns, dim, scale,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Scores of a (ROWS, COLUMNS) tile in fp32; rows and columns beyond the end read as zero."""
    scores = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    row_ok, column_ok = rows < n_rows, columns < n_columns
    left = query + rows.to(tl.int64)[:, None] * dim
    right = texts + columns.to(tl.int64)[None, :] * dim
    for start in range(0, dim, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        inside = depth < dim
        a = tl.load(left + depth[None, :], mask=row_ok[:, None] & inside[None, :], other=0.0)
        b = tl.load(right + depth[:, None], mask=column_ok[None, :] & inside[:, None], other=0.0)
        scores = tl.dot(a, b, acc=scores, input_precision="ieee")
    return scores * scale


@triton.jit
def _left_out(
    forbidden, candidate_ids, rows, columns, n_rows, n_columns, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """True where a candidate's id stands on the query's list of ids that are no negatives, its own positive apart."""
    ids = tl.load(candidate_ids + columns, mask=columns < n_columns, other=0)
    found = tl.zeros((ROWS, COLUMNS), dtype=tl.int32)
    for k in range(0, width):
        listed = tl.load(forbidden + rows.to(tl.int64) * width + k, mask=rows < n_rows, other=0)
        found += (listed[:, None] == ids[None, :]).to(tl.int32)
    return (found > 0) & (rows[:, None] != columns[None, :])


@triton.jit
def _forward(
    query, texts, forbidden, candidate_ids, log_sums, positives, n_rows, n_columns, dim, width, scale, tiles, shares,
    MASKED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp and the positive's score (candidate i is query i's) of ROWS queries over ``tiles`` tiles."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    share = tl.program_id(1)
    highest = tl.full((ROWS,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((ROWS,), dtype=tl.float32)
    positive = tl.zeros((ROWS,), dtype=tl.float32)
    for tile in range(share * tiles, share * tiles + tiles):
        columns = tile * COLUMNS + tl.arange(0, COLUMNS)
        scores = _tile(query, texts, rows, columns, n_rows, n_columns, dim, scale, ROWS, COLUMNS, DEPTH)
        positive += tl.sum(tl.where(rows[:, None] == columns[None, :], scores, 0.0), axis=1)
        keep = (columns < n_columns)[None, :] & (rows < n_rows)[:, None]
        if MASKED:
            out = _left_out(forbidden, candidate_ids, rows, columns, n_rows, n_columns, width, ROWS, COLUMNS)
            keep = keep & (out == 0)
        scores = tl.where(keep, scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, axis=1))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # a tile may be masked altogether
        total = total * tl.exp(highest - base) + tl.sum(tl.exp(scores - base[:, None]), axis=1)
        highest = higher
    where = rows.to(tl.int64) * shares + share
    log_sum = tl.where(total > 0, highest + tl.log(tl.where(total > 0, total, 1.0)), float("-inf"))
    tl.store(log_sums + where, log_sum, mask=rows < n_rows)
    tl.store(positives + where, positive, mask=rows < n_rows)


@triton.jit
def _score_gradient(
    query, texts, forbidden, candidate_ids, log_sums, slab, first, n_rows, n_columns, dim, width, scale,
    MASKED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """One tile of d loss / d (query . candidate) for the queries from ``first`` on, written into the slab."""
    local = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    rows = first + local
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    row_ok = rows < n_rows
    scores = _tile(query, texts, rows, columns, n_rows, n_columns, dim, scale, ROWS, COLUMNS, DEPTH)
    log_sum = tl.load(log_sums + rows, mask=row_ok, other=0.0)
    share = tl.exp(scores - log_sum[:, None])
    if MASKED:
        out = _left_out(forbidden, candidate_ids, rows, columns, n_rows, n_columns, width, ROWS, COLUMNS)
        share = tl.where(out == 0, share, 0.0)
    gradient = (share - tl.where(rows[:, None] == columns[None, :], 1.0, 0.0)) * scale
    where = slab + local.to(tl.int64)[:, None] * n_columns + columns[None, :]
    tl.store(where, gradient.to(slab.dtype.element_ty), mask=row_ok[:, None] & (columns < n_columns)[None, :])


def share_count(rows: int, columns: int, sizes: dict[str, int], device: torch.device) -> tuple[int, int]:
    """Return (shares, tiles per share) so that a GPU has about two programs per multiprocessor."""
    tiles = triton.cdiv(columns, sizes["COLUMNS"])
    wanted = 2 * torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4
    shares = max(1, min(tiles, MAX_SHARES, triton.cdiv(wanted, triton.cdiv(rows, sizes["ROWS"]))))
    per_share = triton.cdiv(tiles, shares)
    return triton.cdiv(tiles, per_share), per_share


def product_fp32(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return ``left @ right`` in fp32 for bf16 and fp16 operands (without copies of them on a GPU), as is otherwise."""
    if left.is_cuda and left.dtype in LOW:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


class TritonInfoNCE(torch.autograd.Function):
    """The mean loss in fp32; see ``lib.kernels.infonce`` for the arguments."""

    @staticmethod
    def forward(ctx, query, candidates, scale, forbidden, candidate_ids):
        """Compute the loss and keep the log-sums, O(B)."""
        query, candidates = query.contiguous(), candidates.contiguous()
        launch = _launch(query, candidates, scale, forbidden, candidate_ids)
        shares, per_share = share_count(len(query), len(candidates), launch, query.device)
        log_sums = query.new_empty((len(query), shares), dtype=torch.float32)
        positives = torch.empty_like(log_sums)
        grid = (triton.cdiv(len(query), launch["ROWS"]), shares)
        _forward[grid](
            log_sums=log_sums, positives=positives, n_rows=len(query), tiles=per_share, shares=shares, **launch
        )
        log_sum = torch.logsumexp(log_sums, dim=1)
        ctx.save_for_backward(query, candidates, forbidden, candidate_ids, log_sum)
        ctx.scale = scale
        return (log_sum - positives.sum(1)).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """Recompute score gradients slab by slab; sums in fp32, results in the inputs' dtype."""
        query, candidates, forbidden, candidate_ids, log_sum = ctx.saved_tensors
        launch = _launch(query, candidates, ctx.scale, forbidden, candidate_ids)
        rows, columns = len(query), len(candidates)
        grad = grad / rows
        # fp16 would lose small gradients; bf16 has the range of fp32
        kind = torch.bfloat16 if query.dtype == torch.bfloat16 else torch.float32
        step = max(1, min(SLAB // columns, (rows + 1) // 2))
        slab = query.new_empty((step, columns), dtype=kind)
        grad_query = torch.empty_like(query)
        grad_texts = torch.zeros_like(candidates, dtype=torch.float32)
        for first in range(0, rows, step):
            last = min(first + step, rows)
            grid = (triton.cdiv(last - first, launch["ROWS"]), triton.cdiv(columns, launch["COLUMNS"]))
            _score_gradient[grid](log_sums=log_sum, slab=slab, first=first, n_rows=last, **launch)
            part = slab[: last - first]
            grad_query[first:last] = product_fp32(part, candidates.to(kind)) * grad
            grad_texts += product_fp32(part.T, query[first:last].to(kind))
        return grad_query, (grad_texts * grad).to(candidates.dtype), None, None, None


def _launch(query, candidates, scale, forbidden, candidate_ids) -> dict:
    """Return what both kernels are given. Tiles are powers of two, at least 16 as tl.dot wants, not above the need."""
    needs = len(query), len(candidates), query.shape[1]
    largest = (128, 128, 64) if query.dtype in LOW else (64, 64, 32)
    sizes = [max(16, min(top, triton.next_power_of_2(n))) for top, n in zip(largest, needs, strict=True)]
    if not query.is_cuda and query.dtype == torch.bfloat16:
        query, candidates = query.float(), candidates.float()  # Triton's interpreter takes bf16 for integers
    masked = forbidden is not None
    return {
        "query": query,
        "texts": candidates,
        "forbidden": forbidden if masked else query,  # not read when not masked
        "candidate_ids": candidate_ids if masked else query,
        "n_columns": len(candidates),
        "dim": query.shape[1],
        "width": forbidden.shape[1] if masked else 0,
        "scale": scale,
        "MASKED": masked,
        **dict(zip(("ROWS", "COLUMNS", "DEPTH"), sizes, strict=True)),
    }
