"""One forward pass over a micro-batch: token ids to embeddings, by the attention body that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.common.files import KitError
from lib.embedder.packing import Rows, padded, ragged

if TYPE_CHECKING:
    import torch

    from lib.embedder.embedder import Embedder

ATTENTION = ("padded", "ragged", "varlen")


def embed_rows(
    embedder: Embedder, rows: Rows, attention: str = "padded", prune: bool = False, prefix: bool = False
) -> torch.Tensor:
    """Return (n, dim) fp32 embeddings; see ``Embedder.embed``."""
    if embedder.eos is not None and any(row[-1] != embedder.eos for row in rows):
        raise KitError("a text does not end in the end-of-sequence token; make token ids with Embedder.tokenize")
    if attention not in ATTENTION:
        raise KitError(f"attention is {attention!r}; choose one of {', '.join(ATTENTION)}")
    if attention != "padded":
        return _end_to_end(embedder, rows, attention, prune)
    if prefix and embedder.causal and len(rows) > 1:
        from lib.kernels import common_prefix

        shared = common_prefix(rows)
        if shared > 1:
            return _after_prefix(embedder, rows, shared, prune)
    return _padded(embedder, rows, prune)


def _pruning(embedder: Embedder, wanted: bool):
    """Return the context that runs the last layer at the pooled token, or None where that does not apply."""
    if not wanted:
        return None
    from lib.kernels import pooled_last_layer, supports_last_layer

    return pooled_last_layer if supports_last_layer(embedder.core, embedder.params.pooling) else None


def _run(embedder: Embedder, **arguments) -> torch.Tensor:
    """Run the model and return its last hidden states. No cache: with one, transformers forgets packed rows."""
    if embedder.causal:
        arguments["use_cache"] = False
    output = embedder.core(**arguments)
    if getattr(output, "past_key_values", None) is not None:
        raise KitError(
            "the model kept a key-value cache although use_cache is False; this version of transformers is not supported"
        )
    return output.last_hidden_state


def _padded(embedder: Embedder, rows: Rows, prune: bool) -> torch.Tensor:
    from lib.kernels import pool

    ids, lengths = padded(rows, embedder.pad, embedder.device)
    arguments = {"input_ids": ids}
    if not embedder.causal and min(map(len, rows)) < ids.shape[1]:
        import torch

        arguments["attention_mask"] = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
    pruned = _pruning(embedder, prune)
    if pruned is not None:
        with pruned(embedder.core, lengths=lengths):
            hidden = _run(embedder, **arguments)
        return _one_token(embedder, hidden)
    return pool(_run(embedder, **arguments), lengths, embedder.params.pooling, embedder.params.normalize)


def _after_prefix(embedder: Embedder, rows: Rows, shared: int, prune: bool) -> torch.Tensor:
    import torch

    from lib.kernels import forward_with_prefix, pool

    prefix = torch.tensor(rows[0][:shared], device=embedder.device)
    ids, lengths = padded([row[shared:] for row in rows], embedder.pad, embedder.device)
    if _pruning(embedder, prune) is not None:
        return _one_token(embedder, forward_with_prefix(embedder.core, prefix, ids, lengths))
    hidden = forward_with_prefix(embedder.core, prefix, ids)
    if embedder.params.pooling == "last":
        return pool(hidden, lengths, "last", embedder.params.normalize)
    raise KitError("a shared prefix needs model.pooling last; set training.shared_prefix false")


def _one_token(embedder: Embedder, hidden: torch.Tensor) -> torch.Tensor:
    import torch

    from lib.kernels import pool

    ones = torch.ones(len(hidden), dtype=torch.int64, device=hidden.device)
    return pool(hidden, ones, "cls", embedder.params.normalize)


def _end_to_end(embedder: Embedder, rows: Rows, attention: str, prune: bool) -> torch.Tensor:
    from lib.embedder.attention import segments
    from lib.kernels import pool_ragged

    ids, positions, offsets = ragged(rows, embedder.device)
    if embedder.family in ("roberta", "xlm-roberta"):
        positions = positions + embedder.core.config.pad_token_id + 1
    pruned = _pruning(embedder, prune)
    with segments(embedder.core, [len(row) for row in rows], attention, embedder.causal):
        if pruned is not None:
            with pruned(embedder.core, offsets=offsets):
                return _one_token(embedder, _run(embedder, input_ids=ids, position_ids=positions))
        hidden = _run(embedder, input_ids=ids, position_ids=positions)
    return pool_ragged(hidden, offsets, embedder.params.pooling, embedder.params.normalize)
