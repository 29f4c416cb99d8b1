"""One exact optimizer step over a batch that does not fit in memory: GradCache (Gao et al. 2021).

Gradient accumulation would add up losses of small batches, each with few in-batch negatives: another loss.
GradCache keeps the one large loss. Pass 1 embeds all texts without graphs; the loss is taken on the embeddings
and gives each text's gradient; pass 2 embeds again, micro-batch by micro-batch, and pushes those gradients
through. Here each distinct text is embedded once, texts are sorted by length first, and as many micro-batches
as memory allows keep their graph from pass 1 and skip pass 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import torch
from torch.nn.functional import softplus

from lib.common.design import Triplet
from lib.common.files import KitError
from lib.embedder.packing import MicroBatch, distinct, micro_batches
from lib.kernels.infonce import infonce

if TYPE_CHECKING:
    from lib.embedder.embedder import Embedder
    from lib.params.model import TrainingParams

CPU_TOKENS = 2048  # a processor gains nothing from larger micro-batches: activations leave its cache
GPU_TOKENS = (2048, 32768)


@dataclass(frozen=True, slots=True)
class StepTexts:
    """A batch as token ids: distinct ``rows`` of the step, and for each triplet its places among them.

    ``negative`` holds -1 where a triplet has no hard negative.
    """

    rows: list[list[int]]
    query: list[int]
    positive: list[int]
    negative: list[int]


@dataclass(frozen=True, slots=True)
class StepResult:
    """The loss (mean over the batch's queries) and what it cost: tokens real, with padding, and with a kept graph."""

    loss: float
    tokens: int
    padded: int
    kept: int
    texts: int


def step_texts(
    queries: Sequence[str],
    positives: Sequence[str],
    negatives: Sequence[str],
    tokenize: Callable[[list[str]], list[list[int]]],
) -> StepTexts:
    """Build a step from texts, one of each per triplet; "" among the negatives means none."""
    texts, place = distinct([*queries, *positives, *(text for text in negatives if text)])
    count = len(queries)
    spare = iter(place[2 * count :])
    negative = [next(spare) if text else -1 for text in negatives]
    return StepTexts(tokenize(texts), place[:count], place[count : 2 * count], negative)


def triplet_texts(embedder: Embedder, rows: Sequence[Triplet], tokenize: Callable) -> StepTexts:
    """Build a step from triplets, written as the model reads them."""
    write = embedder.text_of
    return step_texts(
        [write(t.query, t.instruction) for t in rows],
        [write(t.positive, document=True) for t in rows],
        [write(t.negative, document=True) if t.negative else "" for t in rows],
        tokenize,
    )


class GradCache:
    """The step: ``run(texts)`` adds the gradient of the batch's loss to the adapter's ``.grad``.

    ``budget``: tokens of a micro-batch, 0 for the parameters' or what fits; ``keep``: tokens whose graphs are kept.
    Texts lie end to end on a processor and are padded on a GPU, unless ``attention`` says so. 2026-11-26,
    SmolLM2-135M on a processor, a training step of 10 triplets (3,488 tokens): end to end x1.17 of padded.
    """

    def __init__(self, embedder: Embedder, params: TrainingParams, budget: int = 0, attention: str = ""):
        self.embedder, self.params = embedder, params
        fitting, self.keep = budgets(embedder, params)
        self.budget = budget or fitting
        self.attention = attention or ("ragged" if embedder.device.type == "cpu" else "padded")

    def run(self, texts: StepTexts) -> StepResult:
        """Return loss and costs after adding the gradients."""
        plan = micro_batches([len(row) for row in texts.rows], self.budget, pad=self.attention == "padded")
        embeddings = torch.zeros(len(texts.rows), self.embedder.dim, device=self.embedder.device)
        graphs, room = [], self.keep
        for batch in plan:
            keep = batch.padded <= room
            with torch.set_grad_enabled(keep):
                found = self._embed(texts, batch)
            room -= batch.padded if keep else 0
            graphs.append(found if keep else None)
            embeddings[torch.tensor(batch.rows, device=embeddings.device)] = found.detach().to(embeddings.dtype)
        loss = self._loss(texts, embeddings.requires_grad_())
        loss.backward()
        if torch.isfinite(loss):
            self._second_pass(texts, plan, embeddings.grad, graphs)
        tokens, padded = sum(batch.tokens for batch in plan), sum(batch.padded for batch in plan)
        return StepResult(float(loss.detach()), tokens, padded, self.keep - room, len(texts.rows))

    def _embed(self, texts: StepTexts, batch: MicroBatch) -> torch.Tensor:
        return self.embedder.embed([texts.rows[i] for i in batch.rows], self.attention)

    def _loss(self, texts: StepTexts, embeddings: torch.Tensor) -> torch.Tensor:
        return batch_loss(embeddings, texts, self.params)

    def _second_pass(self, texts: StepTexts, plan: Sequence[MicroBatch], grads: torch.Tensor, graphs: list) -> None:
        """Push each text's gradient through its micro-batch, always in the same order: kept or not, the same bits."""
        for number, batch in enumerate(plan):
            graph, graphs[number] = graphs[number], None  # freed as soon as it has been used
            graph = self._embed(texts, batch) if graph is None else graph
            graph.backward(grads[torch.tensor(batch.rows, device=grads.device)].to(graph.dtype))


def batch_loss(embeddings: torch.Tensor, texts: StepTexts, params: TrainingParams) -> torch.Tensor:
    """Return the mean loss of a batch's queries; embeddings (n, d) of the step's distinct texts.

    Raises KitError for loss "pair" without any hard negative.
    """
    if params.loss == "pair":
        return pair_loss(embeddings, texts, params)
    columns = torch.tensor([*texts.positive, *(i for i in texts.negative if i >= 0)], device=embeddings.device)
    query = torch.tensor(texts.query, device=embeddings.device)
    ids = {"candidate_ids": columns, "query_ids": query} if params.mask_duplicates else {}
    return infonce(embeddings.index_select(0, query), embeddings.index_select(0, columns), params.temperature, **ids)


def pair_loss(embeddings: torch.Tensor, texts: StepTexts, params: TrainingParams) -> torch.Tensor:
    """Return the loss that the paper prints: every query sees its own positive and its own hard negative only."""
    if max(texts.negative) < 0:
        raise KitError(
            "training.loss pair needs hard negatives and this batch has none; use in_batch or mine negatives"
        )
    known = set(zip(texts.query, texts.positive, strict=True))
    rows = [row for row in zip(texts.query, texts.positive, texts.negative, strict=True) if row[2] >= 0]
    if params.mask_duplicates:  # the query itself, or a positive of it in another row, is no negative
        rows = [row for row in rows if row[0] != row[2] and (row[0], row[2]) not in known]
    query, positive, negative = embeddings[
        torch.tensor(rows, dtype=torch.int64, device=embeddings.device).view(-1, 3).T
    ]
    further = (query * (negative - positive)).sum(dim=1)
    return softplus(further / params.temperature).sum() / len(texts.query)


def budgets(embedder: Embedder, params: TrainingParams) -> tuple[int, int]:
    """Return (tokens per micro-batch, tokens whose graphs are kept), the parameters' or what fits.

    On a processor the micro-batch is a constant, so that free memory never changes a bit of the result; a quarter
    of the free memory may hold graphs. On a GPU two thirds of it are for one micro-batch at most, and what that
    leaves (up to 85 %) holds graphs.
    """
    device, config = embedder.device, embedder.core.config
    element = next(embedder.core.parameters()).element_size()
    # an estimate of the activations that one token's graph holds through all layers, in bytes
    token = (6 * config.hidden_size + 3 * config.intermediate_size) * element * config.num_hidden_layers
    room = psutil.virtual_memory().available
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        room = torch.cuda.mem_get_info(device)[0] + unused
    budget, keep = params.micro_batch_tokens, params.keep_graph_tokens
    if not budget:
        low, high = GPU_TOKENS
        budget = CPU_TOKENS if device.type == "cpu" else int(min(max(room * 2 / 3 / token, low), high))
    if keep < 0:
        spare = room / 4 if device.type == "cpu" else 0.85 * room - budget * token
        keep = max(0, int(spare / token))
    return budget, keep
