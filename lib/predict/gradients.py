"""Gradients: does a step on a category's batches also go down the loss of an evaluation set?

To first order a step along -P·g changes a set's loss by -<h, P·g>, with g the category's gradient, h the set's own and
P what the optimizer makes of a gradient (TracIn: Pruthi et al. 2020; with AdamW's moments LESS: Xia et al. 2024; with a
damped diagonal of Gauss and Newton's matrix an influence function: Koh and Liang 2017). Adding a category here takes
batches from the public data, so its gradient counts against theirs. Exact dot products: an adapter is small.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize, softplus

from lib.common.files import digest, read_json, write_json
from lib.params.model import TrainingParams
from lib.params.params import Params
from lib.params.provenance import data_hash
from lib.predict.sets import GRADES, PAIRS, Sides
from lib.train import mixture
from lib.train.gradcache import GradCache, StepTexts, batch_loss, step_texts, triplet_texts

PRECONDITIONERS = ("dot", "adam", "fisher")


def rank_loss(cosines: torch.Tensor, grades: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return CoSENT's loss: pairs (n,) of higher grade should have the higher cosine, mean over such two pairs."""
    wrong = (cosines[None, :] - cosines[:, None]) / temperature  # [i, j]: j above i
    higher = grades[:, None] > grades[None, :]
    return softplus(wrong)[higher].mean() if higher.any() else cosines.sum() * 0


def label_loss(vectors: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the supervised contrastive loss (Khosla et al. 2020) of unit vectors (n, d) and their labels (n,)."""
    own = torch.eye(len(labels), dtype=torch.bool, device=vectors.device)
    logits = (vectors @ vectors.T / temperature).masked_fill(own, -1e9)
    same = (labels[:, None] == labels[None, :]) & ~own
    count = same.sum(dim=1)
    each = -(logits.log_softmax(dim=1).masked_fill(~same, 0.0).sum(dim=1)) / count.clamp(min=1)
    return each[count > 0].mean() if (count > 0).any() else vectors.sum() * 0


class Slope(GradCache):
    """The training step without the step: the gradient of any loss on a batch's embeddings, as one flat vector."""

    def __init__(self, embedder, params: TrainingParams):
        super().__init__(embedder, params)
        self.weights = [weight for weight in embedder.model.parameters() if weight.requires_grad]

    def _loss(self, texts: StepTexts, embeddings: torch.Tensor) -> torch.Tensor:
        return self.loss(embeddings, texts, self.params)

    def of(self, texts: StepTexts, loss: Callable = batch_loss) -> torch.Tensor:
        """Return d loss / d adapter, (weights,) float32; ``loss(embeddings, texts, params)``, by default training's."""
        self.loss = loss
        self.embedder.model.zero_grad()
        self.run(texts)
        return torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten().float() for w in self.weights])


def set_objective(sides: Sides, embedder, params: TrainingParams) -> tuple[StepTexts, Callable]:
    """Return a set's texts and its own loss: InfoNCE of pairs, the order of grades, or texts of one label together."""
    query, document = sides.instructions
    left = [embedder.text_of(text, query) for text in sides.left]
    right = [embedder.text_of(text, document) for text in sides.right]
    wrong = [embedder.text_of(text, document) if text else "" for text in sides.wrong] or [""] * len(left)
    texts = step_texts(left, right, wrong, partial(embedder.tokenize, max_length=params.max_length))

    def graded(embeddings, texts, params):
        cosines = (embeddings[texts.query] * embeddings[texts.positive]).sum(dim=1)
        return rank_loss(cosines, torch.tensor(sides.known, device=cosines.device), params.temperature)

    def labelled(embeddings, texts, params):
        labels = torch.tensor([sides.known.index(label) for label in sides.known], device=embeddings.device)
        return label_loss(embeddings[texts.query], labels, params.temperature)

    return texts, batch_loss if sides.kind == PAIRS else graded if sides.kind == GRADES else labelled


def conflict(halves: Sequence[torch.Tensor]) -> np.ndarray:
    """Return (sources, sources) cosines of gradients, each of one half of a source's batches with another's other half.

    The diagonal is as much as noisy gradients can show. NaN where a source has one batch only.
    """
    first, second = (torch.stack([half[k] for half in halves]) for k in (0, 1))
    cosines = normalize(first, dim=1) @ normalize(second, dim=1).T
    cosines[(first.norm(dim=1) == 0)[:, None] | (second.norm(dim=1) == 0)] = torch.nan
    return ((cosines + cosines.T) / 2).numpy()


def preconditioned(gradient: torch.Tensor, square: torch.Tensor, kind: str) -> torch.Tensor:
    """Return P·g of a gradient g with mean square v: ``dot`` g, ``adam`` g/sqrt(v), ``fisher`` g/(v + damping)."""
    if kind == "dot":
        return gradient
    return gradient / (square.sqrt() + 1e-8 if kind == "adam" else square + 0.1 * square.mean())


def alignments(slope: Slope, pools: dict, sides: Sequence[Sides], params: Params, batches: int, seed: int) -> dict:
    """Return {preconditioner: alignments (categories, sets), "conflict": (sources, sources)} at the adapter's weights.

    The alignment is <h / |h|, P(g - public's g)>: the units of sets' losses say nothing about those of their scores.
    """
    read = partial(slope.embedder.tokenize, max_length=params.training.max_length)
    sums, square = {}, 0.0
    for source, pool in pools.items():
        drawn = mixture.draw(source, len(pool), batches, params.training.batch_size, f"predict {seed}")
        sums[source] = torch.zeros(2, sum(weight.numel() for weight in slope.weights))  # of every other batch
        for place, batch in enumerate(drawn):
            texts = triplet_texts(slope.embedder, [pool[row] for row in batch.rows], read)
            gradient = slope.of(texts).cpu()
            sums[source][place % 2] += gradient
            square = square + gradient**2
    square = square / (batches * len(pools))
    means = {source: both.sum(dim=0) / batches for source, both in sums.items()}
    changes = [means[source] - means[mixture.PUBLIC] for source in pools if source != mixture.PUBLIC]
    steps, columns = torch.stack([preconditioned(g, square, kind) for kind in PRECONDITIONERS for g in changes]), []
    for one in sides:
        gradient = slope.of(*set_objective(one, slope.embedder, params.training)).cpu()
        columns.append((steps @ (gradient / gradient.norm().clamp(min=1e-12))).numpy())
    found = np.split(np.column_stack(columns).astype(float), len(PRECONDITIONERS))
    return dict(zip(PRECONDITIONERS, found, strict=True)) | {"conflict": conflict(list(sums.values())).astype(float)}


def aligned(params: Params, sides: Sequence[Sides], seed: int, batches: int, folder: Path) -> dict[str, dict]:
    """Return {place: what ``alignments`` returns, and "seconds" of the processor}; kept in ``folder``.

    Places along none's trajectory: ``start``, its fresh adapter, and ``none``, the trained one; ``batches`` of each
    source, public data last.
    """
    from lib.embedder.embedder import Embedder
    from lib.kernels.lora import fuse_lora

    pools = mixture.read_pools(params.data_dir, params.study.categories)
    start, kept = mixture.start_seed((), params.mixture, seed), (*PRECONDITIONERS, "conflict")
    stamp = digest([params.hash("model"), data_hash(params.data_dir), batches, kept, [asdict(one) for one in sides]])
    found = {}
    for place in ("start", "none"):
        file = folder / f"seed{seed}" / f"gradients.{place}.json"
        if not file.is_file() or read_json(file).get("made_of") != stamp:
            began = time.process_time()
            embedder = Embedder.from_params(params.model)
            if place == "start":
                embedder.attach_lora(start)
            else:
                embedder.load_adapter(params.models_dir / "none" / f"seed{seed}")
                for name, weight in embedder.model.named_parameters():
                    weight.requires_grad_("lora_" in name)
            fuse_lora(embedder.model.eval())
            made = alignments(Slope(embedder, params.training), pools, sides, params, batches, seed)
            rows = {kind: np.where(np.isfinite(made[kind]), made[kind], None).tolist() for kind in kept}
            write_json(file, {"made_of": stamp, "seconds": time.process_time() - began, **rows})
        record = read_json(file)
        found[place] = {kind: np.array(record[kind], float) for kind in kept} | {"seconds": record["seconds"]}
    return found
