"""Parameters: one YAML file per profile holds what a run needs; this room says what each parameter means.

``load("classroom")`` reads ``params/classroom.yaml``, applies overrides, and returns a checked ``Params``. Unknown
names, wrong types and impossible values are refused in one sentence. Parameters that are not the study's (the file's)
have folders of their own for what they change, and read the rest from the study.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError

from lib.common.bundled import ROOT, shown
from lib.common.design import FACTORIAL, GENERATORS, generator_of
from lib.common.files import KitError, digest
from lib.params.data import (
    CleaningParams,
    GenerationParams,
    NegativesParams,
    PathParams,
    PublicParams,
    Section,
    StudyParams,
)
from lib.params.model import (
    GridParams,
    InfluenceParams,
    MixtureParams,
    ModelParams,
    PlanParams,
    ScoringParams,
    TrainingParams,
)
from lib.params.overrides import complaint, find, flat, lay_over, read
from lib.params.provenance import decisive, differences


class Params(Section):
    """Every parameter of a run, and where its results lie."""

    profile: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="name of the run folder and the figure folder")
    paths: PathParams = PathParams()
    study: StudyParams = StudyParams()
    generation: GenerationParams = GenerationParams()
    cleaning: CleaningParams = CleaningParams()
    negatives: NegativesParams = NegativesParams()
    public: PublicParams = PublicParams()
    mixture: MixtureParams = MixtureParams()
    model: ModelParams = ModelParams()
    training: TrainingParams = TrainingParams()
    scoring: ScoringParams = ScoringParams()
    influence: InfluenceParams = InfluenceParams()
    grid: GridParams = GridParams()
    plan: PlanParams = PlanParams()

    _study: Params | None = PrivateAttr(None)
    _home: Params | None = PrivateAttr(None)  # of a generator's parameters: the study it is compared in
    _generator: str = PrivateAttr("")
    _file: str = PrivateAttr("the parameter file")

    @property
    def study_dir(self) -> Path:
        """The folder of this profile's study, with the stores that all runs of the profile share."""
        return ROOT / self.paths.runs / self.profile

    def place(self, stage: str) -> Path:
        """Return where a stage (data, model, score, influence) lies: in the study's folder, or one of its own."""
        if self._home is not None:
            return self._home.place(stage)
        if not self.other(stage):
            return self.study_dir
        return self.study_dir / "other" / digest([decisive(self, each) for each in _with_scores(stage)])[:8]

    @property
    def data_dir(self) -> Path:
        """The folder of the training data."""
        return self.place("data") / (f"generators/{self._generator}" if self._generator else "data")

    @property
    def inspect_file(self) -> Path:
        """What notebook 02 found in the training data."""
        return self.place("data") / "inspect.json"

    @property
    def models_dir(self) -> Path:
        """The folder of the adapters, ``<run>/seed<k>`` each."""
        return self.place("model") / "models"

    @property
    def scores_dir(self) -> Path:
        """The folder of the score files, ``<run>/seed<k>.csv`` each."""
        return self.place("score") / "scores"

    @property
    def results_file(self) -> Path:
        """The table of all score files of the design."""
        return self._of_design(self.place("score")) / "results.csv"

    @property
    def run_dir(self) -> Path:
        """The folder of the executed notebooks and the log; of a study it holds all the rest too."""
        return self.place("influence")

    @property
    def influence_file(self) -> Path:
        """What the influence found, written last of all."""
        return self._of_design(self.run_dir) / "influence.json"

    @property
    def figure_dir(self) -> Path:
        """The folder of the design's figures: the profile's, or one of the profile's and the design's name."""
        folder, design = self.data_figure_dir, self.study.design
        return folder if design == FACTORIAL else folder.with_name(f"{folder.name}-{design}")

    @property
    def data_figure_dir(self) -> Path:
        """The folder of the figures of the data, which all designs share; beside the run for other parameters."""
        return self.run_dir / "figures" if self.other("influence") else ROOT / self.paths.figures / self.profile

    def _of_design(self, folder: Path) -> Path:
        """Designs share data, adapters and scores; what is made of them together has a folder per design."""
        return folder if self.study.design == FACTORIAL else folder / self.study.design

    @property
    def file(self) -> str:
        """The name of the file these parameters were read from."""
        return self._file

    def other(self, stage: str = "influence") -> dict[str, tuple[Any, Any]]:
        """Return {parameter: (the study's value, this value)} of all that make a stage another than the study's."""
        if self._home is not None:
            return self._home.other(stage)
        found: dict[str, tuple[Any, Any]] = {}
        for each in _with_scores(stage) if self._study is not None else ():
            found |= differences(decisive(self._study, each), decisive(self, each))
        return found

    def note(self) -> str:
        """Say where results go when they are not the study's, and why; "" for the study itself."""
        if not (other := self.other()):
            return ""
        values = ", ".join(f"{name} is {here!r} ({there!r} in {self.file})" for name, (there, here) in other.items())
        folders = dict.fromkeys(self.place(stage) for stage in ("data", "model", "score", "influence"))
        where = " and ".join(shown(path) for path in folders if path != self.study_dir)
        return f"Not the study: {values}. What that changes goes to {where}; the rest is read from the study."

    def hash(self, stage: str) -> str:
        """Digest of all parameters that decide a stage, for provenance."""
        return digest(decisive(self, stage))


def _with_scores(stage: str) -> tuple[str, ...]:
    """The influence is another one where its own parameters differ, or those of the scores it is made of."""
    return ("score", "influence") if stage == "influence" else (stage,)


def load(name_or_path: str | Path = "classroom", overrides: dict[str, Any] | None = None) -> Params:
    """Read a profile and apply ``overrides``, dotted or nested: ``{"public.n": 4, "mixture": {"steps": 8}}``.

    Raises KitError, one sentence naming the parameter, for an unreadable file or a value that does not fit.
    """
    path = find(name_or_path)
    given = flat(Params, overrides or {})
    params = _checked(path, given)
    if given and not {"profile", "paths.runs"} & given.keys():  # who names a place has a study of their own there
        params._study = _checked(path, {})
    params._file = path.name
    return params


def _checked(path: Path, overrides: dict[str, Any]) -> Params:
    values = read(path)
    for dotted, value in overrides.items():
        lay_over(Params, values, dotted, value)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise KitError(complaint(Params, error, path)) from None


# A generator's parameters, in the design that compares several, differ in the section ``generation`` only. What it
# answered lies where other parameters of its kind would put it; what its runs train on, an equal share of that
# (``share_out``), lies in ``generators/<name>`` of the study. Its adapters and scores lie beside all others, under
# run names that carry its own, ``sl@<name>``; their records hold its parameters.
def generators(params: Params) -> tuple[str, ...]:
    """Return the names of the generators that a study compares, () for every other design.

    Raises KitError where two of them would give the same answers.
    """
    if params.study.design != GENERATORS:
        return ()
    names = [each.name for each in params.study.generators]
    made_of = [decisive(answering(params, name), "data") for name in names]
    for name, made in zip(names, made_of, strict=True):
        if (first := names[made_of.index(made)]) != name:
            raise KitError(f"the generators {first} and {name} would give the same answers; change or drop one")
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
    known = {each.name: each.generation for each in params.study.generators}
    if name not in known:
        raise KitError(f"no generator {name!r} in study.generators of {params.file}; it has {', '.join(known)}")
    try:
        return GenerationParams.model_validate(params.generation.model_dump(mode="json") | known[name])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise KitError(
            f"study.generators: generation.{where} of {name} cannot be {first['input']!r}: {first['msg'].lower()}"
        ) from None
