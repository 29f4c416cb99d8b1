"""Influence: from a table of scores to what each category did to each task, and how much of it would replicate.

The one module to import for the analysis (``from lib import influence``); the work is done in small modules beside it:

    study, effects            read and check a table; main effects with errors across runs      scores, effects, errors
    across_tasks, pooled      would other tasks move; the naive pooled test as a warning        across
    reliability               how much of it would come back, and what to expect                reliability
    interactions, interaction_block, half_normal       beyond main effects                      interactions
    detail                    one regression by statsmodels                                     regression
    noise, attainable, seeds_buy, planned              noise floor; what a design can show      noise, power
    run_means, cells, toggles, alone   the runs behind an effect; each category by itself       cells

Simulated studies with known effects, and how often each test cries wolf in them, are in `lib.influence.simulate` and
`lib.influence.alarms`, and the designs (which models to train) in `lib.common.design`.

Two questions are never mixed up: would these very datasets move again (errors across runs), and would other datasets
of this kind move (errors across runs and datasets)? Scores go in on mteb's scale, 0 to 1; effects come out in points.
"""

from __future__ import annotations

from lib.influence.across import across_tasks, pooled
from lib.influence.cells import alone, cells, run_means, toggles
from lib.influence.effects import NORMALIZATIONS, effects
from lib.influence.interactions import half_normal, interaction_block, interactions
from lib.influence.noise import draw_errors, noise
from lib.influence.outcomes import LEVELS
from lib.influence.power import attainable, planned, seeds_buy
from lib.influence.regression import detail
from lib.influence.reliability import reliability
from lib.influence.scores import Study, study

__all__ = [
    "LEVELS",
    "NORMALIZATIONS",
    "Study",
    "across_tasks",
    "alone",
    "attainable",
    "cells",
    "detail",
    "draw_errors",
    "effects",
    "half_normal",
    "interaction_block",
    "interactions",
    "noise",
    "planned",
    "pooled",
    "reliability",
    "run_means",
    "seeds_buy",
    "study",
    "toggles",
]
