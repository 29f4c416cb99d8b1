"""One exact optimizer step over a batch that does not fit in memory: GradCache (Gao et al. 2021).

Gradient accumulation would add up losses of small batches, each with few in-batch negatives: another loss.
GradCache keeps the one large loss. Pass 1 embeds all texts without graphs; the loss is taken on the embeddings
and gives each text's gradient; pass 2 embeds again, micro-batch by micro-batch, and pushes those gradients
through. Here each distinct text is embedded once, texts are sorted by length first, and as many micro-batches
as memory allows keep their graph from pass 1 and skip pass 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lib.common.files import KitError
from lib.embedder.packing import MicroBatch, distinct, micro_batches
from lib.kernels import compiled_elementwise, infonce, positives_of_same_query
from lib.train.distributed import Group
from lib.train.memory import HalvedGraphs

if TYPE_CHECKING:
    from lib.embedder.embedder import Embedder
    from lib.params.params import TrainingParams


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


class GradCache:
    """The step: ``run(texts)`` adds the gradient of the batch's loss to the adapter's ``.grad``.

    ``budget``: tokens of a micro-batch; ``keep``: tokens whose graphs are kept; ``attention``: "padded" or "ragged".
    """

    def __init__(
        self,
        embedder: Embedder,
        params: TrainingParams,
        budget: int,
        keep: int,
        attention: str = "padded",
        group: Group | None = None,
    ):
        self.embedder, self.params, self.group = embedder, params, group or Group()
        self.budget, self.keep, self.attention = budget, keep, attention

    def run(self, texts: StepTexts) -> StepResult:
        """Return loss and costs after adding the gradients. Works across the ranks of ``group`` like one process."""
        plan = micro_batches([len(row) for row in texts.rows], self.budget, pad=self.attention == "padded")
        mine = self.group.share(plan)
        embeddings = torch.zeros(len(texts.rows), self.embedder.dim, device=self.embedder.device)
        graphs, states = self._first_pass(texts, mine, embeddings)
        self.group.sum_(embeddings)
        kept = sum(batch.padded for batch, graph in zip(mine, graphs, strict=True) if graph is not None)
        loss = self._loss(texts, embeddings.requires_grad_())
        if torch.isfinite(loss):
            self._second_pass(texts, mine, embeddings.grad, graphs, states)
        padded = sum(batch.padded for batch in plan)
        return StepResult(float(loss), sum(batch.tokens for batch in plan), padded, kept, len(texts.rows))

    def _embed(self, texts: StepTexts, batch: MicroBatch) -> torch.Tensor:
        # graphs are kept in one type in both passes, so that what fits into memory changes no bit
        core, params = self.embedder.core, self.params
        saving = HalvedGraphs(core.config) if params.keep_graphs_in == "bfloat16" else nullcontext()
        compiling = params.compile_elementwise and not params.checkpointing
        with saving, compiled_elementwise(core) if compiling else nullcontext():
            return self.embedder.embed([texts.rows[i] for i in batch.rows], self.attention)

    def _first_pass(self, texts: StepTexts, mine: Sequence[MicroBatch], out: torch.Tensor):
        """Fill ``out`` with embeddings; return kept graphs (or None) and random states, one each per micro-batch."""
        graphs, states, room = [], [], self.keep
        for batch in mine:
            keep = batch.padded <= room
            states.append(None if keep else random_state(self.embedder.device))
            with torch.set_grad_enabled(keep):
                found = self._embed(texts, batch)
            room -= batch.padded if keep else 0
            graphs.append(found if keep else None)
            out[torch.tensor(batch.rows, device=out.device)] = found.detach().to(out.dtype)
        return graphs, states

    def _loss(self, texts: StepTexts, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the batch's mean loss, and leave its gradient in ``embeddings.grad`` (summed over the ranks)."""
        loss = batch_loss(embeddings, texts, self.params, self.group.slice(len(texts.query)))
        loss.backward()
        self.group.sum_(embeddings.grad)
        return self.group.sum_(loss.detach())

    def _second_pass(
        self, texts: StepTexts, mine: Sequence[MicroBatch], grads: torch.Tensor, graphs: list, states: list
    ) -> None:
        """Push each text's gradient through its micro-batch, always in the same order: kept or not, the same bits."""
        after = random_state(self.embedder.device)
        for number, batch in enumerate(mine):
            graph, graphs[number] = graphs[number], None  # freed as soon as it has been used
            if graph is None:
                restore(states[number])
                graph = self._embed(texts, batch)
            graph.backward(grads[torch.tensor(batch.rows, device=grads.device)].to(graph.dtype))
        restore(after)
        self.group.sum_gradients(self.embedder.model)


def batch_loss(
    embeddings: torch.Tensor, texts: StepTexts, params: TrainingParams, share: slice = slice(None)
) -> torch.Tensor:
    """Return the loss of the queries in ``share``, divided by the number of queries in the whole batch.

    embeddings (n, d) of the step's distinct texts. Raises KitError for loss "pair" without any hard negative.
    """
    negative = [i for i in texts.negative if i >= 0] if params.hard_negatives else []
    count, device = len(texts.query), embeddings.device
    columns = torch.tensor([*texts.positive, *negative], device=device)
    query = torch.tensor(texts.query[share], device=device)
    options = {}
    if params.mask_duplicates:
        options = {"candidate_ids": columns, "query_ids": query}
        if len(query) < count:  # the same query may stand in another rank's share
            whole = (torch.tensor(part, device=device) for part in (texts.positive, texts.query))
            options["known_ids"] = positives_of_same_query(*whole)[share]
    if params.loss == "pair":
        if not negative:
            raise KitError(
                "training.loss pair needs hard negatives and this batch has none; use in_batch or mine negatives"
            )
        places = iter(range(count, count + len(negative)))
        own = [next(places) if i >= 0 else -1 for i in texts.negative]
        options |= {"in_batch": False, "negatives": torch.tensor(own[share], device=device)[:, None]}
    if not len(query):  # more ranks than queries
        return embeddings.sum() * 0
    targets = torch.arange(count, device=device)[share]
    queries, candidates = embeddings.index_select(0, query), embeddings.index_select(0, columns)
    return infonce(queries, candidates, targets, params.temperature, reduction="sum", **options) / count


def random_state(device: torch.device):
    """Return the random state of the processor and, if ``device`` is one, of the GPU."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None, device


def restore(state) -> None:
    """Go back to a state that ``random_state`` returned."""
    cpu, gpu, device = state
    torch.set_rng_state(cpu)
    if gpu is not None:
        torch.cuda.set_rng_state(gpu, device)
