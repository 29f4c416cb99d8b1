"""One regression by statsmodels: the reference for the closed form behind every effect."""

import numpy as np
import pandas as pd
from statsmodels.api import OLS

from lib.influence.regression import design
from lib.influence.scores import study
from lib.influence.tables import one


def regression(scores, task: str | None = None, type: str | None = None, terms: str = "main"):
    """Return statsmodels' OLS result for one task, one type's mean, or the overall mean (points, centred factors).

    Its errors are those of ``effects`` where every run drew its own batches.
    """
    data = study(scores)
    y = one(data, task, type)
    have = ~np.isnan(y)
    x, names = design(data, terms)
    x = x[have]
    assert np.linalg.matrix_rank(x) == x.shape[1], "the runs do not determine the terms"
    return OLS(pd.Series(y[have], name="score"), pd.DataFrame(x, columns=list(names))).fit()
