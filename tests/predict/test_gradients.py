"""Gradients: the training step's own, and a step along them does to a set's loss what the alignment says."""

import numpy as np
import pytest
import torch
from engine_kit import difference, embedder, gradients, training, triplets, wake

from lib.predict import gradients as g
from lib.predict.sets import GRADES, LABELS, PAIRS, Sides
from lib.train.mixture import Batch
from lib.train.trainer import Run


def sides(kind):
    rows = triplets(8, seed=3)
    left, right = [t.query for t in rows], [t.positive for t in rows]
    known = {PAIRS: [], GRADES: [float(i % 3) for i in range(8)], LABELS: [i % 2 for i in range(8)]}[kind]
    return Sides("a set", kind, left, left if kind == LABELS else right, known)


def test_the_gradient_is_that_of_the_training_step(tmp_path):
    params, rows = training(clip_norm=0), triplets(8)
    found = embedder("bert")
    run = Run(found, {"public": rows}, [Batch("public", tuple(range(8)))], params, tmp_path, 1)
    run.prepare()
    wake(found)
    texts = run.texts(run.batches[0])
    mine = g.Slope(found, params).of(texts)
    found.model.zero_grad()
    run.cache.run(texts)
    assert difference(mine, gradients(found.model)) < 1e-6


@pytest.mark.parametrize("kind", [PAIRS, GRADES, LABELS])
def test_a_small_step_changes_the_sets_loss_by_the_alignment(kind):
    found, params = embedder("bert"), training()
    slope, other = g.Slope(found, params), triplets(8, seed=9)
    texts, loss = g.set_objective(sides(kind), found, params)
    h = slope.of(texts, loss)
    write = found.text_of
    batch = g.step_texts([write(t.query) for t in other], [write(t.positive) for t in other], [""] * 8,
                         lambda some: found.tokenize(some, 40))  # fmt: skip
    step, before = slope.of(batch), [w.detach().clone() for w in slope.weights]

    def value(size):
        with torch.no_grad():
            parts = (size * step / step.norm()).split([w.numel() for w in slope.weights])
            for weight, was, part in zip(slope.weights, before, parts, strict=True):
                weight.copy_(was - part.view_as(was))
            vectors = found.embed(texts.rows)
        return float(loss(vectors, texts, params))

    measured = (value(1e-2) - value(-1e-2)) / 2e-2
    assert measured == pytest.approx(-float(h @ step / step.norm()), rel=0.05, abs=1e-3)


def test_the_losses_of_sets_are_the_plain_ones():
    cosines, grades = torch.tensor([0.9, 0.1, 0.4]), torch.tensor([1.0, 0.0, 1.0])
    plain = np.mean([np.log1p(np.exp((0.1 - c) / 0.1)) for c in (0.9, 0.4)])
    assert float(g.rank_loss(cosines, grades, 0.1)) == pytest.approx(plain, rel=1e-5)
    vectors = torch.nn.functional.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    labels, losses = [0, 0, 1, 1, 1], []
    for i in range(5):
        rest = [j for j in range(5) if j != i]
        p = torch.softmax(vectors[i] @ vectors[rest].T / 0.5, 0)
        losses.append(-np.mean([float(p[n].log()) for n, j in enumerate(rest) if labels[j] == labels[i]]))
    assert float(g.label_loss(vectors, torch.tensor(labels), 0.5)) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(g.label_loss(vectors, torch.arange(5), 0.5)) == 0  # no two of one label


def test_preconditioners():
    gradient, square = torch.tensor([1.0, -2.0]), torch.tensor([4.0, 1.0])
    assert g.preconditioned(gradient, square, "dot").tolist() == [1, -2]
    assert g.preconditioned(gradient, square, "adam").tolist() == pytest.approx([0.5, -2])
    assert g.preconditioned(gradient, square, "fisher").tolist() == pytest.approx([1 / 4.25, -2 / 1.25])


def test_conflict_is_the_cosine_over_different_batches():
    a, b, noise = torch.tensor([1.0, 0, 0, 0]), torch.tensor([0, 1.0, 0, 0]), torch.tensor([0, 0, 1.0, 0])
    halves = [torch.stack([a + noise, a - noise]), torch.stack([2 * b, 2 * b]), torch.stack([b - a, b - a])]
    found = g.conflict(halves)
    assert np.allclose(found, found.T)
    assert found[0, 0] == pytest.approx(0, abs=1e-6)  # its noise is as large as what its halves share, and opposite
    assert found[1, 1] == pytest.approx(1) and found[1, 2] == pytest.approx(0.5**0.5)
    assert found[0, 2] == pytest.approx(-0.5)
    halves[0][1] = 0  # one batch only
    assert np.isnan(g.conflict(halves)[0]).all()
