"""Plain versions that the fast ones are tested against: every matrix written out, any float type."""

from __future__ import annotations

import torch


def infonce(
    query,
    candidates,
    targets=None,
    temperature=0.02,
    *,
    query_ids=None,
    candidate_ids=None,
    known_ids=None,
    in_batch=True,
    negatives=None,
    reduction="mean",
):
    """InfoNCE with the whole (B, C) score matrix; arguments as in ``lib.kernels.infonce``, autograd does the rest.

    Works in the dtype it is given (pass float64 for a reference). For tests and teaching, not for training.
    """
    rows, columns = len(query), len(candidates)
    targets = torch.arange(rows, device=query.device) if targets is None else targets
    scores = query @ candidates.T / temperature
    left_out = torch.zeros(rows, columns, dtype=torch.bool, device=query.device)
    for i in range(rows):
        target = int(targets[i])
        if candidate_ids is not None:
            known = {int(candidate_ids[target])}
            if query_ids is not None:
                known.add(int(query_ids[i]))
                known |= {int(candidate_ids[targets[k]]) for k in range(rows) if query_ids[k] == query_ids[i]}
            if known_ids is not None:
                known |= set(known_ids[i].tolist())
            left_out[i] = torch.tensor([int(text) in known for text in candidate_ids], device=query.device)
        if not in_batch:
            own = [j for j in range(columns) if j % rows == i] if negatives is None else negatives[i].tolist()
            foreign = torch.ones(columns, dtype=torch.bool, device=query.device)
            foreign[[j for j in own if j >= 0]] = False
            left_out[i] |= foreign
        left_out[i, target] = False
    scores = scores.masked_fill(left_out, -torch.inf)
    losses = torch.logsumexp(scores, dim=1) - scores.gather(1, targets[:, None]).squeeze(1)
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def pool(hidden, lengths, mode, normalize=True):
    """Pool right-padded (n, t, h) hidden states row by row; arguments as in ``lib.kernels.pool``."""
    rows = []
    for states, length in zip(hidden, lengths.tolist(), strict=True):
        real = states[:length]
        rows.append(real.mean(0) if mode == "mean" else real[0] if mode == "cls" else real[-1])
    pooled = torch.stack(rows)
    return pooled / pooled.norm(dim=1, keepdim=True).clamp_min(1e-12) if normalize else pooled


def lora_linear(x, weight, bias, lora_a, lora_b, scaling):
    """Frozen linear plus scaled low-rank product, as two separate sums."""
    base = x @ weight.T if bias is None else x @ weight.T + bias
    return base + scaling * (x @ lora_a.T) @ lora_b.T
