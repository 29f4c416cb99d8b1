"""Parameters: one YAML file per profile holds every leaf of a run; this package says what each leaf means.

``load("classroom")`` reads ``params/classroom.yaml``, applies dotted overrides, and returns a checked
``Params``. Unknown names, wrong types and impossible values are refused in one sentence.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from lib.files import KitError, digest
from lib.params.data import (
    Category,
    CleaningParams,
    GenerationParams,
    NegativesParams,
    PathParams,
    PublicParams,
    Section,
    StudyParams,
)
from lib.params.model import GridParams, InfluenceParams, MixtureParams, ModelParams, PlanParams, ScoringParams, TrainingParams

__all__ = ["ROOT", "Category", "CleaningParams", "GenerationParams", "GridParams", "InfluenceParams", "MixtureParams",
           "ModelParams", "NegativesParams", "Params", "PathParams", "PlanParams", "PublicParams", "ScoringParams",
           "Section", "StudyParams", "TrainingParams", "describe", "find", "load"]

ROOT = Path(__file__).resolve().parents[2]


class Params(Section):
    """Every leaf of a run."""

    profile: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="name of the run folder and the figure folder")
    tiny: bool = Field(False, description="the whole chain on small stand-ins for models and data, as a dry run (lib.tiny)")
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

    @property
    def run_dir(self) -> Path:
        """The folder of this profile's data, models, scores and results."""
        return ROOT / self.paths.runs / self.profile

    @property
    def figure_dir(self) -> Path:
        """The folder of this profile's figures."""
        return ROOT / self.paths.figures / self.profile

    def hash(self, *sections: str) -> str:
        """Digest of the named sections (all but ``paths`` when none is named), for provenance."""
        left_out = None if sections else {"paths", "grid", "plan"}
        return digest(self.model_dump(mode="json", include=set(sections) or None, exclude=left_out))


def find(name_or_path: str | Path) -> Path:
    """Return the YAML file of a profile name or path (tried as given, then from the kit's root)."""
    given = Path(name_or_path)
    for candidate in (given, ROOT / given, ROOT / "params" / f"{name_or_path}.yaml"):
        if candidate.is_file():
            return candidate.resolve()
    profiles = sorted(path.stem for path in (ROOT / "params").glob("*.yaml"))
    near = difflib.get_close_matches(given.stem, profiles, n=1)
    raise KitError(f"no parameter file {name_or_path}; the profiles are {', '.join(profiles)}"
                   + (f" (did you mean {near[0]}?)" if near else ""))


def load(name_or_path: str | Path = "classroom", overrides: dict[str, Any] | None = None) -> Params:
    """Read a profile and apply ``overrides``, a dict of dotted leaves such as ``{"training.steps": 4}``.

    Where ``tiny`` is true, the leaves of ``lib.tiny`` come between the two. Raises KitError, one sentence naming the
    leaf, for an unreadable file or a value that does not fit.
    """
    import yaml

    path = find(name_or_path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise KitError(f"{path}{line} cannot be read as YAML; mend it or restore it from git") from error
    if not isinstance(values, dict):
        raise KitError(f"{path} holds no parameters; it must be a YAML mapping like params/classroom.yaml")
    overrides = overrides or {}
    if overrides.get("tiny", values.get("tiny")) is True:
        from lib.tiny import leaves

        overrides = leaves(values, overrides, ROOT) | overrides
    for dotted, value in overrides.items():
        _assign(values, dotted, value)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise KitError(_sentence(error, path)) from None


def _assign(values: dict, dotted: str, value: Any) -> None:
    *sections, leaf = str(dotted).split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise KitError(f"override {dotted!r} goes below {section!r}, which is a value and not a section")
    values[leaf] = value


def _sentence(error: ValidationError, path: Path) -> str:
    """Turn pydantic's first complaint into one sentence that names the leaf and the mend."""
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        names = _known_names()
        near = difflib.get_close_matches(dotted, names, n=1, cutoff=0.5)
        return f"unknown parameter {dotted!r} in {path.name}" + (f"; did you mean {near[0]!r}?" if near else "")
    if first["type"] == "missing":
        return f"parameter {dotted!r} is missing in {path.name}; add it, see params/classroom.yaml"
    message = first["msg"][0].lower() + first["msg"][1:].rstrip(".")
    return f"parameter {dotted!r} in {path.name} is {first['input']!r}: {message}"


def _known_names() -> list[str]:
    names = []
    for section, field in Params.model_fields.items():
        names.append(section)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names += [f"{section}.{leaf}" for leaf in field.annotation.model_fields]
    return names


def describe() -> list[tuple[str, str, str]]:
    """Return (dotted name, default, description) of every leaf, for the reference table."""
    rows = []
    for section, field in Params.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            rows += [(f"{section}.{leaf}", repr(f.default), f.description or "")
                     for leaf, f in field.annotation.model_fields.items()]
    return rows
