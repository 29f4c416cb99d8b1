"""The pictures that explain one run: the push of the loss is its gradient, two scorers are counted as they are."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lib.common.design import Triplet
from lib.figures import lessons
from lib.kernels.infonce import infonce
from lib.train.fixed import Held, Vectors


def unit(rng, count, width=6):
    drawn = rng.normal(size=(count, width)) + 0.5
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_the_push_is_what_autograd_says_of_every_wrong_cosine():
    rng = np.random.default_rng(0)
    triplets = [Triplet("", "q", "p", "n" if i != 1 else "") for i in range(4)]  # the second has no hard negative
    batch = Vectors(unit(rng, 4), unit(rng, 4), unit(rng, 3))
    _, table = lessons.push_picture(batch, Held(triplets, 4), (1.0, 0.1))
    cosines = torch.tensor(batch.cosines, requires_grad=True)
    loss = 4 * infonce(torch.eye(4, dtype=torch.float64), cosines.T, temperature=0.1)
    gradient = torch.autograd.grad(loss, cosines)[0].numpy()
    wrong = ~np.eye(4, 7, dtype=bool)
    assert table["push at 0.1"].to_numpy() == pytest.approx(gradient[wrong], rel=1e-3)
    own = table[table["kind"] == "own hard negative"]
    assert list(own["query"]) == [0, 2, 3] and (table["kind"] == "other positive").sum() == 12
    assert own["cosine"].to_numpy() == pytest.approx(
        [batch.cosines[i, j] for i, j in ((0, 4), (2, 5), (3, 6))], abs=1e-4
    )


def test_two_scorers_are_counted_and_the_case_is_one_that_only_the_classifier_gets_right():
    rng = np.random.default_rng(1)  # the label is in the first direction, most of the length in others
    draw = lambda n: np.c_[np.repeat([-1, 1], n), rng.normal(size=(2 * n, 9)) * 1.2]  # noqa: E731
    taught, asked = draw(20), draw(30)
    taught, asked = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (taught, asked))
    known = pd.DataFrame({"text": [f"taught {i}" for i in range(40)], "label": np.repeat([0, 1], 20)})
    known["label_text"] = known["label"].map({0: "no", 1: "yes"})
    test = pd.DataFrame({"text": [f"asked {i}" for i in range(60)], "label": np.repeat([0, 1], 30)})
    learner = LogisticRegression(C=100).fit(taught, known["label"])
    tally, told, _, numbers = lessons.two_scorers(learner, (known, taught), (test, asked))
    one = learner.predict(asked) == test["label"]
    two = known["label"].to_numpy()[(asked @ taught.T).argmax(1)] == test["label"]
    assert list(tally["texts"]) == [sum(one & two), sum(one & ~two), sum(~one & two), sum(~one & ~two)]
    case = int(told.split("asked ")[1].split("'")[0])
    assert one[case] and not two[case] and f"on {sum(one != two)} of 60 texts" in told
    assert numbers["what"].iloc[0] in ("no", "yes") and numbers["what"].iloc[-1].startswith(("no: ", "yes: "))
