"""Regressions by statsmodels: the stated reference for the closed form, the anova, and the mixed model.

statsmodels takes seconds to import, so it is imported inside each function.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from lib.files import KitError
from lib.influence.interactions import one
from lib.influence.ols import TERMS, fit, model_matrix
from lib.influence.outcomes import outcomes
from lib.influence.scores import Study, study


def detail(scores, task: str | None = None, type: str | None = None, terms: str = "main"):
    """Return statsmodels' OLS result for one task, one type's mean, or the overall mean (points, centred factors).

    Print ``detail(...).summary()`` to see everything. Raises KitError when the runs do not determine the terms.
    """
    return _ols(study(scores), task, type, terms)


def _ols(data: Study, task, type, terms: str):
    from statsmodels.regression.linear_model import OLS

    if terms not in TERMS:
        raise KitError(f"terms={terms!r} is not known; say {', '.join(TERMS)}")
    y = one(data, task, type)[:, 0]
    have = ~np.isnan(y)
    x, names = model_matrix(data.x[have], data.factors, terms)
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise KitError(
            f"{have.sum()} runs do not determine the {x.shape[1]} terms of terms={terms!r}; "
            "score more runs or ask for fewer terms (effects() says which are lost)"
        )
    return OLS(pd.Series(y[have], name="score"), pd.DataFrame(x, columns=list(names))).fit()


def anova(scores, task: str | None = None, type: str | None = None) -> pd.DataFrame:
    """Return statsmodels' ``anova_lm`` of the main-effects regression against the one with all two-way products."""
    from statsmodels.stats.anova import anova_lm

    data = study(scores)
    return anova_lm(_ols(data, task, type, "main"), _ols(data, task, type, "two_way"))


def mixed(scores, type: str | None = None, alpha: float = 0.05) -> pd.DataFrame:
    """Linear mixed model as a cross-check: category slopes that vary at random over tasks (REML, statsmodels MixedLM).

    All scores of one type, or of all tasks, with a mean per task (fixed) and slopes independent of each other. Returns
    ``factor, effect, se, z, p, ci_low, ci_high, sd_tasks`` (spread of the slopes over tasks),
    ``mean_effect`` (plain mean of the tasks' own effects, which it should equal in a complete design),
    ``converged, message``. A fit that fails is a row of NaN with the reason in ``message``: it is never hidden.
    Like ``across_tasks`` it asks about other tasks, and it needs at least three of them.
    """
    data = study(scores)
    members = np.array([type is None or name == type for name in data.types])
    if members.sum() < 3:
        raise KitError(
            f"a mixed model needs at least three tasks and type {type!r} has {members.sum()}; use across_tasks"
        )
    y = outcomes(data, "task").y[:, members]
    if np.linalg.matrix_rank(data.x - data.x.mean(axis=0)) < len(data.factors):
        raise KitError(
            "these runs do not determine every category's effect, so no mixed model; effects() says which are lost"
        )
    effects = fit(*model_matrix(data.x, data.factors), y)
    plain = np.nanmean(effects.beta[effects.rows(data.factors)], axis=1)
    unit = np.nanmedian(effects.sd)  # in units of the noise, where the optimiser feels at home
    if not unit > 0:
        raise KitError("a mixed model needs noise to weigh the tasks' effects against, and these scores have none left")
    result, message = _mixed_fit(data, y / unit)
    table = pd.DataFrame({"factor": data.factors})
    table.attrs = {"notes": list(data.notes), "unit": "points"}
    if result is None:
        empty = dict.fromkeys(("effect", "se", "z", "p", "ci_low", "ci_high", "sd_tasks"), np.nan)
        return table.assign(**empty, mean_effect=plain, converged=False, message=message)
    k = len(data.factors)
    interval = unit * np.asarray(result.conf_int(alpha))[:k]
    return table.assign(
        effect=unit * np.asarray(result.fe_params),
        se=unit * np.asarray(result.bse_fe),
        z=np.asarray(result.tvalues)[:k],
        p=np.asarray(result.pvalues)[:k],
        ci_low=interval[:, 0],
        ci_high=interval[:, 1],
        sd_tasks=unit * np.sqrt(np.asarray(result.vcomp)),
        mean_effect=plain,
        converged=bool(result.converged),
        message=message,
    )


def _mixed_fit(data: Study, y: np.ndarray):
    """Fit with independent slope variances; return (result or None, what the optimiser complained about)."""
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    x, z, task = _without_means(data.x - 0.5, y)
    tasks, k = np.unique(task), x.shape[1]
    slopes = [[x[task == one][:, [place]] for one in tasks] for place in range(k)]
    names = VCSpec(list(data.factors), [[["slope"]] * len(tasks)] * k, slopes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = MixedLM(z, x, groups=task, exog_vc=names).fit(reml=True, method=["lbfgs", "powell"])
        except (np.linalg.LinAlgError, ValueError) as error:
            return None, f"no fit: {error}"
    said = list(dict.fromkeys(str(w.message).strip().splitlines()[0] for w in caught))
    return result, "; ".join(said)


def _without_means(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stack the tasks, each projected onto what is left when its mean is taken out (one row fewer per task).

    This is restricted likelihood done by hand: a mean per task would cost the optimiser one coefficient per task.
    """
    blocks = []
    for place, column in enumerate(y.T):
        have = ~np.isnan(column)
        n = int(have.sum())
        if n > 1:
            basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:]
            blocks.append((basis.T @ x[have], basis.T @ column[have], np.full(n - 1, place)))
    return tuple(np.concatenate(part) for part in zip(*blocks, strict=True))
