"""Parameters: one YAML file per profile holds what a run needs; this room says what each parameter means.

``load("classroom")`` reads ``params/classroom.yaml``, applies overrides, and returns a checked ``Params``. Unknown
names, wrong types and impossible values are refused in one sentence. Parameters that are not the study's (the file's)
have folders of their own for what they change, and read the rest from the study.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, PrivateAttr, ValidationError

from lib.common.bundled import ROOT, shown
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
from lib.params.stages import decisive, differences
from lib.params.tiny import stand_ins


class Params(Section):
    """Every parameter of a run, and where its results lie."""

    profile: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="name of the run folder and the figure folder")
    tiny: bool = Field(False, description="the whole chain on small stand-ins, as a dry run (lib.params.tiny)")
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
    _file: str = PrivateAttr("the parameter file")

    @property
    def study_dir(self) -> Path:
        """The folder of this profile's study, with the stores that all runs of the profile share."""
        return ROOT / self.paths.runs / self.profile

    def place(self, stage: str) -> Path:
        """Return where a stage (data, model, score, influence) lies: in the study's folder, or one of its own."""
        if not self.other(stage):
            return self.study_dir
        return self.study_dir / "other" / digest([decisive(self, each) for each in _with_scores(stage)])[:8]

    @property
    def data_dir(self) -> Path:
        """The folder of the training data."""
        return self.place("data") / "data"

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
        """The table of all score files."""
        return self.place("score") / "results.csv"

    @property
    def run_dir(self) -> Path:
        """The folder of the influence, the executed notebooks and the log; of a study it holds all the rest too."""
        return self.place("influence")

    @property
    def figure_dir(self) -> Path:
        """The folder of the figures: the profile's, or one beside the run for other parameters."""
        return self.run_dir / "figures" if self.other("influence") else ROOT / self.paths.figures / self.profile

    @property
    def file(self) -> str:
        """The name of the file these parameters were read from."""
        return self._file

    def other(self, stage: str = "influence") -> dict[str, tuple[Any, Any]]:
        """Return {parameter: (the study's value, this value)} of all that make a stage another than the study's."""
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

    Where ``tiny`` is true, the parameters of ``lib.params.tiny`` come between the two. Raises KitError, one sentence
    naming the parameter, for an unreadable file or a value that does not fit.
    """
    path = find(name_or_path)
    given = flat(Params, overrides or {})
    params = _checked(path, given)
    if given and not {"profile", "paths.runs"} & given.keys():  # who names a place has a study of their own there
        params._study = _checked(path, {name: value for name, value in given.items() if name == "tiny"})
    params._file = path.name
    return params


def find(name_or_path: str | Path) -> Path:
    """Return the YAML file of a profile name or path (tried as given, then from the kit's root)."""
    given = Path(name_or_path)
    for candidate in (given, ROOT / given, ROOT / "params" / f"{name_or_path}.yaml"):
        if candidate.is_file():
            return candidate.resolve()
    profiles = sorted(path.stem for path in (ROOT / "params").glob("*.yaml"))
    near = difflib.get_close_matches(given.stem, profiles, n=1)
    raise KitError(
        f"no parameter file {name_or_path}; the profiles are {', '.join(profiles)}"
        + (f" (did you mean {near[0]}?)" if near else "")
    )


def _checked(path: Path, overrides: dict[str, Any]) -> Params:
    values = _read(path)
    if overrides.get("tiny", values.get("tiny")) is True:
        overrides = stand_ins(values, overrides, ROOT) | overrides
    for dotted, value in overrides.items():
        _override(values, dotted, value)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise KitError(_sentence(error, path)) from None


def _read(path: Path) -> dict:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise KitError(f"{path}{line} cannot be read as YAML; fix it or restore it from git") from error
    if not isinstance(values, dict):
        raise KitError(f"{path} holds no parameters; it must be a YAML mapping like params/classroom.yaml")
    return values


def _section(model: type[BaseModel] | None, name: str) -> type[BaseModel] | None:
    """Return the section of that name, None for a parameter and for an unknown name."""
    kind = model.model_fields[name].annotation if model and name in model.model_fields else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def flat(model: type[BaseModel], overrides: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested overrides as dotted ones; a parameter that is itself a mapping (generation.n) stays one value.

    Raises KitError when one parameter is named twice, dotted and nested, with different values.
    """
    found: dict[str, Any] = {}
    for name, value in overrides.items():
        section = _section(model, name) if isinstance(value, dict) else None
        inside = flat(section, value, f"{above}{name}.") if section else {f"{above}{name}": value}
        for key, one in inside.items():
            if key in found and found[key] != one:
                raise KitError(f"override {key!r} is given twice, as {found[key]!r} and as {one!r}; keep one of them")
            found[key] = one
    return found


def _override(values: dict, dotted: str, value: Any) -> None:
    """Lay one dotted override over ``values``, in place; ``generation.n.sts`` keeps the other categories."""
    model: type[BaseModel] | None = Params
    *above, last = dotted.split(".")
    for name in above:
        if values.get(name) is None:
            default = model.model_fields[name].default if model and name in model.model_fields else None
            values[name] = dict(default) if isinstance(default, dict) else {}
        values, model = values[name], _section(model, name)
        if not isinstance(values, dict):
            raise KitError(f"override {dotted!r} goes below {name!r}, which is a value and not a section")
    values[last] = value


def _sentence(error: ValidationError, path: Path) -> str:
    """Turn pydantic's first complaint into one sentence that names the parameter and the fix."""
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        inside = (
            f"{name}.{parameter}"
            for name in Params.model_fields
            if (section := _section(Params, name))
            for parameter in section.model_fields
        )
        near = difflib.get_close_matches(dotted, [*Params.model_fields, *inside], n=1, cutoff=0.5)
        return f"unknown parameter {dotted!r} in {path.name}" + (f"; did you mean {near[0]!r}?" if near else "")
    if first["type"] == "missing":
        return f"parameter {dotted!r} is missing in {path.name}; add it, see params/classroom.yaml"
    message = first["msg"][0].lower() + first["msg"][1:].rstrip(".")
    message = message.replace("a valid tuple", "a list, such as [0, 1]").replace("tuple should", "the list should")
    return f"parameter {dotted!r} in {path.name} is {first['input']!r}: {message}"
