"""One regression by statsmodels: the stated reference for the closed form. It takes seconds to import, so only inside."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.common.files import KitError
from lib.influence.errors import design
from lib.influence.interactions import one
from lib.influence.ols import TERMS
from lib.influence.scores import study


def detail(scores, task: str | None = None, type: str | None = None, terms: str = "main"):
    """Return statsmodels' OLS result for one task, one type's mean, or the overall mean (points, centred factors).

    Print ``detail(...).summary()`` to see everything. Raises KitError when the runs do not determine the terms. Its
    errors are those of ``effects`` where every run drew its own batches.
    """
    from statsmodels.regression.linear_model import OLS

    data = study(scores)
    if terms not in TERMS:
        raise KitError(f"terms={terms!r} is not known; say {', '.join(TERMS)}")
    y = one(data, task, type)[:, 0]
    have = ~np.isnan(y)
    x, names = design(data, terms, have)
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise KitError(
            f"{have.sum()} runs do not determine the {x.shape[1]} terms of terms={terms!r}; "
            "score more runs or ask for fewer terms (effects() says which are lost)"
        )
    return OLS(pd.Series(y[have], name="score"), pd.DataFrame(x, columns=list(names))).fit()
