"""Which parameters decide which stage: what a run is identified by, and why two runs are not the same.

A stage's result depends on its decisive parameters and on nothing else of the parameter file. Seeds and the design say
which runs there are, not what a run is: more of them leave what is finished as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib.params.params import Params

DATA = ("generation", "cleaning", "negatives", "public")
SECTIONS = {
    "data": DATA,
    "model": (*DATA, "mixture", "model", "training"),
    "score": (*DATA, "mixture", "model", "training", "scoring"),
    "base": ("model", "scoring"),  # the untrained base's scores
    "influence": ("influence",),
}
# How something is computed, where it lies, what it costs: nothing of that changes a result
INDIFFERENT = {
    "generation": "base_url api_key_env concurrency retries timeout tensor_parallel gpu_memory "
    "price_in price_out gpu_price gpus currency".split(),
    "negatives": "block chunk".split(),
    "model": "encode_tokens".split(),
    "training": "checkpoint_every keep_graph_tokens".split(),
    "scoring": "batch_tokens attempts allow_missing data_dir corpus_dir".split(),
}
# Parameters that are younger than some records of finished work, and what that was made with
LATER = {"influence.margin": 1.0, "generation.bundle": "classroom", "generation.frequency_penalty": 0.0}
BOTH = "study.categories and study.extra"
ABSENT = "not recorded"


def decisive(params: Params, stage: str) -> dict[str, Any]:
    """Return {dotted parameter: value} of everything that decides the results of a stage, as JSON values."""
    values = params.model_dump(mode="json")
    found = {
        f"{section}.{name}": value
        for section in SECTIONS[stage]
        for name, value in values[section].items()
        if name not in INDIFFERENT.get(section, ())
    }
    if stage in ("data", "model", "score"):  # which of them are factors does not matter to the data
        found[BOTH] = sorted({*params.study.categories, *params.study.extra})
    if stage in ("score", "base"):  # a score file has a column for each
        found["study.categories"] = values["study"]["categories"]
    if stage in ("data", "model") and params.cleaning.contamination != "off":  # its texts may not be trained on
        found["scoring.suite"] = params.scoring.suite
        if params.scoring.suite != "classroom":
            found["scoring.exclude"] = values["scoring"]["exclude"]
    return found


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return {dotted parameter: (value there, value here)} of all that differ.

    A record may name parameters that the kit no longer has: they decide nothing any more. It may lack those that came
    later (``LATER``).
    """
    known = {name: there.get(name, LATER.get(name, ABSENT)) for name in here}
    return {name: (known[name], value) for name, value in here.items() if known[name] != value}
