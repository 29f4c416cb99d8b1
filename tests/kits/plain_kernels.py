"""What the kernels compute, as plain as it can be written: every matrix in full, in any float type, by autograd."""

from __future__ import annotations

import torch


def infonce(query, candidates, temperature=0.02, *, candidate_ids=None, query_ids=None):
    """InfoNCE with the whole (B, C) score matrix; arguments as in ``lib.kernels.infonce``."""
    left_out = torch.zeros(len(query), len(candidates), dtype=torch.bool, device=query.device)
    for i in range(len(query)) if candidate_ids is not None else ():
        known = {int(candidate_ids[i])}
        if query_ids is not None:
            same = [k for k in range(len(query)) if query_ids[k] == query_ids[i]]
            known |= {int(query_ids[i]), *(int(candidate_ids[k]) for k in same)}
        left_out[i] = torch.tensor([int(text) in known for text in candidate_ids], device=query.device)
        left_out[i, i] = False
    scores = (query @ candidates.T / temperature).masked_fill(left_out, -torch.inf)
    return (torch.logsumexp(scores, dim=1) - scores.diagonal()).mean()


def pool(hidden, lengths, mode):
    """Pool right-padded (n, t, h) hidden states row by row to unit length."""
    real = [states[:length] for states, length in zip(hidden, lengths.tolist(), strict=True)]
    pooled = [row.mean(0) if mode == "mean" else row[0] if mode == "cls" else row[-1] for row in real]
    return torch.stack([row / row.norm().clamp_min(1e-12) for row in pooled])


def lora_linear(x, weight, bias, lora_a, lora_b, scaling):
    """Frozen linear plus scaled low-rank product, as two separate sums."""
    base = x @ weight.T if bias is None else x @ weight.T + bias
    return base + scaling * (x @ lora_a.T) @ lora_b.T
