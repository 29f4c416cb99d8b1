"""Influence: from a table of scores to what each category did to each task, and how much of it would replicate.

The one module to import for the analysis (``from lib import influence``); the work is done in small modules beside it:

    study, effects            read and check a table; main effects with errors across runs      scores, effects
    across_tasks, pooled      inference across tasks; the naive pooled test as a warning        across
    interactions, interaction_block, half_normal, shapley      beyond main effects              interactions
    detail, anova, mixed      the same by statsmodels; the linear mixed model                   regression
    noise, attainable, seeds_buy       noise floor; what this design can show at all            noise, power
    run_means, cells, toggles, alone   the runs behind an effect; each category by itself       cells

Simulated studies with known effects are in `lib.influence.simulate`, what they teach about these tests in
`lib.influence.lessons`, and the designs (which models to train) in `lib.designs`.

Two questions are never pooled: would these very datasets move again (errors across runs), and would other datasets of
this kind move (errors across tasks)? Scores go in on mteb's scale, 0 to 1; effects come out in points.
"""

from __future__ import annotations

from lib.influence.across import across_tasks, pooled
from lib.influence.cells import alone, cells, run_means, toggles
from lib.influence.effects import NORMALIZATIONS, effects
from lib.influence.interactions import half_normal, interaction_block, interactions, shapley
from lib.influence.noise import draw_errors, noise
from lib.influence.outcomes import LEVELS
from lib.influence.power import attainable, seeds_buy
from lib.influence.regression import anova, detail, mixed
from lib.influence.scores import Study, study

__all__ = [
    "LEVELS",
    "NORMALIZATIONS",
    "Study",
    "across_tasks",
    "alone",
    "anova",
    "attainable",
    "cells",
    "detail",
    "draw_errors",
    "effects",
    "half_normal",
    "interaction_block",
    "interactions",
    "mixed",
    "noise",
    "pooled",
    "run_means",
    "seeds_buy",
    "shapley",
    "study",
    "toggles",
]
