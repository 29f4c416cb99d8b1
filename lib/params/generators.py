"""The parameters of one generator, in the design that compares several: they differ in the section ``generation`` only.

What a generator answered lies where other parameters of its kind would put it; what its runs train on, an equal share
of that (``lib.generate.even``), lies in ``generators/<name>`` of the study. Its adapters and scores lie beside all
others, under run names that carry its own, ``sl@<name>``; their records hold its parameters.
"""

from __future__ import annotations

from pydantic import ValidationError

from lib.common.design import GENERATORS, generator_of
from lib.common.files import KitError
from lib.params.data import GenerationParams
from lib.params.params import Params
from lib.params.stages import decisive


def generators(params: Params) -> tuple[str, ...]:
    """Return the names of the generators that a study compares, () for every other design.

    Raises KitError where two of them would give the same answers.
    """
    if params.study.design != GENERATORS:
        return ()
    names = [each.name for each in params.study.generators]
    made_of = [decisive(answering(params, name), "data") for name in names]
    twice = next((place for place, made in enumerate(made_of) if made in made_of[:place]), None)
    if twice is not None:
        first = names[made_of.index(made_of[twice])]
        raise KitError(f"the generators {first} and {names[twice]} would give the same answers; change or drop one")
    return tuple(names)


def answering(params: Params, name: str) -> Params:
    """Return the parameters under which notebook 01 asks a generator, for the category that is compared alone."""
    study = params.study.model_copy(update={"categories": (params.study.category,), "extra": ()})
    asked = params.model_copy(update={"generation": _generation(params, name), "study": study})
    asked._study = params._study or params
    return asked


def of_run(params: Params, run: str) -> Params:
    """Return the parameters of a run or a job: ``params``, or those of the generator that its name carries."""
    if not (name := generator_of(run)):
        return params
    own = params.model_copy(update={"generation": _generation(params, name)})
    own._home, own._generator = params, name
    return own


def _generation(params: Params, name: str) -> GenerationParams:
    """Return the section ``generation`` of a generator. Raises KitError for an unknown one, and for a wrong value."""
    found = next((each for each in params.study.generators if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in params.study.generators)
        raise KitError(f"no generator {name!r} in study.generators of {params.file}; it has {known}")
    try:
        return GenerationParams.model_validate(params.generation.model_dump(mode="json") | found.generation)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise KitError(
            f"study.generators: generation.{where} of {name} cannot be {first['input']!r}: {first['msg'].lower()}"
        ) from None
