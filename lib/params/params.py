"""Parameters: one YAML file per profile holds what a run needs; this room says what each parameter means.

``load("classroom")`` reads ``params/classroom.yaml``, applies overrides, and returns a checked ``Params``. Unknown
names, wrong types and impossible values are refused in one sentence. Parameters that are not the study's (the file's)
have folders of their own for what they change, and read the rest from the study.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError

from lib.common.bundled import ROOT, shown
from lib.common.design import FACTORIAL, GENERATORS, generator_of
from lib.common.files import KitError, digest
from lib.params import data
from lib.params import model as recipe
from lib.params.provenance import decisive, differences

_MADE_OF = {"influence": ("score", "influence")}  # another one, too, where the scores that it is made of are others


class Params(data.Section):
    """Every parameter of a run, and where its results lie. A property is the place of what its name says."""

    profile: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="name of the run folder and the figure folder")
    paths: data.PathParams = data.PathParams()
    study: data.StudyParams = data.StudyParams()
    generation: data.GenerationParams = data.GenerationParams()
    cleaning: data.CleaningParams = data.CleaningParams()
    negatives: data.NegativesParams = data.NegativesParams()
    public: data.PublicParams = data.PublicParams()
    mixture: recipe.MixtureParams = recipe.MixtureParams()
    model: recipe.ModelParams = recipe.ModelParams()
    training: recipe.TrainingParams = recipe.TrainingParams()
    scoring: recipe.ScoringParams = recipe.ScoringParams()
    influence: recipe.InfluenceParams = recipe.InfluenceParams()
    grid: recipe.GridParams = recipe.GridParams()
    plan: recipe.PlanParams = recipe.PlanParams()

    _study: Params | None = PrivateAttr(None)
    _home: Params | None = PrivateAttr(None)  # of a generator's parameters: the study it is compared in
    _generator: str = PrivateAttr("")
    _file: str = PrivateAttr("the parameter file")

    @property
    def file(self) -> str:  # the name of the one they were read from
        return self._file

    @property
    def study_dir(self) -> Path:  # with the stores that all runs of the profile share
        return ROOT / self.paths.runs / self.profile

    def place(self, stage: str) -> Path:
        """Return where a stage (data, model, score, influence) lies: in the study's folder, or one of its own."""
        if self._home is not None:
            return self._home.place(stage)
        own = digest([decisive(self, each) for each in _MADE_OF.get(stage, [stage])])[:8]
        return self.study_dir / "other" / own if self.other(stage) else self.study_dir

    @property
    def data_dir(self) -> Path:
        return self.place("data") / (f"generators/{self._generator}" if self._generator else "data")

    @property
    def inspect_file(self) -> Path:
        return self.place("data") / "inspect.json"

    @property
    def models_dir(self) -> Path:  # <run>/seed<k>/
        return self.place("model") / "models"

    @property
    def scores_dir(self) -> Path:  # <run>/seed<k>.csv
        return self.place("score") / "scores"

    @property
    def results_file(self) -> Path:  # all score files of the design in one table
        return self._of_design(self.place("score")) / "results.csv"

    @property
    def run_dir(self) -> Path:  # executed notebooks and the log; of a study it holds all the rest too
        return self.place("influence")

    @property
    def influence_file(self) -> Path:  # written last of all
        return self._of_design(self.run_dir) / "influence.json"

    @property
    def figure_dir(self) -> Path:
        folder, design = self.data_figure_dir, self.study.design
        return folder if design == FACTORIAL else folder.with_name(f"{folder.name}-{design}")

    @property
    def data_figure_dir(self) -> Path:  # figures of the data, which all designs share
        return self.run_dir / "figures" if self.other("influence") else ROOT / self.paths.figures / self.profile

    def _of_design(self, folder: Path) -> Path:
        """Designs share data, adapters and scores; what is made of them together has a folder per design."""
        return folder if self.study.design == FACTORIAL else folder / self.study.design

    def other(self, stage: str = "influence") -> dict[str, tuple[Any, Any]]:
        """Return {parameter: (the study's value, this value)} of all that make a stage another than the study's."""
        if self._home is not None:
            return self._home.other(stage)
        study, found = self._study or self, {}
        for each in _MADE_OF.get(stage, [stage]):
            found |= differences(decisive(study, each), decisive(self, each))
        return found

    def note(self) -> str:
        """Say where results go when they are not the study's, and why; "" for the study itself."""
        if not (other := self.other()):
            return ""
        values = ", ".join(f"{name} is {here!r} ({there!r} in {self.file})" for name, (there, here) in other.items())
        places = dict.fromkeys(self.place(stage) for stage in ("data", "model", "score", "influence"))
        where = " and ".join(shown(path) for path in places if path != self.study_dir)
        return f"Not the study: {values}. What that changes goes to {where}; the rest is read from the study."

    def hash(self, stage: str) -> str:
        """Digest of all parameters that decide a stage, for provenance."""
        return digest(decisive(self, stage))


# ── a file and what is laid over it ──────────────────────────────────────────────────────────────────────
def find(name_or_path: str | Path) -> Path:
    """Return the YAML file of a profile name or path (tried as given, then from the kit's root)."""
    for candidate in (Path(name_or_path), ROOT / name_or_path, ROOT / "params" / f"{name_or_path}.yaml"):
        if candidate.is_file():
            return candidate.resolve()
    profiles = sorted(path.stem for path in (ROOT / "params").glob("*.yaml"))
    near = difflib.get_close_matches(Path(name_or_path).stem, profiles, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise KitError(f"no parameter file {name_or_path}; the profiles are {', '.join(profiles)}{hint}")


def load(name_or_path: str | Path = "classroom", overrides: dict[str, Any] | None = None) -> Params:
    """Read a profile and apply ``overrides``, dotted or nested: ``{"public.n": 4, "mixture": {"steps": 8}}``.

    Raises KitError, one sentence naming the parameter, for an unreadable file or a value that does not fit.
    """
    import yaml

    path, given = find(name_or_path), flat(overrides or {})
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise KitError(f"{path}{line} cannot be read as YAML; fix it or restore it from git") from error
    if not isinstance(values, dict):
        raise KitError(f"{path} holds no parameters; it must be a YAML mapping like params/classroom.yaml")
    study = params = _checked(Params, values, path.name)
    if given:
        values = study.model_dump()
        for dotted, value in given.items():
            *above, last = dotted.split(".")
            at = values
            for name in above:
                at = at.setdefault(name, {})
                if not isinstance(at, dict):
                    raise KitError(f"override {dotted!r} goes below {name!r}, which is a value and not a section")
            at[last] = value
        params = _checked(Params, values, path.name)
        if not {"profile", "paths.runs"} & given.keys():  # who names a place has a study of their own there
            params._study = study
    study._file = params._file = path.name
    return params


def flat(overrides: dict[str, Any]) -> dict[str, Any]:
    """Return nested overrides as dotted ones; a parameter that is itself a mapping (generation.n) stays one value.

    Raises KitError when one parameter is named twice, dotted and nested, with different values.
    """
    found: dict[str, Any] = {}
    for name, value in overrides.items():
        section = isinstance(value, dict) and "." not in str(name)
        inside = {f"{name}.{inner}": own for inner, own in value.items()} if section else {str(name): value}
        for key, one in inside.items():
            if key in found and found[key] != one:
                raise KitError(f"override {key!r} is given twice, as {found[key]!r} and as {one!r}; keep one of them")
            found[key] = one
    return found


def _checked(section: type[data.Section], values: dict, where: str) -> Any:
    """Return checked values; KitError names the first parameter that is wrong, and the fix."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = [*section.model_fields, *flat(section.model_construct().model_dump())]
        near = difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
        raise KitError(f"unknown parameter {dotted!r} in {where}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if first["type"] == "missing":
        raise KitError(f"parameter {dotted!r} is missing in {where}; add it, see params/classroom.yaml")
    message = first["msg"][0].lower() + first["msg"][1:].rstrip(".")
    message = message.replace("a valid tuple", "a list, such as [0, 1]").replace("tuple should", "the list should")
    raise KitError(f"parameter {dotted!r} in {where} is {first['input']!r}: {message}")


# ── the design generators ────────────────────────────────────────────────────────────────────────────────
# A generator has a section ``generation`` of its own. What it answered lies where other parameters would put it; the
# equal share of that on which its runs train (``share_out``), in ``generators/<name>`` of the study; its adapters and
# scores, beside all others, under run names that carry its own, ``sl@<name>``.
def generators(params: Params) -> tuple[str, ...]:
    """Return the generators that a study compares, () for other designs. KitError: two would give the same answers."""
    if params.study.design != GENERATORS:
        return ()
    found: dict[str, str] = {}
    for each in params.study.generators:
        made_of = digest(decisive(answering(params, each.name), "data"))
        if (first := found.setdefault(made_of, each.name)) != each.name:
            raise KitError(f"the generators {first} and {each.name} would give the same answers; change or drop one")
    return tuple(found.values())


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


def _generation(params: Params, name: str) -> data.GenerationParams:
    """Return the section ``generation`` of a generator. Raises KitError for an unknown one, and for a wrong value."""
    known = {each.name: each.generation for each in params.study.generators}
    if name not in known:
        raise KitError(f"no generator {name!r} in study.generators of {params.file}; it has {', '.join(known)}")
    values = params.generation.model_dump(mode="json") | known[name]
    return _checked(data.GenerationParams, values, f"generation of {name} (study.generators)")
